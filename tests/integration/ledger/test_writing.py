"""All of a batch is written, or nothing; by whoever is first, whatever happens to the others."""

import os
import signal
import threading
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from dev.oracle.stock import Record, partition_of
from dev.postgres import Postgres
from domain.rules.three import THREE
from ledger.lines import OUTCOMES
from ledger.questions.prefixes import Prefix
from ledger.schema import event_table, refusal_table
from ledger.writing import FencedOut, OutOfRange, append
from tests.ledgers import comparing
from tests.ledgers.comparing import lines
from tests.ledgers.kept import Kept, in_batches
from tests.ledgers.logs import START_MS, WINDOW, a_log, judged
from tests.ledgers.second import DEADLINE_S, frozen_inside_copy, race, second
from tests.support.inputs.builders import as_json, with_data


def assert_agrees(kept: Kept, records: list[Record]) -> None:
    """With the oracle."""
    comparing.assert_agrees(kept.reads, judged(records), records)


@pytest.mark.parametrize("size", [1, 13, 1000])
def test_what_is_written_is_the_log_judged_however_it_is_cut(kept: Kept, size: int) -> None:
    records = a_log(seed=size, count=300 if size > 1 else 60)
    for number, batch in enumerate(in_batches(records, size)):
        if number % 3 == 2:
            kept.restart()  # the window comes back from the lines
        kept.feed(batch)

    assert_agrees(kept, records)


def test_every_column_of_every_line_is_the_same_however_the_log_is_cut(
    kept: Kept, new_database: Callable[[], str]
) -> None:
    # Of one record, most that may be missing is missing in all lines; of a hundred, in some.
    records = a_log(seed=16, count=200, types_of=3)
    single = Kept(new_database(), rules=THREE)
    kept.rules = THREE
    kept.restart()
    for batch in in_batches(records, 100):
        kept.feed(batch)
    for record in records:
        single.feed([record])

    for table in (event_table, refusal_table):
        assert lines(kept.reads, table) == lines(single.reads, table)
    some = {name for row in lines(kept.reads) for name, value in row.items() if value is not None}
    assert some == set(event_table.columns.keys()) - {"actor"}
    single.close()


def test_a_repetition_says_which_record_it_repeats(kept: Kept) -> None:
    first, other = as_json(id="1"), as_json(id="2")
    values = [first, other, first, first]
    kept.feed([_sale(offset, value) for offset, value in enumerate(values)])
    kept.restart()
    kept.feed([_sale(4, other)])

    assert [row["repeat_of"] for row in lines(kept.reads)] == [None, None, 0, 0, 1]


def test_after_a_restart_an_id_is_known_as_far_back_as_the_window_reaches(kept: Kept) -> None:
    first, second = as_json(id="1"), as_json(id="2")
    kept.feed([_sale(0, first), _sale(1, second), _sale(WINDOW - 1, as_json(id="3"))])
    kept.restart()
    kept.feed([_sale(WINDOW, first), _sale(WINDOW + 2, second)])

    found = {row["off"]: row["repeat_of"] for row in lines(kept.reads)}
    assert found[WINDOW] == 0
    assert found[WINDOW + 2] is None  # one offset too far: another fact


def _sale(offset: int, value: bytes | None, key: bytes = b"SKU-000042") -> Record:
    partition = partition_of(key.decode(errors="replace"), 2)
    return Record("sales", partition, offset, START_MS + offset, key, value)


def test_two_processes_that_write_the_same_log_write_it_once(kept: Kept) -> None:
    records = a_log(seed=5, count=400)
    other = second("race", kept, seed=5, count=400)
    assert other.stdout is not None
    assert other.stdout.readline() == "ready\n"
    fenced = race(kept, records, size=5)
    told, _ = other.communicate(timeout=DEADLINE_S)
    assert other.returncode == 0

    assert fenced + int(told) > 0  # they did meet
    assert_agrees(kept, records)


def test_who_is_late_is_told_and_writes_nothing(kept: Kept) -> None:
    records = a_log(seed=1, count=40)
    late = kept.postings(records)
    kept.restart()
    kept.feed(records)

    with pytest.raises(FencedOut):
        kept.writer.commit(late)
    assert_agrees(kept, records)


def test_small_and_large_numbers_come_back_as_they_were(kept: Kept) -> None:
    longest = "i" * 1024, "s" * 1024
    edges = [
        (kind, quantity)
        for kind in ("inventory.stock.adjusted.v1",)
        for quantity in (0, 1, -1, 10**9, -(10**9))
    ]
    records = []
    for offset, (kind, quantity) in enumerate(edges):
        value = with_data(kind, quantity=quantity)
        value = value.replace(b'"1"', f'"{offset}"'.encode()).replace(
            b"2026-11-23T10:00:00.123Z",
            [b"0001-01-01T00:00:00Z", b"9999-12-31T23:59:59.999999Z"][offset % 2],
        )
        records.append(_sale(offset, value)._replace(topic="adjustments"))
    long = as_json(id=longest[0], source=longest[1])
    records.append(_sale(2**40, long)._replace(timestamp_ms=2**42))
    kept.feed(records)
    rows = lines(kept.reads)

    assert [row["quantity"] for row in rows] == [2, *(quantity for _, quantity in edges)]
    assert (rows[0]["id"], rows[0]["source"], rows[0]["off"]) == (*longest, 2**40)
    assert rows[0]["recorded_at"] == 2**42 * 1000
    assert [row["occurred_at"] for row in rows[1:3]] == [
        -62_135_596_800_000_000,
        253_402_300_799_999_999,
    ]
    assert {type(row["quantity"]) for row in rows} == {int}


@pytest.mark.parametrize(
    ("column", "value"),
    [("topic", 2**15), ("part", 2**31), ("off", 2**63), ("quantity", -(2**31) - 1),
     ("part", True), ("off", 1.0)],
)  # fmt: skip
def test_a_number_that_does_not_fit_is_refused_before_anything_is_written(
    kept: Kept, column: str, value: object
) -> None:
    kept.feed(a_log(seed=3, count=5))
    row = {**lines(kept.reads)[0], "off": 77, column: value}

    with kept.engine.begin() as connection, pytest.raises(OutOfRange, match=f"event.{column}"):
        append(connection, event_table, [[one] for one in row.values()])
    assert len(lines(kept.reads)) == 5


def test_text_that_a_database_does_not_take_stops_nothing(kept: Kept) -> None:
    strange = [
        b'{"specversion":"1.0","id":"a\\u0000b","source":"s","type":"x","data":{}}',
        b'{"specversion":"1.0","id":"\\ud800","source":"s","type":"x","data":{}}',
        b'{"specversion":"1.0","id":"1","source":"%b","type":"x","data":{}}' % (b"s" * 5000),
        b"\x00\xff",
    ]
    records = [_sale(offset, value) for offset, value in enumerate(strange)]
    headers = (("\udcff", None), ("n", b"\x00"))
    records.append(_sale(len(strange), None, key=b"SKU-000042")._replace(headers=headers))
    kept.feed(records)

    assert [row["value"] for row in lines(kept.reads, refusal_table)] == [*strange, None]
    assert {row["outcome"] for row in lines(kept.reads)} == {OUTCOMES.index("refused")}


def test_sums_beyond_32_and_53_bits_are_whole_numbers(kept: Kept) -> None:
    value = with_data("inventory.stock.adjusted.v1", quantity=10**9)
    records = [
        _sale(n, value.replace(b'"1"', f'"{n}"'.encode()))._replace(topic="adjustments")
        for n in range(5)
    ]
    kept.feed(records)
    with kept.engine.begin() as connection:
        connection.execute(sa.text(f"UPDATE stock SET adjusted = {2**62 + 1}"))

    with kept.history.look() as ledger:
        ((_, _, row),) = ledger.stock()
        at = ledger.row("SKU-000042", "store-007", Prefix(ledger.now(records[0].partition)))
    assert row.adjusted == 2**62 + 1
    assert at.row is not None
    assert (at.row.adjusted, type(at.row.adjusted)) == (5 * 10**9, int)


def test_copy_without_the_fence_before_it_is_committed_too(kept: Kept) -> None:
    kept.feed(a_log(seed=3, count=5))
    row = lines(kept.reads)[0]
    with kept.engine.begin() as connection:
        append(connection, event_table, [[one] for one in {**row, "off": 77}.values()])

    assert len(lines(kept.reads)) == 6


def test_a_server_that_refuses_lines_in_mid_copy_is_waited_for_like_any_other(
    postgres: Postgres,
) -> None:
    kept, records = Kept(postgres.new_database()), a_log(seed=9, count=60)
    with kept.engine.begin() as connection:
        connection.execute(sa.text(_NO_ROOM))
        connection.execute(
            sa.text("CREATE TRIGGER t BEFORE INSERT ON event FOR EACH ROW EXECUTE FUNCTION no()")
        )
    # As SQLAlchemy says it: who writes waits for this, and the driver's own would end it.
    with pytest.raises(sa.exc.OperationalError, match="no room"):
        kept.feed(records)
    with kept.engine.begin() as connection:
        connection.execute(sa.text("DROP TRIGGER t ON event"))

    kept.restart()
    kept.feed(records)
    assert_agrees(kept, records)
    kept.close()


_NO_ROOM = """
CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'no room' USING ERRCODE = 'disk_full'; END $$
"""


def test_a_server_killed_in_mid_batch_has_all_of_a_batch_or_nothing(
    postgres: Postgres,
) -> None:
    kept, records = Kept(postgres.new_database()), a_log(seed=9, count=600)
    batches = in_batches(records, 60)
    for batch in batches[:3]:
        kept.feed(batch)
    killer = threading.Timer(0.02, postgres.kill)
    killer.start()
    more = [*batches[3:], *([[]] * 100_000)]
    with pytest.raises(sa.exc.DBAPIError):  # the server is gone sooner or later
        _write_until_it_fails(kept, more)
    killer.join()
    postgres.start()

    kept.restart()
    left = [
        r for r in records
        if r.offset >= kept.books[r.partition][r.topic].reach.next_offset
    ]  # fmt: skip
    assert len(left) % 60 == 0
    for batch in in_batches(left, 60):
        kept.feed(batch)
    assert_agrees(kept, records)
    kept.close()


def _write_until_it_fails(kept: Kept, batches: list[list[Record]]) -> None:
    for batch in batches:
        kept.feed(batch)
        with kept.engine.begin() as connection:
            connection.execute(sa.text("SELECT 1"))


def test_a_process_frozen_inside_copy_holds_its_successor_up_for_seconds_only(
    postgres: Postgres,
) -> None:
    kept, records = Kept(postgres.new_database()), a_log(seed=4, count=200)
    with frozen_inside_copy(kept, seed=4, count=200) as frozen:
        kept.feed(records)  # would wait for as long as the other one sleeps
        os.kill(frozen.pid, signal.SIGCONT)
        frozen.wait(DEADLINE_S)

    assert frozen.returncode != 0  # it learned that its session had been ended
    assert_agrees(kept, records)
    kept.close()


def test_nobody_elses_session_is_ended_for_a_lock(postgres: Postgres) -> None:
    kept, records = Kept(postgres.new_database()), a_log(seed=4, count=50)
    stranger = sa.create_engine(kept.url, connect_args={"application_name": "psql"})
    with stranger.begin() as connection:
        connection.execute(sa.text("UPDATE position SET log_at = log_at"))
        with pytest.raises(sa.exc.OperationalError, match="lock timeout"):
            kept.feed(records)
        connection.execute(sa.text("SELECT 1"))  # still there
    stranger.dispose()
    kept.close()
