"""The demo's meter: what it adds up, and what shows as drift."""

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from dev.demo.meter import Balance, Books, Committed

SALES = "sales", 3


def committed(position: int, *counts: int) -> Committed:
    counted, repeated, refused = counts
    return Committed({SALES: position}, (counted, repeated, refused))


def books(acked: Iterable[int], found: Iterable[int]) -> Books:
    these = Books()
    for offset in acked:
        these.acked(*SALES, offset)
    for offset in found:
        these.found(*SALES, offset)
    return these


def test_what_was_sent_is_counted_repeated_refused_or_in_flight() -> None:
    these = books(range(10), range(10))

    now = these.balance(committed(7, 4, 2, 1))
    assert now == Balance(sent=10, counted=4, repeated=2, refused=1, in_flight=3)
    assert now.drift == 0
    assert these.balance(committed(10, 7, 2, 1)).in_flight == 0


def test_a_record_that_no_worker_has_counted_is_not_in_flight_but_lost() -> None:
    now = books(range(10), range(10)).balance(committed(7, 4, 1, 1))

    assert (now.in_flight, now.drift) == (3, 1)


def test_a_record_that_kafka_took_and_has_no_more_is_lost() -> None:
    now = books(range(10), [*range(6), *range(7, 10)]).balance(committed(10, 9, 0, 0))

    assert (now.others, now.drift) == (0, 1)


def test_a_record_that_was_counted_twice_shows() -> None:
    assert books(range(10), range(10)).balance(committed(7, 8, 0, 0)).drift == -1


def test_what_others_appended_is_found_in_the_log_and_is_no_drift() -> None:
    now = books([0, 1, 3], range(4)).balance(committed(4, 4, 0, 0))

    assert (now.sent, now.others, now.in_flight, now.drift) == (3, 1, 0, 0)


def test_an_answer_that_comes_after_the_commit_is_the_demos_own_again() -> None:
    these = books([0, 1], range(3))
    assert these.balance(committed(3, 3, 0, 0)).others == 1
    these.acked(*SALES, 2)

    now = these.balance(committed(3, 3, 0, 0))
    assert (now.sent, now.others, now.in_flight, now.drift) == (3, 0, 0, 0)


@given(st.lists(st.booleans(), max_size=30), st.lists(st.integers(0, 5), max_size=12))
def test_whoever_appends_and_whenever_one_looks_nothing_drifts_while_nothing_is_lost(
    mine: list[bool], steps: list[int]
) -> None:
    these = books((n for n, is_mine in enumerate(mine) if is_mine), range(len(mine)))
    position = 0
    for step in steps:
        position = min(position + step, len(mine))
        now = these.balance(committed(position, position, 0, 0))

        assert now.drift == 0
        assert now.others == mine[:position].count(False)
        assert now.in_flight == mine[position:].count(True)
