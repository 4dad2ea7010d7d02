"""Settings: the only reader of the environment. Imports no Faust, so that commands start fast."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from app.settings import forms
from app.settings.agreement import contradictions
from app.settings.values import Values

PREFIX = "ONHAND_"
ROLES = ("shipments", "sales", "adjustments")
#: Where a ledger listens, unless ONHAND_WEB_PORT says another one.
LEDGER_PORT = 6166

_SECURITY_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
_SASL_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")
_LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
# Kubernetes puts these into every pod beside a Service called "onhand".
_OF_KUBERNETES = re.compile(r"ONHAND_(\w+_)?(SERVICE_(HOST|PORT)|PORT)(_|$)")


#: Never in a message.
_NOT_QUOTED = (
    *("kafka_sasl_password", "kafka_sasl_token_file", "kafka_ssl_keyfile", "tokens"),
    # A certificate's file may hold its key, too.
    *("kafka_ssl_certfile", "tls_cert", "peer_secret", "tls_key", "ledger_url"),
    *("bridge_registry", "alerts_url", "alerts_secret"),
)
#: What only commands take; it is no setting of a worker.
_OF_COMMANDS = ("ONHAND_TOKEN",)


class SettingsError(Exception):
    """Settings that cannot be run with; the message is one sentence for each, by line."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class Settings(Values, frozen=True, kw_only=True):
    """Every setting, checked, and the names that follow from them.

    The variable of a field is ONHAND_ and its name in capitals.
    """

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **options: object) -> Settings:
        """Read and check all settings.

        Args:
            environ: variables by name; None: the process's own. An empty one counts as absent.
            options: by field name; each beats its variable, and None counts as absent.

        Raises:
            SettingsError: names every problem at once, each with its remedy.
        """
        environ = os.environ if environ is None else environ
        problems = _misspelt(environ)
        values: dict[str, Any] = {}
        unread: list[str] = []
        for field, read in _READERS.items():
            text = str(environ.get(PREFIX + field.upper()) or "")
            if (option := options.get(field)) is not None:
                text = str(option)
            if text:
                try:
                    values[field] = read(text.strip())
                except ValueError as why:
                    # Somebody may have put the secret itself where its file belongs.
                    shown = "set" if field in _NOT_QUOTED else forms.shown_setting(text)
                    problems.append(f"{PREFIX}{field.upper()} is {shown}: {why}.")
                    unread.append(rf"{PREFIX}{field.upper()}\b")
        settings = cls(**values)
        # What is set and wrong would be told once more, as if it were not set.
        told = contradictions(settings)
        problems += [one for one in told if not any(re.search(name, one) for name in unread)]
        if problems:
            raise SettingsError(problems)
        return msgspec.structs.replace(
            settings, url=settings.url or settings.local_url(settings.web_port)
        )

    @classmethod
    def of_ledger(cls, environ: Mapping[str, str] | None = None, **options: object) -> Settings:
        """As `from_env`, for a ledger's process: it has a port of its own.

        Raises:
            SettingsError: as there.
        """
        environ = os.environ if environ is None else environ
        port = {f"{PREFIX}WEB_PORT": environ.get(f"{PREFIX}WEB_PORT") or str(LEDGER_PORT)}
        return cls.from_env({**environ, **port}, **options)

    @classmethod
    def of_program(cls, name: str, **options: object) -> Settings:
        """As `from_env`, for a program that has a name of its own.

        Raises:
            SettingsError: as there.
        """
        return cls.from_env({f"{PREFIX}NAME": name} | dict(os.environ), **options)

    @property
    def ledger_group(self) -> str:
        """Consumer group of the ledger, and what its sessions call themselves."""
        return f"{self.group}-ledger"

    @property
    def ledger_database(self) -> str:
        """Where the ledger is kept: a file beside the stores, unless a database is named."""
        return self.ledger_url or f"sqlite:///{self.data_dir.absolute()}/ledger.db"

    @property
    def group(self) -> str:
        """Consumer group and Faust id; holds the version, as all names of state do."""
        return f"{self.name}-v{self.version}"

    @property
    def source_topics(self) -> dict[str, str]:
        """Topic of each role, in `ROLES`' order."""
        return {role: self.topic_prefix + role for role in ROLES}

    @property
    def changelog_topic(self) -> str:
        """Rows, window and meta of this version."""
        return f"{self.group}-inventory-changelog"

    @property
    def dlq_topic(self) -> str:
        """What this version refused."""
        return f"{self.group}-dlq"

    def is_of_version(self, topic: str) -> bool:
        """Whether a topic is of this version alone."""
        return topic in (self.changelog_topic, self.dlq_topic)

    @property
    def replayed_topic(self) -> str:
        """Which dead letters were re-sent; shared by all versions."""
        return f"{self.name}-replayed"

    @property
    def control_topic(self) -> str:
        """Which version is active."""
        return f"{self.name}-control"

    @property
    def documents_topic(self) -> str:
        """Documents that were imported, and how far."""
        return f"{self.name}-documents"

    @property
    def alerts_topic(self) -> str:
        """What was told last of each row. Without a version: another one tells it not again."""
        return f"{self.name}-alerts"

    def alerts_transactional_id(self, partition: int) -> str:
        """Of the one producer, of whatever version, that may write this partition of it."""
        return f"{self.alerts_topic}-{partition}"

    @property
    def members_topic(self) -> str:
        """Heartbeats of the workers of all versions."""
        return f"{self.name}-members"

    def transactional_id(self, partition: int) -> str:
        """Of the one producer that may write this partition's changelog."""
        return f"{self.group}-inventory-{partition}"

    def bridge_group(self, bridge: str) -> str:
        """Consumer group of a bridge. Without a version: two would write each fact twice."""
        return f"{self.name}-bridge-{bridge}"

    def bridge_transactional_id(self, bridge: str, partition: int) -> str:
        """Of the one producer that may carry this partition of a foreign topic."""
        return f"{self.bridge_group(bridge)}-{partition}"


_READERS: dict[str, Callable[[str], Any]] = {
    "kafka": forms.servers,
    "kafka_security_protocol": forms.one_of(*_SECURITY_PROTOCOLS),
    "kafka_sasl_mechanism": forms.one_of(*_SASL_MECHANISMS),
    "kafka_sasl_username": str,
    "kafka_sasl_password": str,
    "kafka_sasl_token_file": forms.there(Path.is_file, "file; it holds the token alone"),
    "kafka_ssl_cafile": forms.pem_file,
    "kafka_ssl_certfile": forms.pem_file,
    "kafka_ssl_keyfile": forms.pem_file,
    "name": forms.topic_part,
    "topic_prefix": forms.topic_part,
    "version": forms.whole(1, 999_999),
    "partitions": forms.whole(1, 10_000),
    "replication": forms.whole(1, 100),
    "standbys": forms.whole(0, 100),
    "data_dir": Path,
    "store": forms.one_of("rocksdb", "memory"),
    "web_host": forms.interface,
    "web_port": forms.whole(1, 65_535),
    "url": forms.url,
    "session_timeout_ms": forms.whole(1_000, 1_800_000),
    "commit_interval_ms": forms.whole(1, 60_000),
    "catchup_events_per_s": forms.whole(0, 10_000_000),
    "dedup_window": forms.whole(1, 2**21),
    "topics_check_s": forms.whole(1, 3_600),
    "tokens": forms.secret_file,
    "peer_secret": forms.secret_file,
    "metrics": forms.one_of("token", "open"),
    "tls_cert": forms.certificate_file,
    "tls_key": forms.certificate_file,
    "tls_ca": forms.certificate_file,
    "cors_origins": forms.origins,
    "ledger_url": forms.database,
    "bridge_topic": forms.topic_name,
    "bridge_map": forms.there(Path.is_file, "file; docs/bridge.md says how to write a map"),
    "bridge_port": forms.whole(1, 65_535),
    "bridge_registry": forms.registry,
    "bridge_registry_user": str,
    "bridge_registry_password": str,
    "bridge_schemas": forms.there(Path.is_dir, "folder; docs/bridge.md says what belongs in it"),
    "alerts": forms.there(Path.is_file, "file; docs/alerts.md says how to write rules"),
    "alerts_url": forms.webhook,
    "alerts_secret": forms.there(Path.is_file, "file; docs/alerts.md says how to make it"),
    "alerts_waits_s": forms.waits,
    "log_level": forms.one_of(*_LOG_LEVELS),
    "log_format": forms.one_of("text", "json"),
}


def _misspelt(environ: Mapping[str, str]) -> list[str]:
    """Names that were surely meant for us; a forgotten letter must not mean the default."""
    ours = [PREFIX + field.upper() for field in _READERS]
    problems = []
    for name in sorted(environ):
        if (
            not name.startswith(PREFIX)
            or name in (*ours, *_OF_COMMANDS)
            or _OF_KUBERNETES.match(name)
        ):
            continue
        if close := difflib.get_close_matches(name, ours, n=1, cutoff=0.85):
            problems.append(f"{name} is not a setting: did you mean {close[0]}?")
    return problems
