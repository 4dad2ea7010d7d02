"""What a process starts with all the same, and its operator should know: told in its log."""

from __future__ import annotations

import ipaddress
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from app.config import Settings

#: Files that let in whoever reads them, by setting.
_SECRET: Final = (
    *("peer_secret", "tls_key", "alerts_secret", "kafka_sasl_token_file", "kafka_ssl_keyfile"),
)
#: Files that let in whoever is written into them.
_TRUSTED: Final = ("tokens", "peer_secret", "tls_ca", "kafka_ssl_cafile")


def doubts_about(settings: Settings, *, is_asked: bool = True) -> Iterator[str]:
    """One sentence each, with the remedy. Not refused: a mount may leave nobody the choice.

    `is_asked`: other workers ask this process by its address.
    """
    for field in _SECRET:
        if _mode_of(getattr(settings, field)) & stat.S_IROTH:
            yield _told(field, settings, "read", "o-r")
    for field in _TRUSTED:
        if _mode_of(getattr(settings, field)) & stat.S_IWOTH:
            yield _told(field, settings, "changed", "o-w")
    if not settings.tokens and not _is_loopback(settings.web_host):
        yield (
            f"Everybody who reaches {settings.web_host} may do everything: set ONHAND_TOKENS "
            "(docs/security.md says how), or let something in front say who may."
        )
    if is_asked and settings.tls_cert:
        yield from _about_certificate(settings)


def _told(field: str, settings: Settings, done: str, mode: str) -> str:
    return (
        f"The file of ONHAND_{field.upper()} can be {done} by every user of this machine: "
        f"`chmod {mode} {getattr(settings, field)}`."
    )


def _mode_of(path: str) -> int:
    """Of a file; 0 for one that is not named, or cannot be looked at."""
    try:
        return Path(path).stat().st_mode if path else 0
    except OSError:
        return 0


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _about_certificate(settings: Settings) -> Iterator[str]:
    """Whether other processes, which have the same authorities, would believe this one."""
    from web.access.certificates import why_not_believed

    host = urlsplit(settings.url).hostname or ""
    cert, key, ca = (Path(at) for at in (settings.tls_cert, settings.tls_key, settings.tls_ca))
    why = why_not_believed(cert, key, ca if settings.tls_ca else None, host)
    if why is not None:
        yield (
            f"Other workers will not believe that this one is {host} ({why}): the certificate of "
            "ONHAND_TLS_CERT must name the host of ONHAND_URL, and be signed by one in "
            "ONHAND_TLS_CA."
        )
