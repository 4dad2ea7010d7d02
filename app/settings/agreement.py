"""What is wrong between settings that are each right."""

from __future__ import annotations

from app.settings.values import Values
from core.words import in_words

WILDCARD_HOSTS = ("0.0.0.0", "::")  # noqa: S104 - refused without ONHAND_URL


def contradictions(settings: Values) -> list[str]:
    """One sentence each, with the remedy."""
    problems = _about_kafka(settings)
    if settings.tokens and not settings.peer_secret:
        problems.append(
            "ONHAND_TOKENS is set: also set ONHAND_PEER_SECRET, or workers could not ask each "
            "other any more. docs/security.md says how to make its file."
        )
    if bool(settings.tls_cert) != bool(settings.tls_key):
        has, lacks = ("CERT", "KEY") if settings.tls_cert else ("KEY", "CERT")
        problems.append(
            f"ONHAND_TLS_{has} is set without ONHAND_TLS_{lacks}: set both, or neither."
        )
    elif settings.tls_cert and settings.url.startswith("http://"):
        problems.append(
            f"ONHAND_URL is {settings.url}, and with ONHAND_TLS_CERT this process speaks TLS: "
            "begin it with https://."
        )
    given = [settings.alerts, settings.alerts_url, settings.alerts_secret]
    if any(given) and not all(given):
        problems.append(
            "Alerts need ONHAND_ALERTS, ONHAND_ALERTS_URL and ONHAND_ALERTS_SECRET: rules, whom to "
            "tell, and the secret by which that one knows who tells. Set all three, or none."
        )
    if settings.web_host in WILDCARD_HOSTS and not settings.url:
        problems.append(
            f"ONHAND_WEB_HOST is {settings.web_host}, which nobody can call: set ONHAND_URL to how "
            f"others reach this worker, such as http://10.0.0.7:{settings.web_port}."
        )
    return problems


def _about_kafka(settings: Values) -> list[str]:
    """Who this process says to be, and how."""
    problems = []
    protocol, mechanism = settings.kafka_security_protocol, settings.kafka_sasl_mechanism
    sasl, tls = protocol.startswith("SASL_"), protocol.endswith("SSL")
    named = bool(settings.kafka_sasl_username), bool(settings.kafka_sasl_password)
    by_token = mechanism == "OAUTHBEARER"
    if sasl and by_token and not settings.kafka_sasl_token_file:
        problems.append(
            "ONHAND_KAFKA_SASL_MECHANISM is OAUTHBEARER: also set ONHAND_KAFKA_SASL_TOKEN_FILE to "
            "the file of the token."
        )
    if sasl and not by_token and named != (True, True):
        problems.append(
            f"ONHAND_KAFKA_SECURITY_PROTOCOL is {protocol}: also set "
            "ONHAND_KAFKA_SASL_USERNAME and ONHAND_KAFKA_SASL_PASSWORD."
        )
    if not sasl and any(named):
        problems.append(
            "ONHAND_KAFKA_SASL_USERNAME or its password is set but would not be sent: set "
            "ONHAND_KAFKA_SECURITY_PROTOCOL to SASL_SSL (or SASL_PLAINTEXT)."
        )
    if settings.kafka_sasl_token_file and not (sasl and by_token):
        problems.append(
            "ONHAND_KAFKA_SASL_TOKEN_FILE is set but would not be sent: set "
            "ONHAND_KAFKA_SECURITY_PROTOCOL to SASL_SSL and ONHAND_KAFKA_SASL_MECHANISM to "
            "OAUTHBEARER."
        )
    for field in ("cafile", "certfile"):
        if getattr(settings, f"kafka_ssl_{field}") and not tls:
            problems.append(
                f"ONHAND_KAFKA_SSL_{field.upper()} is set but would not be used: set "
                "ONHAND_KAFKA_SECURITY_PROTOCOL to SSL or SASL_SSL."
            )
    if settings.kafka_ssl_keyfile and not settings.kafka_ssl_certfile:
        problems.append(
            "ONHAND_KAFKA_SSL_KEYFILE is set without ONHAND_KAFKA_SSL_CERTFILE, whose key it is."
        )
    if tls and not problems and (settings.kafka_ssl_cafile or settings.kafka_ssl_certfile):
        try:
            settings.kafka_context()
        except OSError as error:
            problems.append(
                f"The files of ONHAND_KAFKA_SSL_… cannot be used ({in_words(error)}): they must be "
                "PEM, and the key that of the certificate and not encrypted."
            )
    return problems
