"""Tokens: how they look, what is kept of them, and who one belongs to.

A token is `onhand_ID_SECRET`: 8 hexadecimal digits that name it, and 256 random bits. The file
holds the SHA-256 of the whole and never the token: that is enough for a secret nobody can guess.
The ID finds the entry, so that the secret is compared once, in constant time.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from web.access.callers import Caller, Scope
from web.access.watched import AccessError

_TOKEN = re.compile(rb"onhand_([0-9a-f]{8})_[A-Za-z0-9_-]{43}")
#: Compared with the hash of a token whose ID nobody has: that takes as long as any.
_NOBODY = hashlib.sha256(b"").digest()
#: It becomes an attribute of facts and stands in logs.
TOKEN_NAME = r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$"  # noqa: S105 - of its owner


class Token(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One entry of the file. sha256: of the token, in hexadecimal digits."""

    id: Annotated[str, Meta(pattern="^[0-9a-f]{8}$")]
    name: Annotated[str, Meta(pattern=TOKEN_NAME)]
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    scopes: Annotated[list[Scope], Meta(min_length=1)]
    sources: list[str] = []
    locations: list[str] = []
    created: str = ""


class _File(Struct, frozen=True, forbid_unknown_fields=True):
    tokens: list[Token]


_decoder = msgspec.json.Decoder(_File)


class Tokens:
    """All tokens that are good now."""

    def __init__(self, tokens: Sequence[Token] = ()) -> None:
        self._known: Mapping[bytes, tuple[bytes, Caller]] = {
            token.id.encode(): (bytes.fromhex(token.sha256), _caller(token)) for token in tokens
        }

    def caller_of(self, token: bytes) -> Caller | None:
        """Whose this is; None for what is no token, or none that is good."""
        match = _TOKEN.fullmatch(token)
        if match is None:
            return None
        kept, caller = self._known.get(match[1], (_NOBODY, None))
        given = hashlib.sha256(token).digest()
        return caller if hmac.compare_digest(given, kept) else None

    def named(self, token_id: str) -> Caller | None:
        """Who has the token of this ID, as another worker says."""
        found = self._known.get(token_id.encode())
        return None if found is None else found[1]


def _caller(token: Token) -> Caller:
    return Caller(
        token.id, token.name, frozenset(token.scopes), tuple(token.sources), tuple(token.locations)
    )


def read_tokens(data: bytes) -> Tokens:
    """What the file holds; raises AccessError.

    Nothing at all is no list of tokens: a file is empty for a moment while it is copied, and for
    good on a full disk, and nobody would get in.
    """
    if not data.strip():
        raise AccessError("it is empty, no file of tokens: make one with `onhand token create`.")
    return Tokens(entries_of(data))


def entries_of(data: bytes) -> list[Token]:
    """The same as it is written, for the command; an empty file has none.

    Raises:
        AccessError: it is not such a file. The sentence quotes nothing of it.
    """
    if not data.strip():
        return []
    try:
        tokens = _decoder.decode(data).tokens
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        at = str(error).rpartition("`")[0].rpartition("`")[2] if "`$" in str(error) else ""
        place = f" at {at}" if at.startswith("$") else ""
        raise AccessError(
            f"this is no file of tokens{place}: make one with `onhand token create`."
        ) from None
    if len({token.id for token in tokens}) < len(tokens):
        raise AccessError("two tokens have the same id: remove one of them.")
    return tokens


def as_file(tokens: Sequence[Token]) -> bytes:
    """As the file holds them, a token a few lines, so that changes can be seen."""
    return msgspec.json.format(msgspec.json.encode(_File(list(tokens))), indent=1) + b"\n"


def new_token(
    name: str,
    scopes: Sequence[Scope],
    sources: Sequence[str] = (),
    locations: Sequence[str] = (),
    created: str = "",
) -> tuple[str, Token]:
    """A token, shown once, and what is kept of it."""
    token_id = secrets.token_hex(4)
    token = f"onhand_{token_id}_{secrets.token_urlsafe(32)}"
    entry = Token(
        id=token_id,
        name=name,
        sha256=hashlib.sha256(token.encode()).hexdigest(),
        scopes=list(scopes),
        sources=list(sources),
        locations=list(locations),
        created=created,
    )
    return token, entry
