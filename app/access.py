"""Who may call what, from the settings."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from app.config import Settings
from web.access.access import Access
from web.access.beats import Beats
from web.access.certificates import Tls, read_authorities, read_certificate
from web.access.proofs import PeerSecrets, read_secrets
from web.access.tokens import read_tokens
from web.access.watched import WatchedFile, WatchedFiles


def access_of(settings: Settings) -> Access:
    """For a worker or a ledger; raises AccessError where a file cannot be used."""
    tokens = settings.tokens
    return Access(
        WatchedFile(Path(tokens), read_tokens) if tokens else None,
        _secrets_of(settings),
        settings.url,
        metrics_are_open=settings.metrics == "open",
        tls=tls_of(settings),
    )


def beats_of(settings: Settings) -> Beats:
    """Judges heartbeats as a worker does, for a command; raises AccessError as `access_of`."""
    return Beats(_secrets_of(settings), settings.members_topic, Counter())


def _secrets_of(settings: Settings) -> WatchedFile[PeerSecrets] | None:
    at = settings.peer_secret
    return WatchedFile(Path(at), read_secrets) if at else None


def tls_of(settings: Settings) -> Tls:
    """What a process shows and believes; raises AccessError where a file cannot be used."""
    cert, key, ca = (Path(at) for at in (settings.tls_cert, settings.tls_key, settings.tls_ca))
    shown = lambda: read_certificate(cert, key)  # noqa: E731
    return Tls(
        WatchedFiles((cert, key), shown) if settings.tls_cert else None,
        WatchedFiles((ca,), lambda: read_authorities(ca)) if settings.tls_ca else None,
    )
