"""No input of a client or of a neighbour makes a 500. tests/torture has an hour of it."""

import logging

import pytest

from tests.support.breaking.fuzzed import fuzz_for, seed_of_this_run

SECONDS = 12.0


async def test_nonsense_of_clients_and_neighbours_is_never_a_bug(
    caplog: pytest.LogCaptureFixture,
) -> None:
    seen = await fuzz_for(SECONDS, seed_of_this_run())

    assert not seen.bugs, f"{len(seen.bugs)} of them, such as {seen.bugs[0][:500]!r}"
    # There is no Kafka, and aiokafka says so.
    others = [record for record in caplog.records if not record.name.startswith("aiokafka")]
    errors = [record for record in others if record.levelno >= logging.ERROR]
    assert not errors, caplog.text[-5000:]
    # It came through: to rows, to refusals of every kind, to calls that need Kafka.
    assert {200, 400, 404, 405, 503} <= seen.statuses.keys()
