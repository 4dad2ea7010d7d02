"""A ledger that is new beside a long log: nothing is answered before all of it can be."""

import pytest
import sqlalchemy as sa

from ledger.questions.prefixes import Prefix
from ledger.upkeep import building
from ledger.upkeep.building import Building
from tests.ledgers.comparing import assert_agrees
from tests.ledgers.kept import Kept, in_batches
from tests.ledgers.logs import SKUS, a_log, judged


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
