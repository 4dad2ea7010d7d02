"""Versions are switched under an open loop, whose every answer is judged, and things go wrong."""

import asyncio
import os
from pathlib import Path

import pytest

from dev.kafka import Kafka
from dev.switches.running import Tally
from dev.workers import status_of, until
from tests.clocks import HOUR_S, Clock
from tests.support.breaking.faults import passes
from tests.support.breaking.kafka_tools import admin
from tests.support.breaking.mutated import worker_without
from tests.support.cluster.switching import (
    FEW_FACTS_PER_S,
    FEW_READS_PER_S,
    FORCED,
    QUIET_S,
    Switching,
    keep_figures,
    two_versions,
)

#: Lower where the machine carries no more.
READS_PER_S = float(os.environ.get("TORTURE_READS_PER_S", "500"))
FACTS_PER_S = float(os.environ.get("TORTURE_FACTS_PER_S", "2000"))
SWITCHES = int(os.environ.get("TORTURE_SWITCHES", "20"))


async def test_twenty_switches_under_load_fail_nothing_and_nobody_goes_back(
    kafka: Kafka, tmp_path: Path
) -> None:
    async with two_versions(kafka, tmp_path) as both:
        await both.set_up("ab", "cd")
        async with both.open_loop(READS_PER_S, FACTS_PER_S) as tally:
            await passes(QUIET_S)
            for number in range(SWITCHES):
                await both.caught_up()
                await (both.rollback() if number % 2 else both.promote())
                await both.every_door_answers(1 if number % 2 else 2)
                await passes(QUIET_S)
        verdict = await both.judged(tally)
        keep_figures(f"{SWITCHES} promotes and rollbacks in turn, 2 + 2 workers", verdict)
        assert len(verdict.switches) == SWITCHES
        assert not verdict.faults, verdict.faults
        await both.assert_exact(1 if SWITCHES % 2 == 0 else 2, tally)


async def settled(both: Switching, tally: Tally, version: int, *kinds: str) -> None:
    """No fault of these kinds, and in the end every row right through every door."""
    verdict = await both.judged(tally)
    assert verdict.reads, "nobody read: this proves nothing"
    assert not {k: v for k, v in verdict.faults.items() if k in kinds}, verdict.faults
    await both.assert_exact(version, tally)


@pytest.mark.parametrize("victim", ["a", "c"])
async def test_an_owner_of_either_version_is_killed_as_the_record_is_written(
    kafka: Kafka, tmp_path: Path, victim: str
) -> None:
    async with two_versions(kafka, tmp_path) as both:
        await both.set_up("ab", "cd")
        cluster = both.one if victim == "a" else both.two
        async with both.open_loop(FEW_READS_PER_S, FEW_FACTS_PER_S) as tally:
            await both.caught_up()
            # It may just have confirmed it: else the exit code is 5.
            switching = asyncio.create_task(both.promote(codes=(0, 5)))
            await both.recorded(3, switching)
            cluster.worker(victim).kill()
            await switching
            await both.every_door_answers(2)
            await cluster.start(victim)
            await both.every_door_answers(2)
            await passes(QUIET_S)
        # Who asks the dead one is refused, as without an upgrade.
        await settled(both, tally, 2, "wrong", "back")


async def test_the_new_version_rebalances_as_the_record_is_written(
    kafka: Kafka, tmp_path: Path
) -> None:
    async with two_versions(kafka, tmp_path) as both:
        await both.set_up("ab", "c")
        async with both.open_loop(FEW_READS_PER_S, FEW_FACTS_PER_S) as tally:
            both.two.launch("d")
            force = ("--force", "not-caught-up", "--force", "not-compared")
            await both.promote(*force, codes=(0, 5))
            await both.two.worker("d").ready()
            await both.every_door_answers(2)
            await passes(QUIET_S)
        await settled(both, tally, 2, "failed", "wrong", "back")


async def test_with_kafka_away_the_epoch_is_held_and_reads_go_on(
    own_kafka: Kafka, tmp_path: Path
) -> None:
    async with two_versions(own_kafka, tmp_path) as both:
        await both.set_up("ab", "cd")
        async with both.open_loop(FEW_READS_PER_S, FEW_FACTS_PER_S) as tally:
            await both.caught_up()
            await both.promote()
            await both.every_door_answers(2)
            own_kafka.pause()
            await passes(30)
            own_kafka.resume()
            await both.caught_up()
            await both.rollback()
            await both.every_door_answers(1)
        # Nobody takes a fact while Kafka is away.
        tally.posts = [post for post in tally.posts if post.status == 202]
        await settled(both, tally, 1, "failed", "wrong", "back")
        assert {a.epoch for a in tally.answers if a.status == 200} == {2, 3, 4}


async def test_who_sleeps_over_promote_and_retire_answers_nothing_old_and_brings_nothing_back(
    kafka: Kafka, tmp_path: Path
) -> None:
    async with two_versions(kafka, tmp_path) as both:
        await both.set_up("ab", "c")
        sleeper, gone = both.one.worker("a"), f"{both.one.name}-v1-"
        async with both.open_loop(FEW_READS_PER_S, FEW_FACTS_PER_S) as tally:
            await both.caught_up()
            sleeper.freeze()
            assert "is silent for" in await both.promote(codes=(1,))
            said = await both.promote("--force", "silent-worker", codes=(5,))
            assert f"Not confirmed by {sleeper.url}" in said
            await both.upgrade("retire", "1", "--yes")

            async def are_gone() -> bool:
                return not topics_of(kafka, gone)

            await until(are_gone, "deleted: the topics of version 1", 60)
            sleeper.thaw()

            async def idles() -> bool:
                return await status_of(f"{sleeper.url}/ready", 5) == 503

            await until(idles, "idle: who slept", 60)
            await both.every_door_answers(2)
            await passes(QUIET_S)
        assert not topics_of(kafka, gone)
        # Who sleeps answers nothing, and what was sent to it then fails, as without an upgrade.
        await settled(both, tally, 2, "wrong", "back")
        woken = [a for a in tally.answers if a.asked == sleeper.url and a.status == 200]
        assert {(a.version, a.epoch) for a in woken} <= {(1, 2), (2, 3), (2, 4), (2, 5)}


def topics_of(kafka: Kafka, prefix: str) -> list[str]:
    names = admin(kafka.bootstrap).list_topics(timeout=60).topics
    return [name for name in names if name.startswith(prefix)]


async def test_workers_whose_clocks_are_an_hour_wrong_switch_as_others_do(
    kafka: Kafka, tmp_path: Path
) -> None:
    async with two_versions(kafka, tmp_path) as both:
        Clock(both.one, "a").step(HOUR_S)
        Clock(both.two, "c").step(-HOUR_S)
        await both.set_up("ab", "cd")
        async with both.open_loop(FEW_READS_PER_S, FEW_FACTS_PER_S) as tally:
            await both.caught_up()
            await both.promote()
            await both.every_door_answers(2)
            await both.caught_up()
            await both.rollback()
            await both.every_door_answers(1)
        await settled(both, tally, 1, "failed", "wrong", "back")


#: A version that commits so seldom answers at once, and is behind.
SELDOM = {"ONHAND_COMMIT_INTERVAL_MS": "1500"}
SLEEPS_ON_S = 10.0
#: Nobody takes over from who sleeps for some seconds.
PATIENT = {"ONHAND_SESSION_TIMEOUT_MS": "60000"}


@pytest.mark.parametrize(
    ("without", "faults"), [("", set()), ("no-latch", {"failed"}), ("no-floors", {"back"})]
)
async def test_a_version_that_is_behind_is_waited_for_and_without_the_guards_this_would_be_seen(
    kafka: Kafka, tmp_path: Path, without: str, faults: set[str]
) -> None:
    """The new version sleeps over the record that makes it the active one, for longer than a
    request that was passed to it is waited for."""
    async with two_versions(kafka, tmp_path, PATIENT) as both:
        both.two.settings |= SELDOM
        if without:
            both.one.worker("a").command = worker_without(without)
        await both.set_up("a", "c")
        sleeper = both.two.worker("c")
        async with both.open_loop(FEW_READS_PER_S, FEW_FACTS_PER_S) as tally:
            await passes(QUIET_S)
            sleeper.freeze()
            await both.promote(*FORCED, codes=(5,))
            await passes(SLEEPS_ON_S)
            sleeper.thaw()
            await both.every_door_answers(2)
            await passes(QUIET_S)
        # Who asks the sleeper itself waits for it, or not, as without an upgrade.
        tally.answers = [a for a in tally.answers if a.asked != sleeper.url]
        tally.posts = [p for p in tally.posts if p.asked != sleeper.url]
        verdict = await both.judged(tally)
        assert faults <= set(verdict.faults), verdict.faults
        if not without:
            assert not verdict.faults, verdict.faults


#: Of version 2, a worker that counts no more than so many a second, active or not.
A_FEW_PER_S = 10
#: Until it is a minute behind.
FALLS_BACK_S = 70.0


@pytest.mark.parametrize(("without", "faults"), [("", set()), ("no-floors", {"failed", "back"})])
async def test_a_version_promoted_a_minute_behind_is_not_gone_over_to_until_it_is_not(
    kafka: Kafka, tmp_path: Path, without: str, faults: set[str]
) -> None:
    async with two_versions(kafka, tmp_path) as both:
        both.two.settings["ONHAND_CATCHUP_EVENTS_PER_S"] = str(A_FEW_PER_S)
        both.two.worker("c").command = worker_without("slow-for-ever")
        if without:
            both.one.worker("a").command = worker_without(without)
        await both.set_up("a", "c")
        async with both.open_loop(FEW_READS_PER_S, FEW_FACTS_PER_S) as tally:
            await passes(FALLS_BACK_S)
            # The doors that wait for it do not confirm that they have gone over.
            await both.promote(*FORCED, codes=(5,))
            await passes(QUIET_S)
        verdict = await both.judged(tally)
        assert verdict.reads, "nobody read: this proves nothing"
        assert faults <= set(verdict.faults), verdict.faults
        if not without:
            assert not verdict.faults, verdict.faults


@pytest.mark.parametrize(
    ("without", "fault"),
    [("never-over", "failed"), ("no-epochs", "back"), ("other-label", "wrong")],
)
async def test_a_worker_that_is_built_wrong_is_found_out(
    kafka: Kafka, tmp_path: Path, without: str, fault: str
) -> None:
    """It stays with the old version; or takes the new one's positions for its own, too; or names
    the version that is active, whosever rows it gives."""
    async with two_versions(kafka, tmp_path) as both:
        both.one.worker("a").command = worker_without(without)
        await both.set_up("a", "c")
        async with both.open_loop(FEW_READS_PER_S, FEW_FACTS_PER_S) as tally:
            await passes(QUIET_S)
            await both.caught_up()
            assert "Not confirmed by" in await both.promote(codes=(5,))
            await passes(QUIET_S)
        verdict = await both.judged(tally)
        assert fault in verdict.faults, verdict.faults
