"""Who calls, and what a caller may do."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

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
                told = f"This token may not write facts of {what} {value!r}"
                return f"{told}, only of {_first(allowed)}."
        return None

    @property
    def is_narrow(self) -> bool:
        """Whether it may not write all facts."""
        return bool(self.sources or self.locations)

    def may_write_anywhere(self, source: str) -> str | None:
        """As `may_write`, for a fact of whatever location."""
        if (why := replace(self, locations=()).may_write(source, "")) is not None:
            return why
        if not self.locations:
            return None
        return f"This token may write facts of some locations only: {_first(self.locations)}."


def _first(allowed: Sequence[str]) -> str:
    return ", ".join(allowed[:5]) + (", …" if len(allowed) > 5 else "")


def _is_among(value: str, allowed: Sequence[str]) -> bool:
    return any(
        value.startswith(one[: -len(ANY_END)]) if one.endswith(ANY_END) else value == one
        for one in allowed
    )


#: Of the request that is being answered; None where nobody has to say who calls.
CALLER: ContextVar[Caller | None] = ContextVar("caller", default=None)
