"""The moves between versions, and their record."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import versions
from core.versions import (
    AlreadySo,
    MoveRefused,
    NoRecord,
    VersionBegun,
    VersionChange,
    VersionHistory,
    Versions,
    VersionState,
)

KEPT = VersionBegun(rules=2, window=100_000)


def standing(state: VersionState) -> Versions:
    """A state in which version 2 is this."""
    begun = versions.first_record(1, KEPT)
    if state is VersionState.UNLISTED:
        return begun
    staged = versions.stage(begun, 2, KEPT)
    if state is VersionState.STAGED:
        return staged
    active = versions.promote(staged, 2)
    if state is VersionState.ACTIVE:
        return active
    back = versions.rollback(active)
    return back if state is VersionState.PREVIOUS else versions.retire(back, 2)


def outcome(command: str, before: Versions) -> str:
    """What the command does to version 2: its new state, `already` or `refused`."""
    try:
        match command:
            case "stage":
                after = versions.stage(before, 2, KEPT)
            case "promote":
                after = versions.promote(before, 2)
            case "rollback":
                after = versions.rollback(before)
            case _:
                after = versions.retire(before, 2)
    except AlreadySo:
        return "already"
    except MoveRefused:
        return "refused"
    assert after.epoch == before.epoch + 1
    return str(after.state_of(2))


MOVES = {
    # version 2 is:         unlisted  staged     active      previous   retired
    "stage": ["staged", "already", "refused", "refused", "refused"],
    "promote": ["refused", "active", "already", "active", "refused"],
    "rollback": ["refused", "refused", "previous", "already", "refused"],
    "retire": ["refused", "retired", "refused", "retired", "already"],
}
STATES = [
    VersionState.UNLISTED,
    VersionState.STAGED,
    VersionState.ACTIVE,
    VersionState.PREVIOUS,
    VersionState.RETIRED,
]


@pytest.mark.parametrize("command", MOVES)
def test_each_command_does_to_a_version_in_each_state_what_the_table_says(command: str) -> None:
    assert [outcome(command, standing(state)) for state in STATES] == MOVES[command]


@given(st.lists(st.tuples(st.sampled_from(sorted(MOVES)), st.integers(1, 5)), max_size=30))
def test_whatever_people_do_there_is_one_active_version_and_no_number_is_used_twice(
    steps: list[tuple[str, int]],
) -> None:
    now = versions.first_record(1, KEPT)
    staged = [1]
    for command, number in steps:
        before = now
        try:
            if command == "stage":
                now = versions.stage(now, number, KEPT)
                staged.append(number)
            elif command == "promote":
                now = versions.promote(now, number)
            elif command == "rollback":
                now = versions.rollback(now)
            else:
                now = versions.retire(now, number)
        except (AlreadySo, MoveRefused):
            continue
        assert now.epoch == before.epoch + 1
        assert set(before.retired) <= set(now.retired)
        listed = [v for v in (now.active, now.previous, now.staged) if v is not None]
        assert len(listed) == len(set(listed)) <= 2
        assert not set(listed) & set(now.retired)
        assert {*listed, *now.retired} == set(map(int, now.versions))
    assert staged == sorted(set(staged))


def test_after_a_rollback_the_same_again_changes_nothing_and_promote_goes_forward() -> None:
    back = versions.rollback(
        versions.promote(versions.stage(versions.first_record(1, KEPT), 2, KEPT), 2)
    )

    with pytest.raises(AlreadySo, match="promote 2` goes forward"):
        versions.rollback(back)
    assert versions.promote(back, 2).active == 2


def test_a_third_version_waits_until_the_first_is_retired() -> None:
    two = versions.promote(versions.stage(versions.first_record(1, KEPT), 2, KEPT), 2)

    with pytest.raises(MoveRefused, match="retire 1` first"):
        versions.stage(two, 3, KEPT)
    assert versions.stage(versions.retire(two, 1), 3, KEPT).staged == 3


def test_what_is_left_of_a_retired_version_is_named_until_it_is_noted() -> None:
    two = versions.promote(versions.stage(versions.first_record(1, KEPT), 2, KEPT), 2)

    leaving = versions.retire(two, 1)
    gone = versions.retired(leaving, 1)

    assert (leaving.retiring, gone.retiring) == ((1,), ())
    assert leaving.state_of(1) is gone.state_of(1) is VersionState.RETIRED
    with pytest.raises(AlreadySo, match="nothing of it is left"):
        versions.retired(gone, 1)


FROZEN = """{"schema":1,"epoch":7,"change":"promote","active":2,"previous":1,"staged":null,
"retired":[],"versions":{"1":{"rules":3,"window":100000},"2":{"rules":4,"window":100000,
"seed":null}},"positions":"sales-0@8812,shipments-0@301","by":"anna@ops-3",
"at":"2026-11-23T10:00:00Z","note":"damaged returns","forced":[]}"""


def test_a_record_is_read_with_fields_that_this_build_does_not_know_and_written_with_its_own() -> (
    None
):
    document = json.loads(FROZEN)
    document["of a later build"] = {"deep": [1]}
    document["versions"]["2"]["more"] = 1

    read = versions.from_bytes(json.dumps(document).encode())

    assert read == versions.from_bytes(FROZEN.encode())
    assert (read.active, read.previous, read.versions["2"].rules) == (2, 1, 4)
    written = json.loads(versions.to_bytes(read))
    frozen = json.loads(FROZEN)
    frozen["versions"]["1"]["seed"] = None
    assert {key: written[key] for key in frozen} == frozen


def test_a_record_of_a_move_that_this_build_does_not_know_counts_all_the_same() -> None:
    later = versions.from_bytes(FROZEN.replace('"promote"', '"merge"').encode())

    assert (later.epoch, later.active, later.change) == (7, 2, VersionChange.OTHER)


@pytest.mark.parametrize(
    "value",
    [None, b"", b"\xff", b"[]", b'{"epoch":1}', FROZEN.replace(":7", ":0").encode()],
)
def test_what_is_no_record_is_refused_with_the_reason(value: bytes | None) -> None:
    with pytest.raises(NoRecord):
        versions.from_bytes(value)


def test_a_record_of_another_schema_is_refused() -> None:
    with pytest.raises(NoRecord, match="its schema is 2, and this build knows 1"):
        versions.from_bytes(FROZEN.replace('"schema":1', '"schema":2').encode())


def test_only_the_record_that_follows_the_last_is_taken() -> None:
    one = versions.first_record(1, KEPT)
    two = versions.stage(one, 2, KEPT)
    three = versions.promote(two, 2)
    history = VersionHistory()

    said = [
        history.take(versions.to_bytes(record), offset, 0)
        for offset, record in enumerate([two, one, one, three, two, three])
    ]

    assert history.last == three
    assert [entry.offset for entry in history.entries] == [1, 4, 5]
    assert said == [
        "has epoch 2 where 1 comes next",
        None,
        "has epoch 1 where 2 comes next",
        "has epoch 3 where 2 comes next",
        None,
        None,
    ]
