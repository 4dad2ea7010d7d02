"""Settings: the only reader of the environment. Imports no Faust, so that commands start fast."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

PREFIX = "ONHAND_"
ROLES = ("shipments", "sales", "adjustments")
#: Where a ledger listens, unless ONHAND_WEB_PORT says another one.
LEDGER_PORT = 6166
WILDCARD_HOSTS = ("0.0.0.0", "::")  # noqa: S104 - refused without ONHAND_URL

_SECURITY_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
_SASL_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
# Kubernetes puts these into every pod beside a Service called "onhand".
_OF_KUBERNETES = re.compile(r"ONHAND_(\w+_)?(SERVICE_(HOST|PORT)|PORT)(_|$)")


#: Never in a message.
_NOT_QUOTED = ("kafka_sasl_password", "tokens", "peer_secret", "ledger_url", "bridge_registry")
#: What only commands take; it is no setting of a worker.
_OF_COMMANDS = ("ONHAND_TOKEN",)


class SettingsError(Exception):
    """Settings that cannot be run with; the message is one sentence for each, by line."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Every setting, checked. The variable of a field is ONHAND_ and its name in capitals.

    `.env.example` says what each is for.
    """

    kafka: str = "localhost:9092"
    kafka_security_protocol: str = "PLAINTEXT"
    kafka_sasl_mechanism: str = "PLAIN"
    kafka_sasl_username: str = ""
    kafka_sasl_password: str = ""
    kafka_ssl_cafile: str = ""
    name: str = "onhand"
    topic_prefix: str = ""
    version: int = 1
    partitions: int = 12
    replication: int = 1
    standbys: int = 1
    data_dir: Path = Path("data")
    store: str = "rocksdb"
    web_host: str = "127.0.0.1"
    web_port: int = 6066
    url: str = ""  # never empty in what `from_env` returns
    session_timeout_ms: int = 10_000
    commit_interval_ms: int = 100
    catchup_events_per_s: int = 0
    dedup_window: int = 100_000
    topics_check_s: int = 60
    tokens: str = ""
    peer_secret: str = ""
    metrics: str = "token"
    ledger_url: str = ""
    bridge_topic: str = ""
    bridge_map: str = ""
    bridge_port: int = 6266
    bridge_registry: str = ""
    bridge_registry_user: str = ""
    bridge_registry_password: str = ""
    bridge_schemas: str = ""
    log_level: str = "INFO"
    log_format: str = "text"

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
        for field, read in _READERS.items():
            text = str(environ.get(PREFIX + field.upper()) or "")
            if (option := options.get(field)) is not None:
                text = str(option)
            if text:
                try:
                    values[field] = read(text.strip())
                except ValueError as why:
                    # Somebody may have put the secret itself where its file belongs.
                    shown = "set" if field in _NOT_QUOTED else repr(text)
                    problems.append(f"{PREFIX}{field.upper()} is {shown}: {why}.")
        settings = cls(**values)
        problems += _contradictions(settings)
        if problems:
            raise SettingsError(problems)
        return msgspec.structs.replace(settings, url=settings.url or settings._local_url())

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

    def client_kwargs(self) -> dict[str, Any]:
        """What every aiokafka client here takes: addresses and security."""
        kwargs: dict[str, Any] = {
            "bootstrap_servers": self.kafka,
            "security_protocol": self.kafka_security_protocol,
        }
        if self.kafka_security_protocol.startswith("SASL_"):
            kwargs["sasl_mechanism"] = self.kafka_sasl_mechanism
            kwargs["sasl_plain_username"] = self.kafka_sasl_username
            kwargs["sasl_plain_password"] = self.kafka_sasl_password
        if self.kafka_security_protocol.endswith("SSL"):
            import ssl  # 10 ms that a command without TLS need not pay

            kwargs["ssl_context"] = ssl.create_default_context(cafile=self.kafka_ssl_cafile or None)
        return kwargs

    def __repr__(self) -> str:
        shown = msgspec.structs.asdict(self)
        for field in ("kafka_sasl_password", "bridge_registry_password"):
            if shown[field]:
                shown[field] = "***"
        shown["ledger_url"] = without_password(self.ledger_url)
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    def _local_url(self) -> str:
        host = f"[{self.web_host}]" if ":" in self.web_host else self.web_host
        return f"http://{host}:{self.web_port}"


def without_password(url: str) -> str:
    """A database's address as it may be shown."""
    return re.sub(r"(://[^:/@]*):[^@]*@", r"\1:***@", url)


def _whole(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not re.fullmatch(r"-?[0-9]{1,18}", text) or not least <= int(text) <= most:
            raise ValueError(f"use a whole number from {least} to {most}")
        return int(text)

    return read


def _one_of(*words: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        for word in words:
            if text.lower() == word.lower():
                return word
        raise ValueError(f"use one of {', '.join(words)}")

    return read


def _servers(text: str) -> str:
    servers = [server.strip() for server in text.split(",")]
    for server in servers:
        match = re.fullmatch(r"([^\s:/\[\]]+|\[[0-9a-fA-F:.]+\]):([0-9]{1,5})", server)
        if match is None or not 0 < int(match[2]) < 65536:
            raise ValueError("use HOST:PORT, several joined by commas")
    return ",".join(servers)


def _like(pattern: str, remedy: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(remedy)
        return text

    return read


_topic_part = _like(
    r"[a-zA-Z0-9._-]{1,100}",
    "use at most 100 letters, digits, dots, underscores and hyphens",
)
_topic_name = _like(r"[a-zA-Z0-9._-]{1,249}", "use the name of a topic")
_database = _like(
    r"(sqlite:///|postgresql(\+psycopg)?://)\S+",
    "use sqlite:///PATH/ledger.db or postgresql+psycopg://USER:PASSWORD@HOST/DATABASE",
)
_host = _like(r"[\w.:%-]+", "use the name or address of an interface, such as 127.0.0.1")
_registry = _like(
    r"https?://[^\s/?#@]+(/[^\s?#@]*)?",
    "use http://HOST:PORT, with a path if the registry has one; its user and password are "
    "ONHAND_BRIDGE_REGISTRY_USER and ONHAND_BRIDGE_REGISTRY_PASSWORD",
)

_URL_REMEDY = "use http://HOST:PORT without a path, as other workers reach this one"


def _url(text: str) -> str:
    if not re.fullmatch(r"https?://([^\s/:?#@\[\]]+|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5})?/?", text):
        raise ValueError(_URL_REMEDY)
    try:
        parts = urlsplit(text)
        (parts.hostname or "").encode("idna")  # what every look-up of the name begins with
        if parts.port == 0:
            raise ValueError
    except ValueError:  # a port above 65,535, an address in brackets that is none
        raise ValueError(_URL_REMEDY) from None
    return text.rstrip("/")


def _there(is_there: Callable[[Path], bool], remedy: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if not is_there(Path(text)):
            raise ValueError(f"there is no such {remedy}")
        return text

    return read


_secret_file = _there(Path.is_file, "file; docs/security.md says how to make it")

_READERS: dict[str, Callable[[str], Any]] = {
    "kafka": _servers,
    "kafka_security_protocol": _one_of(*_SECURITY_PROTOCOLS),
    "kafka_sasl_mechanism": _one_of(*_SASL_MECHANISMS),
    "kafka_sasl_username": str,
    "kafka_sasl_password": str,
    "kafka_ssl_cafile": _there(Path.is_file, "file; use the path of a PEM file"),
    "name": _topic_part,
    "topic_prefix": _topic_part,
    "version": _whole(1, 999_999),
    "partitions": _whole(1, 10_000),
    "replication": _whole(1, 100),
    "standbys": _whole(0, 100),
    "data_dir": Path,
    "store": _one_of("rocksdb", "memory"),
    "web_host": _host,
    "web_port": _whole(1, 65_535),
    "url": _url,
    "session_timeout_ms": _whole(1_000, 1_800_000),
    "commit_interval_ms": _whole(1, 60_000),
    "catchup_events_per_s": _whole(0, 10_000_000),
    "dedup_window": _whole(1, 2**21),
    "topics_check_s": _whole(1, 3_600),
    "tokens": _secret_file,
    "peer_secret": _secret_file,
    "metrics": _one_of("token", "open"),
    "ledger_url": _database,
    "bridge_topic": _topic_name,
    "bridge_map": _there(Path.is_file, "file; docs/bridge.md says how to write a map"),
    "bridge_port": _whole(1, 65_535),
    "bridge_registry": _registry,
    "bridge_registry_user": str,
    "bridge_registry_password": str,
    "bridge_schemas": _there(Path.is_dir, "folder; docs/bridge.md says what belongs in it"),
    "log_level": _one_of(*_LOG_LEVELS),
    "log_format": _one_of("text", "json"),
}


def _contradictions(settings: Settings) -> list[str]:
    """What is wrong between settings that are each right."""
    problems = []
    sasl = settings.kafka_security_protocol.startswith("SASL_")
    named = bool(settings.kafka_sasl_username), bool(settings.kafka_sasl_password)
    if sasl and named != (True, True):
        problems.append(
            f"ONHAND_KAFKA_SECURITY_PROTOCOL is {settings.kafka_security_protocol}: also set "
            "ONHAND_KAFKA_SASL_USERNAME and ONHAND_KAFKA_SASL_PASSWORD."
        )
    if not sasl and any(named):
        problems.append(
            "ONHAND_KAFKA_SASL_USERNAME or its password is set but would not be sent: set "
            "ONHAND_KAFKA_SECURITY_PROTOCOL to SASL_SSL (or SASL_PLAINTEXT)."
        )
    if settings.kafka_ssl_cafile and not settings.kafka_security_protocol.endswith("SSL"):
        problems.append(
            "ONHAND_KAFKA_SSL_CAFILE is set but would not be used: set "
            "ONHAND_KAFKA_SECURITY_PROTOCOL to SSL or SASL_SSL."
        )
    if settings.tokens and not settings.peer_secret:
        problems.append(
            "ONHAND_TOKENS is set: also set ONHAND_PEER_SECRET, or workers could not ask each "
            "other any more. docs/security.md says how to make its file."
        )
    if settings.web_host in WILDCARD_HOSTS and not settings.url:
        problems.append(
            f"ONHAND_WEB_HOST is {settings.web_host}, which nobody can call: set ONHAND_URL to how "
            f"others reach this worker, such as http://10.0.0.7:{settings.web_port}."
        )
    return problems


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
