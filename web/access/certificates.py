"""TLS of a process: the certificate that it shows, and whose certificates it believes.

All files are read again when they change. A certificate is taken only after a handshake with
itself, in memory: then its key fits, it is good today, and a client can be sent it.
"""

from __future__ import annotations

import logging
import re
import ssl
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple, NoReturn

from core.words import in_words
from web.access.watched import AccessError, WatchedFiles, contents_of

log = logging.getLogger(__name__)

#: From then on the log says once a day that a certificate ends.
SOON_S = 7 * 24 * 3600.0
_DAY_S = 24 * 3600.0
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----\s.+?-----END CERTIFICATE-----", re.DOTALL)
#: Of OpenSSL's check of the certificate against the clock.
_NOT_YET, _EXPIRED = 9, 10


class Certificate(NamedTuple):
    """What new connections are given. until: its end, in seconds since the epoch."""

    context: ssl.SSLContext
    until: float


class Tls:
    """What a process needs for TLS, as the files are now. Without files: the system's.

    Args:
        certificate: what it shows to those who connect; None: it speaks plain HTTP.
        authorities: whose certificates it believes of those that it asks.
    """

    def __init__(
        self,
        certificate: WatchedFiles[Certificate] | None = None,
        authorities: WatchedFiles[ssl.SSLContext] | None = None,
    ) -> None:
        self._certificate, self._authorities = certificate, authorities
        self._of_system: ssl.SSLContext | None = None
        self._say_at = 0.0

    def server(self) -> Callable[[], ssl.SSLContext] | None:
        """Asked for each new connection, it gives what that one is to use; None: no TLS."""
        return None if self._certificate is None else self._shown

    def until(self) -> float | None:
        """When the certificate that is shown ends; None: there is none."""
        return None if self._certificate is None else self._certificate.get().until

    def client(self) -> ssl.SSLContext:
        """For connections to other workers."""
        if self._authorities is not None:
            return self._authorities.get()
        if self._of_system is None:
            self._of_system = ssl.create_default_context()
        return self._of_system

    def _shown(self) -> ssl.SSLContext:
        assert self._certificate is not None
        context, until = self._certificate.get()
        now = time.time()
        if until - now < SOON_S and now >= self._say_at:
            self._say_at = now + _DAY_S
            log.warning(
                "The certificate of ONHAND_TLS_CERT %s %s: put a new one in its place, it is read "
                "without a restart.",
                "ends" if until > now else "ended",
                _day(until),
            )
        return context


#: Plain HTTP, and the system's authorities.
PLAIN = Tls()


def read_certificate(cert: Path, key: Path) -> Certificate:
    """A certificate and what stands behind it in the file, with its key.

    Raises:
        AccessError: they cannot be used; one plain sentence.
    """
    leaf = _first_of(cert, "ONHAND_TLS_CERT")
    if b"PRIVATE KEY-----" not in _bytes_of(key):
        raise AccessError(f"{key} holds no private key in PEM: ONHAND_TLS_KEY names another file.")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])

    def no_passphrase() -> NoReturn:
        raise AccessError(
            f"{key} is encrypted, and nobody is there to type its passphrase: keep it in plain "
            "(`openssl pkey -in KEY -out NEW`), readable by this user alone."
        )

    try:
        context.load_cert_chain(cert, key, password=no_passphrase)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise AccessError(
                f"The key in {key} is not that of the certificate in {cert}: both must be of one "
                "make, and the certificate the first in its file."
            ) from None
        raise AccessError(
            f"{cert} and {key} cannot be used ({in_words(error)}): make them anew."
        ) from None
    except OSError as error:
        raise AccessError(f"{cert} and {key} cannot be read ({in_words(error)}).") from error
    return Certificate(context, _until(context, leaf, cert))


def read_authorities(path: Path) -> ssl.SSLContext:
    """For connections to those whose certificates the ones in this file have signed.

    Raises:
        AccessError: there is none in it.
    """
    _first_of(path, "ONHAND_TLS_CA")
    try:
        return ssl.create_default_context(cafile=path)
    except (ssl.SSLError, OSError) as error:
        raise AccessError(f"{path} cannot be used ({in_words(error)}).") from None


def why_not_believed(cert: Path, key: Path, authorities: Path | None, host: str) -> str | None:
    """What a worker would say that asks this one by this name; None: it would believe it.

    Args:
        cert: of this process.
        key: its key.
        authorities: as the one that asks has them; None: the system's.
        host: as addresses have it.

    Raises:
        AccessError: a file cannot be used.
    """
    asks = ssl.create_default_context() if authorities is None else read_authorities(authorities)
    try:
        _shake_hands(read_certificate(cert, key).context, asks, host)
    except ssl.SSLCertVerificationError as error:
        return str(error.verify_message).rstrip(".").lower()
    except (ssl.SSLError, ValueError) as error:
        return in_words(error)
    return None


def _bytes_of(path: Path) -> bytes:
    try:
        return contents_of(path)
    except AccessError as error:
        raise AccessError(f"{path}: {error}") from error


def _first_of(path: Path, setting: str) -> str:
    """The first certificate in a file, which is the process's own."""
    found = _PEM.search(_bytes_of(path))
    if found is None:
        raise AccessError(f"{path} holds no certificate in PEM: {setting} names another file.")
    return found[0].decode("ascii", "replace")


def _until(server: ssl.SSLContext, leaf: str, cert: Path) -> float:
    """Shake hands with oneself; the certificate's end. Raises AccessError."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # whoever signed it
    try:
        client.load_verify_locations(cadata=leaf)
        told = _shake_hands(server, client)
    except ssl.SSLCertVerificationError as error:
        why = {
            _NOT_YET: "is not valid yet: look at this machine's clock.",
            _EXPIRED: "has expired: put a new one in its place.",
        }.get(error.verify_code, f"cannot be used ({error.verify_message}): make another one.")
        raise AccessError(f"The certificate in {cert} {why}") from None
    except (ssl.SSLError, ValueError) as error:
        raise AccessError(
            f"No client can be shown {cert} ({in_words(error)}): make another one."
        ) from None
    assert told is not None
    return float(ssl.cert_time_to_seconds(str(told["notAfter"])))


def _shake_hands(
    server: ssl.SSLContext, client: ssl.SSLContext, host: str | None = None
) -> Mapping[str, object] | None:
    """In memory; what the client is shown. Raises ssl.SSLError, or ValueError for a bad name."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    answers = server.wrap_bio(to_server, to_client, server_side=True)
    asks = client.wrap_bio(to_client, to_server, server_hostname=host)
    # The client sends last, and the server has nothing to find out from it.
    for side in (asks, answers, asks):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return asks.getpeercert()


def _day(at: float) -> str:
    return time.strftime("on %Y-%m-%d at %H:%M UTC", time.gmtime(at))
