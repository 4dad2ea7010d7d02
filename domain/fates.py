"""What became of one record: told afterwards, from what the duplicates window still holds.

No verdict is remembered anywhere. The window says it again: an accepted event is an entry at
its own offset; a repetition or a conflict finds the entry that it was judged by. Where the
window no longer reaches that far, the fate is unknown, never guessed.
"""

from enum import StrEnum

from msgspec import Struct

from core.fold import CONFLICT
from core.refusals import Refused
from core.window import Seen


class Ending(StrEnum):
    """What can become of a record that is in the log."""

    APPLIED = "applied"
    REPEATED = "repeated"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class Fate(Struct, frozen=True):
    """An outcome and what goes with it.

    of: offset of the event that a repetition repeats, in the same topic-partition.
    refused: why, where it was refused. why: one sentence, where the fate is unknown.
    """

    outcome: Ending
    of: int | None = None
    refused: Refused | None = None
    why: str = ""


_APPLIED = Fate(Ending.APPLIED)
_CONFLICTED = Fate(Ending.REFUSED, refused=CONFLICT)


def unknown(why: str) -> Fate:
    """Say that it cannot be said."""
    return Fate(Ending.UNKNOWN, why=why)


def fate_of(seen: Seen, offset: int, identity: int, content: int) -> Fate:
    """Tell what became of the record at `offset`, which the checks of one record accept.

    Args:
        seen: the owner's word on its topic-partition.
        offset: where the record stands.
        identity: of the record, as `domain/columns.py` gives it by the owner's rules.
        content: the same.
    """
    if offset >= seen.next_offset:
        return unknown("It is in the log and was not counted yet when the wait ended.")
    if not seen.size:
        return _APPLIED
    # As the fold judged it: by the one entry within W that was alive then.
    judged_by = [
        entry for entry in seen.entries
        if entry[0] == identity and offset - seen.size <= entry[2] <= offset
    ]  # fmt: skip
    if not judged_by:
        return unknown("The duplicates window has moved on: it no longer reaches so far back.")
    _, known, at = judged_by[-1]
    if at < offset:
        return Fate(Ending.REPEATED, of=at) if known == content else _CONFLICTED
    if known != content:
        return unknown("At its place in the log the owner counted something else.")
    return _APPLIED
