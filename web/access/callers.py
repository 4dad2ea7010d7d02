"""Who calls, and what a caller may do."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from enum import StrEnum

from msgspec import Struct

#: At the end of a source or location that a token may write: whatever begins so.
ANY_END = "*"


class Scope(StrEnum):
    """What a token may be good for. None of them holds another."""

    READ = "read"
    WRITE = "write"
    DEAD_LETTERS = "dead-letters"
    OPERATE = "operate"


class Caller(Struct, frozen=True):
    """The owner of a token.

    id: of the token; no secret. name: who it was made for.
    sources, locations: those that may be written; none named: all. See `ANY_END`.
    """

    id: str
    name: str
    scopes: frozenset[Scope]
    sources: Sequence[str] = ()
    locations: Sequence[str] = ()

    def may_write(self, source: str, location: str) -> str | None:
        """None if a fact of these may be posted; else what is wrong, in one sentence."""
        for what, value, allowed in (
            ("source", source, self.sources),
            ("location", location, self.locations),
        ):
            if allowed and not _is_among(value, allowed):
                named = ", ".join(allowed[:5]) + (", …" if len(allowed) > 5 else "")
                return f"This token may not write facts of {what} {value!r}, only of {named}."
        return None


def _is_among(value: str, allowed: Sequence[str]) -> bool:
    return any(
        value.startswith(one[: -len(ANY_END)]) if one.endswith(ANY_END) else value == one
        for one in allowed
    )


#: Of the request that is being answered; None where nobody has to say who calls.
CALLER: ContextVar[Caller | None] = ContextVar("caller", default=None)
