"""A worker that is cut off from Kafka, or from everybody, while versions are switched."""

import time
from pathlib import Path

import aiohttp
import pytest

from dev.reads.answers import ask
from dev.workers import status_of
from tests.support.breaking.faults import passes
from tests.support.breaking.mutated import worker_without
from tests.support.breaking.severed import Line, kafka_with_a_line
from tests.support.cluster.switching import (
    FEW_FACTS_PER_S,
    FEW_READS_PER_S,
    FORCED,
    KEYS,
    QUIET_S,
    Switching,
    two_versions,
)

#: Ten times as long as whoever asks others needs to go over.
CUT_S = 20.0


async def with_a_behind_the_line(both: Switching, line: Line) -> None:
    behind = both.one.worker("a")
    behind.settings = {**behind.settings, "ONHAND_KAFKA": line.bootstrap}
    await both.set_up("ab", "cd")


@pytest.mark.parametrize("without", ["", "no-neighbours"])
async def test_who_is_cut_off_from_kafka_goes_over_with_the_others(
    tmp_path: Path, without: str
) -> None:
    async with (
        kafka_with_a_line(tmp_path / "kafka") as (kafka, line),
        two_versions(kafka, tmp_path) as both,
    ):
        if without:
            both.one.worker("a").command = worker_without(without)
        await with_a_behind_the_line(both, line)
        behind = both.one.worker("a").url
        async with both.open_loop(FEW_READS_PER_S, FEW_FACTS_PER_S) as tally:
            await passes(QUIET_S)
            line.cut()
            said = await both.promote(*FORCED, codes=(5,))
            assert f"Not confirmed by {behind}" in said, said
            if without:
                await passes(CUT_S)
                cut_until = time.time()
            else:
                await both.every_door_answers(2)
                await passes(QUIET_S)
            line.mend()
            await both.every_door_answers(2)
            await passes(QUIET_S)
        verdict = await both.judged(tally)
        # What only this worker owned waits for it, or for who takes over, as without an upgrade.
        assert not {"wrong", "back"} & set(verdict.faults), verdict.faults
        through = [a for a in tally.answers if a.asked == behind and a.status == 200]
        if without:
            assert {a.version for a in through if a.ended < cut_until} == {1}
        assert {(a.version, a.epoch) for a in through} == {(1, 2), (2, 3)}
        await both.assert_exact(2, tally)


async def test_who_is_cut_off_from_everybody_says_whose_its_answers_are_and_knows_none_newer(
    tmp_path: Path,
) -> None:
    async with (
        kafka_with_a_line(tmp_path / "kafka") as (kafka, line),
        two_versions(kafka, tmp_path, {"ONHAND_SESSION_TIMEOUT_MS": "60000"}) as both,
    ):
        await with_a_behind_the_line(both, line)
        behind = both.one.worker("a")
        others = [worker for worker in both.workers if worker is not behind]
        async with both.open_loop(FEW_READS_PER_S, FEW_FACTS_PER_S) as tally:
            await passes(QUIET_S)
        line.cut()
        for other in others:
            other.freeze()
        await both.promote(*FORCED, codes=(5,))

        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as http:
            answered = [await ask(http, behind.url, key) for key in KEYS]
            newer = [
                await ask(http, behind.url, key, "?min_position=control@3") for key in KEYS[:20]
            ]

        own = [answer for answer in answered if answer.status == 200]
        assert own, answered
        assert {(answer.version, answer.epoch) for answer in own} == {(1, 2)}
        assert {answer.status for answer in answered} <= {200, 404, 503}
        assert {answer.status for answer in newer} == {503}

        for other in others:
            other.thaw()
        line.mend()
        await both.every_door_answers(2)
        await both.assert_exact(2, tally)
        assert await status_of(f"{behind.url}/live", 5) == 200
