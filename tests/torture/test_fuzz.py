"""For an hour, or ONHAND_FUZZ_MINUTES: what tests/integration/web/test_fuzz.py has in short."""

import logging
import os

import pytest

from tests.support.breaking.fuzzed import fuzz_for, seed_of_this_run

MINUTES = float(os.environ.get("ONHAND_FUZZ_MINUTES", "60"))


async def test_an_hour_of_nonsense_is_never_a_bug(caplog: pytest.LogCaptureFixture) -> None:
    seen = await fuzz_for(MINUTES * 60, seed_of_this_run(anew=True))

    logging.getLogger(__name__).info("answers by status: %s", dict(seen.statuses))
    assert not seen.bugs, f"{len(seen.bugs)} of them, such as {seen.bugs[0][:500]!r}"
    # There is no Kafka, and aiokafka says so.
    others = [record for record in caplog.records if not record.name.startswith("aiokafka")]
    errors = [record for record in others if record.levelno >= logging.ERROR]
    assert not errors, caplog.text[-5000:]
