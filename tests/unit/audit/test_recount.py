"""The audit's own fold: the oracle agrees with it at every position, on every strange log."""

from collections import defaultdict

import pytest

from audit.comparing import Held, compare_counts
from audit.recount import Expected, Recount
from dev.oracle.rows import Row as OracleRow
from dev.oracle.stock import Oracle, Record
from domain.rows import row_key
from domain.rules.two import TWO
from tests.ledgers.logs import PARTITIONS, WINDOW, a_log

TOPICS = {role: role for role in ("shipments", "sales", "adjustments")}


def recounted(records: list[Record], apart_after: int | None = None) -> list[Recount]:
    """Each partition's; the records of each after the first so many are kept apart."""
    counts = [Recount(TOPICS, part, PARTITIONS, WINDOW, TWO) for part in range(PARTITIONS)]
    for number, record in enumerate(records):
        if number == apart_after:
            for count in counts:
                count.keep_apart()
        came = record.offset, record.timestamp_ms, record.key, record.value, record.headers
        counts[record.partition].add(record.topic, [came])
    return counts


def positions(records: list[Record]) -> list[dict[str, int]]:
    found: list[dict[str, int]] = [defaultdict(int) for _ in range(PARTITIONS)]
    for record in records:
        found[record.partition][record.topic] = record.offset + 1
    return found


def rows_of(expected: Expected) -> dict[bytes, OracleRow]:
    rows = {key: expected.row(key) for key in expected.keys()}  # noqa: SIM118
    return {
        key: OracleRow(*(getattr(row, name) for name in OracleRow._fields))
        for key, row in rows.items()
    }


def told(records: list[Record]) -> Oracle:
    oracle = Oracle(PARTITIONS, window=WINDOW)
    for record in records:
        oracle.feed(record)
    return oracle


@pytest.mark.parametrize("seed", range(6))
def test_rows_at_any_position_are_the_oracles(seed: int) -> None:
    records = a_log(seed, 900)
    counts = recounted(records, apart_after=500)

    for end in (500, 501, 640, 777, 900):
        at = positions(records[:end])
        expected = [count.at(at[part]) for part, count in enumerate(counts)]
        rows = {key: row for each in expected for key, row in rows_of(each).items()}
        oracle = told(records[:end])
        assert rows == {row_key(*key): row for key, row in oracle.rows().items()}
        applied, repeated, refused = (
            sum(each.counts[topic][n] for each in expected for topic in TOPICS) for n in range(3)
        )
        said = sum(oracle.applied.values()), len(oracle.repeated), len(oracle.refused)
        assert (applied, repeated, refused) == said
        assert min(said) > 0


def test_what_a_copy_says_that_it_counted_is_held_against_the_log() -> None:
    records = a_log(3, 300)
    count = recounted(records)[0]
    expected = count.at(positions(records)[0])
    held = Held(where="http://a:1", role="active", partition=0, positions={})

    compare_counts(held, dict(expected.counts), expected)
    assert held.agrees

    applied, repeated, refused = expected.counts["sales"]
    compare_counts(held, {**expected.counts, "sales": (applied, repeated - 1, refused)}, expected)
    assert list(held.counts) == ["sales"]
    assert not held.agrees
