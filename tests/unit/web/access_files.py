"""Files of tokens and secrets for tests, and a worker's web that reads them."""

from __future__ import annotations

from pathlib import Path

import msgspec

from web.access.access import Access
from web.access.callers import Scope
from web.access.certificates import PLAIN, Tls
from web.access.proofs import read_secrets
from web.access.tokens import Token, as_file, new_token, read_tokens
from web.access.watched import WatchedFile

SECRET, OTHER = "5" * 64, "6" * 64


class Keys:
    """Both files of a worker in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.tokens, self.secrets = folder / "tokens.json", folder / "peers"
        self.entries: list[Token] = []
        self.tokens.write_bytes(as_file([]))
        self.share(SECRET)

    def token(self, *scopes: Scope, name: str = "till-17", **only: list[str]) -> str:
        sources, locations = only.get("sources", []), only.get("locations", [])
        secret, entry = new_token(name, scopes or tuple(Scope), sources, locations)
        self.entries.append(entry)
        self.tokens.write_bytes(as_file(self.entries))
        return secret

    def revoke(self, token: str) -> None:
        self.entries = [entry for entry in self.entries if entry.id not in token]
        self.tokens.write_bytes(as_file(self.entries))

    def narrow(self, token: str, **only: list[str]) -> None:
        """From now on it may write these alone."""
        self.entries = [
            msgspec.structs.replace(entry, **only) if entry.id in token else entry
            for entry in self.entries
        ]
        self.tokens.write_bytes(as_file(self.entries))

    def share(self, *secrets: str, mode: str = "require") -> None:
        self.secrets.write_text("\n".join((mode, *secrets)))

    def access(
        self,
        url: str = "http://me",
        *,
        has_tokens: bool = True,
        has_secrets: bool = True,
        metrics_are_open: bool = False,
        tls: Tls = PLAIN,
    ) -> Access:
        """As of now; looks at the files again with every question."""
        tokens = WatchedFile(self.tokens, read_tokens) if has_tokens else None
        secrets = WatchedFile(self.secrets, read_secrets) if has_secrets else None
        for watched in (tokens, secrets):
            if watched is not None:
                watched.every_s = 0.0
        return Access(tokens, secrets, url, metrics_are_open=metrics_are_open, tls=tls)
