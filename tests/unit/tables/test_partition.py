"""What one partition remembers of the ends of its sources."""

import time

import pytest

from core.stages import Role, Stage
from tables.home.memory import MemoryStore
from tables.partition import _MISSED_S, _REPLACED_S, Partition

HOUR_MS = 3_600_000


@pytest.fixture
def partition() -> Partition:
    return Partition(0, MemoryStore())


def now_ms() -> int:
    return int(time.time() * 1000)


def test_of_two_words_the_later_one_counts_and_of_two_ends_the_greater(
    partition: Partition,
) -> None:
    now = now_ms()
    partition.saw_end("sales", 10, now - 5)
    partition.saw_end("sales", 7, now - 9)
    assert partition.ends["sales"] == (10, now - 5)

    partition.saw_end("sales", 7, now - 3)
    assert partition.ends["sales"] == (7, now - 3)

    partition.saw_end("sales", 12, now - 8)
    assert partition.ends["sales"] == (12, now - 8)


def test_a_clock_that_is_set_back_makes_no_old_word_the_newest(partition: Partition) -> None:
    partition.saw_end("sales", 10, now_ms() + HOUR_MS)

    now = now_ms()
    partition.saw_end("sales", 10, now)

    assert partition.as_of_ms() == now


def test_of_a_log_that_ends_before_what_was_counted_nothing_is_in_the_rows(
    partition: Partition,
) -> None:
    now = now_ms()
    partition.advance({"sales": 10})
    partition.saw_end("sales", 10, now - 5, counted=10)
    assert partition.lag_events() == 0

    partition.saw_end("sales", 4, now - 4, counted=10)
    assert partition.lags() == {"sales": 4}
    partition.saw_end("sales", 12, now - 3, counted=10)  # it grows on
    assert partition.lag_events() == 12


def test_rows_that_are_ahead_of_an_answer_on_its_way_say_nothing_of_the_log(
    partition: Partition,
) -> None:
    counted_when_asked = 8
    partition.advance({"sales": 10})

    partition.saw_end("sales", 9, now_ms(), counted=counted_when_asked)

    assert partition.lag_events() == 0


def test_what_was_owned_goes_once_its_next_owner_was_known_for_a_while_without_a_break(
    partition: Partition,
) -> None:
    for stage in (Stage.RESTORING, Stage.ACTIVE):
        partition.move(stage)
    assert not partition.is_replaced(True, 0.0)
    assert not partition.is_replaced(True, 1.5 * _REPLACED_S)  # it owns it

    partition.move(Stage.FORMER)

    def is_replaced(looks: dict[float, bool]) -> bool:
        """Of the last look; whether another owner is known, by when, in seconds."""
        return [partition.is_replaced(known, at * _REPLACED_S) for at, known in looks.items()][-1]

    assert not is_replaced({10: False, 20: False})  # nobody has it, however long
    assert not is_replaced({21: True, 21.9: True})
    assert not is_replaced({22: False, 22.1: True, 23: True})  # that one died: counted anew
    assert is_replaced({23.2: True})


def test_what_a_worker_is_to_fold_and_does_not_yet_comes_before_all_else_for_a_while(
    partition: Partition, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_000.0
    monkeypatch.setattr("tables.partition.time.monotonic", lambda: now)
    partition.assigned = Role.ACTIVE
    partition.move(Stage.FENCING)
    partition.move(Stage.RESTORING)
    assert partition.is_missed()

    now += _MISSED_S
    partition.move(Stage.FENCING)  # tried again
    assert not partition.is_missed()

    partition.state = Stage.ACTIVE
    assert not partition.is_missed()
    partition.move(Stage.FORMER)  # the group rebalances
    assert partition.is_missed()


def test_what_a_worker_only_follows_is_missed_by_nobody(partition: Partition) -> None:
    partition.assigned = Role.STANDBY
    partition.move(Stage.FORMER)

    assert not partition.is_missed()
