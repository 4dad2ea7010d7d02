"""Who may call what, from the settings."""

from __future__ import annotations

from pathlib import Path

from app.config import Settings
from web.access.access import Access
from web.access.proofs import read_secrets
from web.access.tokens import read_tokens
from web.access.watched import WatchedFile


def access_of(settings: Settings) -> Access:
    """For a worker or a ledger; raises AccessError where a file cannot be used."""
    tokens, secrets = settings.tokens, settings.peer_secret
    return Access(
        WatchedFile(Path(tokens), read_tokens) if tokens else None,
        WatchedFile(Path(secrets), read_secrets) if secrets else None,
        settings.url,
        metrics_are_open=settings.metrics == "open",
    )
