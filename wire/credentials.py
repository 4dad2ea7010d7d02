"""How this process says to Kafka who it is, where that is no name and password."""

from __future__ import annotations

from pathlib import Path

from aiokafka.abc import AbstractTokenProvider


class FileToken(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka publishes no types
    """The token of OAUTHBEARER, as a file has it: read for each connection, so it may change.

    Whoever gets tokens (a sidecar, the kubelet, a cron job) writes it; no connection that is
    open ends when a token does, unless the broker says so.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    async def token(self) -> str:
        """Of now; raises OSError."""
        return self._path.read_text(encoding="ascii").strip()
