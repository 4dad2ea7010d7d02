"""A ledger that is new beside a long log: nothing is answered before all of it can be."""

from collections.abc import Callable
from threading import Thread

import pytest
import sqlalchemy as sa

from dev.postgres import Postgres
from ledger.questions.prefixes import Prefix
from ledger.upkeep import building
from ledger.upkeep.building import Building
from ledger.upkeep.chores import Chores
from tests.ledgers.comparing import assert_agrees
from tests.ledgers.kept import Kept, in_batches
from tests.ledgers.logs import SKUS, a_log, judged
from tests.ledgers.second import DEADLINE_S, frozen_inside_copy


def begun(kept: Kept, total: int) -> bool:
    with kept.engine.begin() as connection:
        return building.begin_building(connection, total)


def test_a_ledger_that_is_built_says_how_far_it_is_and_then_agrees(kept: Kept) -> None:
    records = a_log(seed=31, count=400)
    assert begun(kept, building.FAR)
    for batch in in_batches(records[:300], 100):
        kept.feed(batch)
    with pytest.raises(Building, match="300 of about 200,000"), kept.history.look():
        pass
    with kept.engine.connect() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM stock")).scalar() == 0
    with kept.engine.begin() as connection:
        assert building.finish_building(connection)
        assert not building.finish_building(connection)
    kept.feed(records[300:])

    assert_agrees(kept.reads, judged(records), records)
    with kept.history.look() as ledger:
        prefix = Prefix(ledger.now(ledger.partition_of(SKUS[0])))
        assert ledger.rows_of(SKUS[0], prefix)


def test_only_an_empty_ledger_beside_a_long_log_is_built(kept: Kept) -> None:
    assert not begun(kept, building.FAR - 1)
    kept.feed(a_log(seed=32, count=20))

    assert not begun(kept, 10 * building.FAR)
    with kept.history.look() as ledger:
        assert ledger.all_now()


def test_a_writer_that_knew_of_no_building_does_no_harm(kept: Kept) -> None:
    records = a_log(seed=33, count=300)
    other = Kept(kept.url.render_as_string(hide_password=False))
    begun(kept, building.FAR)
    kept.feed(records[:100])
    other.restart()
    other.feed(records[100:200])
    with kept.engine.begin() as connection:
        building.finish_building(connection)
    kept.restart()
    kept.feed(records[200:])
    other.close()

    assert_agrees(kept.reads, judged(records), records)


def ended(work: Callable[[], None]) -> bool:
    """Whether it ends by itself."""
    thread = Thread(target=work, daemon=True)
    thread.start()
    thread.join(DEADLINE_S)
    return not thread.is_alive()


def test_a_ledger_frozen_inside_copy_holds_up_neither_a_start_nor_the_end_of_a_build(
    postgres: Postgres,
) -> None:
    kept, records = Kept(postgres.new_database()), a_log(seed=34, count=400)
    begun(kept, building.FAR)
    ends = {(topic, part): 10**9 for topic in range(3) for part in range(kept.partitions)}
    near = dict.fromkeys(ends, 1_000)  # so little is missing that it may be finished
    starting = Chores(kept.engine)
    with frozen_inside_copy(kept, seed=34, count=400):
        assert ended(lambda: starting.begin(sum(ends.values())))
        is_building = [starting.is_building]
        assert ended(lambda: starting.finish(near))
        is_building.append(starting.is_building)
        kept.feed(records)  # ends the session that sleeps
        starting.finish(near)
        is_building.append(starting.is_building)

    assert is_building == [True, True, False]
    assert_agrees(kept.reads, judged(records), records)
    kept.close()


def test_who_starts_while_another_one_begins_to_build_finishes_for_it(kept: Kept) -> None:
    chores = Chores(kept.engine)
    chores.look()
    begun(kept, building.FAR)  # by a ledger that dies
    chores.begin(building.FAR)
    records = a_log(seed=35, count=100)
    kept.feed(records)

    chores.finish({(0, 0): 0})

    assert not chores.is_building
    assert_agrees(kept.reads, judged(records), records)
