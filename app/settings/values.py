"""Every setting with its type and its default; how they become connections and addresses.

It checks nothing and reads no environment: `app/config.py` does.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from core.words import without_password

if TYPE_CHECKING:
    import ssl

#: The path of the last one may be what lets in.
_NEVER_SHOWN = ("kafka_sasl_password", "bridge_registry_password", "alerts_url")
_ADDRESSES = ("ledger_url", "bridge_registry")


class Values(msgspec.Struct, frozen=True, kw_only=True):
    """The value of each setting, in the order of `.env.example`, which says what each is for."""

    kafka: str = "localhost:9092"
    kafka_security_protocol: str = "PLAINTEXT"
    kafka_sasl_mechanism: str = "PLAIN"
    kafka_sasl_username: str = ""
    kafka_sasl_password: str = ""
    kafka_sasl_token_file: str = ""
    kafka_ssl_cafile: str = ""
    kafka_ssl_certfile: str = ""
    kafka_ssl_keyfile: str = ""
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
    tls_cert: str = ""
    tls_key: str = ""
    tls_ca: str = ""
    cors_origins: str = ""
    ledger_url: str = ""
    bridge_topic: str = ""
    bridge_map: str = ""
    bridge_port: int = 6266
    bridge_registry: str = ""
    bridge_registry_user: str = ""
    bridge_registry_password: str = ""
    bridge_schemas: str = ""
    alerts: str = ""
    alerts_url: str = ""
    alerts_secret: str = ""
    alerts_waits_s: str = "5,300,1800,7200,18000,36000,50400,72000,86400"
    log_level: str = "INFO"
    log_format: str = "text"

    def client_kwargs(self) -> dict[str, Any]:
        """What every aiokafka client here takes: addresses and security."""
        kwargs: dict[str, Any] = {
            "bootstrap_servers": self.kafka,
            "security_protocol": self.kafka_security_protocol,
        }
        if self.kafka_security_protocol.startswith("SASL_"):
            kwargs["sasl_mechanism"] = self.kafka_sasl_mechanism
            if self.kafka_sasl_mechanism == "OAUTHBEARER":
                from wire.credentials import FileToken

                kwargs["sasl_oauth_token_provider"] = FileToken(Path(self.kafka_sasl_token_file))
            else:
                kwargs["sasl_plain_username"] = self.kafka_sasl_username
                kwargs["sasl_plain_password"] = self.kafka_sasl_password
        if self.kafka_security_protocol.endswith("SSL"):
            kwargs["ssl_context"] = self.kafka_context()
        return kwargs

    def kafka_context(self) -> ssl.SSLContext:
        """TLS to brokers; raises OSError where a file cannot be used."""
        # 10 ms that a command without TLS need not pay.
        from app.settings.brokers import brokers_context

        files = self.kafka_ssl_cafile, self.kafka_ssl_certfile, self.kafka_ssl_keyfile
        return brokers_context(*files)

    def shown(self) -> dict[str, Any]:
        """By field: as it may be told, without what lets somebody in."""
        told = msgspec.structs.asdict(self)
        for field in _NEVER_SHOWN:
            if told[field]:
                told[field] = "***"
        for field in _ADDRESSES:
            told[field] = without_password(told[field])
        return told

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in self.shown().items())})"

    def local_url(self, port: int) -> str:
        """Where this process is reached on the interface that it listens on."""
        host = f"[{self.web_host}]" if ":" in self.web_host else self.web_host
        return f"{'https' if self.tls_cert else 'http'}://{host}:{port}"
