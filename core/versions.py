"""Which version is active: the recorded states, the moves that are legal, and their record.

Versions of the rules stand side by side, each with rows of its own. People move them:

    staged → active → previous → retired      previous → active      staged → retired

Each record holds the whole state and a number, the epoch, one higher than the record before.
The fields of `Versions` down to `forced` are kept for ever; readers pass over what they do not
know (docs/upgrades.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec.structs import replace

#: Of the record's shape. Another one would be a record that older builds cannot read.
SCHEMA = 1
#: The key of every record.
KEY = b"version"

Number = Annotated[int, msgspec.Meta(ge=1)]


class VersionChange(StrEnum):
    """What a record did. For people: where versions stand, its other fields say."""

    BEGIN = "begin"
    STAGE = "stage"
    PROMOTE = "promote"
    ROLLBACK = "rollback"
    RETIRE = "retire"  # its workers end what they hold
    RETIRED = "retired"  # its topics are gone too
    OTHER = "other"  # of a newer build; never written

    @classmethod
    def _missing_(cls, value: object) -> VersionChange:
        """A record counts also where this build does not know what was done."""
        return cls.OTHER


class VersionState(StrEnum):
    """Where a version is."""

    STAGED = "staged"  # its workers count, and answer only who asks for this version
    ACTIVE = "active"  # the answers are its answers
    PREVIOUS = "previous"  # was active before; counts on, so that a way back is open
    RETIRED = "retired"  # for good
    UNLISTED = "unlisted"  # not known: not staged yet


class VersionBegun(msgspec.Struct, frozen=True):
    """What a version was begun with.

    rules: number of its rules, window: offsets of its duplicates window, as the command that
    staged it had them. The changelog of the version is what decides. seed: kept for later.
    """

    rules: int
    window: int
    seed: str | None = None


class Versions(msgspec.Struct, frozen=True, kw_only=True):
    """The state of all versions, as one record.

    epoch: 1, 2, 3 …: what orders records. positions: of the active version when the record was
    written, for reports. by, at: who wrote it, and when by that machine's clock; for people.
    forced: names of the refusals that were overruled.
    accepted: reasons why rows were found to differ, all of them accepted.
    retiring: retired ones whose topics are not deleted yet.
    """

    schema: int = SCHEMA
    epoch: Number
    change: VersionChange
    active: Number
    previous: Number | None = None
    staged: Number | None = None
    retired: tuple[Number, ...] = ()
    versions: Mapping[str, VersionBegun] = {}
    positions: str = ""
    by: str = ""
    at: str = ""
    note: str = ""
    forced: tuple[str, ...] = ()
    retiring: tuple[Number, ...] = ()
    accepted: tuple[str, ...] = ()

    def state_of(self, version: int) -> VersionState:
        """Where this version is."""
        if version == self.active:
            return VersionState.ACTIVE
        if version == self.staged:
            return VersionState.STAGED
        if version == self.previous:
            return VersionState.PREVIOUS
        return VersionState.RETIRED if version in self.retired else VersionState.UNLISTED

    @property
    def was_rolled_back(self) -> bool:
        """Whether the version before is the higher one: the way forward is to promote it."""
        return self.previous is not None and self.previous > self.active


class NoRecord(Exception):
    """These bytes are no state that this build can read; says why."""


class MoveRefused(Exception):
    """The versions stand so that this cannot be done; says what can."""


class AlreadySo(Exception):
    """There is nothing to do; says how it stands."""


def to_bytes(versions: Versions) -> bytes:
    """The record's value: JSON."""
    return msgspec.json.encode(versions)


def from_bytes(value: bytes | None) -> Versions:
    """Read a record's value; unknown fields are passed over.

    Raises:
        NoRecord: with the reason.
    """
    try:
        found = msgspec.json.decode(value or b"", type=Versions)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise NoRecord(str(error)) from error
    if found.schema != SCHEMA:
        raise NoRecord(f"its schema is {found.schema}, and this build knows {SCHEMA}")
    return found


class VersionEntry(msgspec.Struct, frozen=True):
    """One record that counts: where it is, and when the broker took it (ms since the epoch)."""

    versions: Versions
    offset: int
    log_ms: int


class VersionHistory:
    """Takes records in log order, and accepts only the one that follows the last."""

    def __init__(self) -> None:
        self.entries: list[VersionEntry] = []

    @property
    def last(self) -> Versions | None:
        """How it stands; None before the first record."""
        return self.entries[-1].versions if self.entries else None

    def take(self, value: bytes | None, offset: int, log_ms: int) -> str | None:
        """Take one record in; why not, if it is not the next one."""
        try:
            found = from_bytes(value)
        except NoRecord as error:
            return f"is no record of versions ({error})"
        expected = len(self.entries) + 1
        if found.epoch != expected:
            return f"has epoch {found.epoch} where {expected} comes next"
        self.entries.append(VersionEntry(found, offset, log_ms))
        return None


def first_record(version: int, kept: VersionBegun) -> Versions:
    """The first record: this version is active."""
    return Versions(
        epoch=1, change=VersionChange.BEGIN, active=version, versions={str(version): kept}
    )


def stage(before: Versions, version: int, kept: VersionBegun) -> Versions:
    """Let this version count beside the active one.

    Raises:
        AlreadySo: it is staged.
        MoveRefused: it was known before, or another one is in its way.
    """
    _refuse_unless(version, before, _STAGE)
    if before.staged is not None:
        raise MoveRefused(
            f"Version {before.staged} is staged, and there can be one: promote it, or give it up "
            f"with `onhand upgrade retire {before.staged}`."
        )
    if before.previous is not None:
        raise MoveRefused(
            f"Version {before.previous} still follows as the previous one, and three versions are "
            f"too many: `onhand upgrade retire {before.previous}` first."
        )
    newest = max(map(int, before.versions), default=before.active)
    if version < newest:
        raise MoveRefused(
            f"Version {version} is lower than {newest}, which there has been: numbers go up."
        )
    known = {**before.versions, str(version): kept}
    return _next(before, VersionChange.STAGE, staged=version, versions=known)


def promote(before: Versions, version: int) -> Versions:
    """Make the staged version the active one; after a rollback, the previous one again.

    Raises:
        AlreadySo: it is active.
        MoveRefused: it is neither.
    """
    if before.state_of(version) is VersionState.PREVIOUS and not before.was_rolled_back:
        raise MoveRefused(
            f"Version {version} was active before {before.active}: `onhand upgrade rollback` "
            "makes it active again."
        )
    _refuse_unless(version, before, _PROMOTE)
    return _next(before, VersionChange.PROMOTE, active=version, previous=before.active, staged=None)


def rollback(before: Versions) -> Versions:
    """Make the version before the active one again; both keep counting.

    Raises:
        AlreadySo: the last switch was a rollback.
        MoveRefused: there is no version before.
    """
    if before.was_rolled_back:
        raise AlreadySo(
            f"Version {before.active} is active again since a rollback; `onhand upgrade promote "
            f"{before.previous}` goes forward."
        )
    if before.previous is None:
        raise MoveRefused(
            f"There is no version before {before.active} that still follows: nothing to go back to."
        )
    return _next(before, VersionChange.ROLLBACK, active=before.previous, previous=before.active)


def retire(before: Versions, version: int) -> Versions:
    """End the previous version, or give the staged one up.

    Raises:
        AlreadySo: it is retired, and nothing of it is left.
        MoveRefused: it is active or not known.
    """
    if version in before.retiring:
        raise AlreadySo(f"Version {version} is retired.")
    _refuse_unless(version, before, _RETIRE)
    return _next(
        before,
        VersionChange.RETIRE,
        previous=None if version == before.previous else before.previous,
        staged=None if version == before.staged else before.staged,
        retired=(*before.retired, version),
        retiring=(*before.retiring, version),
    )


def retired(before: Versions, version: int) -> Versions:
    """Note that nothing is left of a retired version.

    Raises:
        AlreadySo: that was noted.
        MoveRefused: it is not retired.
    """
    if version not in before.retired:
        raise MoveRefused(f"Version {version} is not retired.")
    if version not in before.retiring:
        raise AlreadySo(f"Version {version} is retired, and nothing of it is left.")
    left = tuple(one for one in before.retiring if one != version)
    return _next(before, VersionChange.RETIRED, retiring=left)


# What each command says to a version in each state: None is the one it is for. `{v}` is the
# version, `{active}` the active one.
_ALREADY = "already"
_STAGE: Mapping[VersionState, str | None] = {
    VersionState.UNLISTED: None,
    VersionState.STAGED: _ALREADY,
    VersionState.ACTIVE: "is active: stage the next number",
    VersionState.PREVIOUS: "was active before: numbers are never used again, stage the next one",
    VersionState.RETIRED: "is retired: numbers are never used again, stage the next one",
}
_PROMOTE: Mapping[VersionState, str | None] = {
    VersionState.UNLISTED: "is not staged: `onhand upgrade stage {v}` first",
    VersionState.STAGED: None,
    VersionState.ACTIVE: _ALREADY,
    VersionState.PREVIOUS: None,
    VersionState.RETIRED: "is retired, for good: stage the next number",
}
_RETIRE: Mapping[VersionState, str | None] = {
    VersionState.UNLISTED: "is not known: see `onhand upgrade status`",
    VersionState.STAGED: None,
    VersionState.ACTIVE: "is the active one: promote another first",
    VersionState.PREVIOUS: None,
    VersionState.RETIRED: _ALREADY,
}


def _refuse_unless(
    version: int, before: Versions, table: Mapping[VersionState, str | None]
) -> None:
    state = before.state_of(version)
    if (why := table[state]) is None:
        return
    if why is _ALREADY:
        raise AlreadySo(f"Version {version} is {state} (epoch {before.epoch}).")
    raise MoveRefused(f"Version {version} {why.format(v=version)}.")


def _next(before: Versions, change: VersionChange, **fields: object) -> Versions:
    after = replace(before, **fields)
    return replace(
        after,
        schema=SCHEMA,
        epoch=before.epoch + 1,
        change=change,
        positions="",
        by="",
        at="",
        note="",
        forced=(),
        accepted=(),
    )
