"""Each level is told once: over kills, take-overs, replays and versions, under one id."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from aiokafka.errors import ProducerFenced

from agents.alerts.ports import NotOurs
from agents.alerts.teller import Teller, ToldElsewhere, resend
from agents.alerts.told import DeliveryState
from domain.alerts import AlertRule
from tests.support.inside.telling import LOW, REFUSED, Killed, Office, Rows

STEPS = ["before a commit", "after a commit", "after a post"]


def levels(office: Office) -> list[str]:
    """What the receiver was told, each id once, in order."""
    bodies = dict.fromkeys(office.desk.ids)
    for name, body, _ in office.desk.posts:
        bodies[name] = json.loads(body)["data"]["level"]
    return [str(level) for level in bodies.values()]


async def test_a_row_is_told_when_it_goes_below_and_when_it_goes_above() -> None:
    office = Office()
    office.rows.set(20)
    teller = await office.begun()

    for on_hand in (20, 12, 9, 3, 11, 14, 8, 15, 12, 10, 9):
        office.rows.set(on_hand)
        await office.settled(teller)

    assert levels(office) == ["raised", "cleared", "raised"]
    assert len(office.desk.posts) == 3
    assert [told.state for told in office.topic.committed] == ["pending", "sent"] * 3
    assert [told.seq for told in office.topic.committed] == [1, 1, 2, 2, 3, 3]


async def test_what_is_low_when_nothing_was_ever_told_is_told() -> None:
    office = Office()
    office.rows.set(3, ("A", "shop"))
    office.rows.set(30, ("B", "shop"))

    await office.settled(await office.begun())

    assert levels(office) == ["raised"]


async def test_more_rows_than_one_slice_are_each_compared() -> None:
    office = Office()
    for number in range(1_001):
        office.rows.set(number % 2 * 50, (f"S-{number}", "shop"))

    teller = await office.begun()
    await office.settled(teller)

    assert len(office.desk.posts) == len(set(office.desk.ids)) == 501
    assert teller.states() == {"sent": 501}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("time", range(1, 5))
async def test_whoever_is_killed_leaves_one_message_under_one_id(step: str, time: int) -> None:
    """The process ends at each step once; the next one goes on, over the same topic and rows."""
    office, seen = Office(), Counter[str]()

    def end_at(where: str) -> None:
        seen[where] += 1
        if (where, seen[where]) == (step, time):
            raise Killed

    office.topic.end_at = office.desk.end_at = end_at
    for on_hand in (3, 20):
        office.rows.set(on_hand)
        for _ in range(2):
            try:
                await office.settled(await office.begun())
            except Killed:
                office.rows.tellers.clear()

    assert levels(office) == ["raised", "cleared"]
    assert max(Counter(office.desk.ids).values()) <= 2
    assert sum(Counter(office.desk.ids).values()) <= 3
    bodies = {(name, body) for name, body, _ in office.desk.posts}
    assert len(bodies) == 2  # a repeated one says the same
    assert (office.topic.now.state, office.topic.now.seq) == ("sent", 2)


async def test_a_version_that_is_promoted_tells_nothing_again() -> None:
    office = Office()
    office.rows.set(3)
    await office.settled(await office.begun(version=1))

    theirs = Rows({("A", "shop"): 3})
    two = await office.begun(version=2, rows=theirs)
    await office.settled(two)
    assert len(office.desk.posts) == 1

    theirs.set(20)
    await office.settled(two)
    assert levels(office) == ["raised", "cleared"]


async def test_a_version_that_counts_otherwise_tells_the_difference_once() -> None:
    office = Office()
    office.rows.set(3)
    await office.settled(await office.begun(version=1))

    theirs = Rows({("A", "shop"): 40})
    await office.settled(await office.begun(version=2, rows=theirs))
    await office.settled(await office.begun(version=2, rows=theirs))

    assert levels(office) == ["raised", "cleared"]
    assert len(office.desk.posts) == 2


async def test_who_lost_the_right_to_tell_tells_nothing_more() -> None:
    office = Office()
    office.rows.set(20)
    asleep = await office.begun()
    await office.settled(asleep)
    await office.settled(await office.begun())

    office.rows.set(3)
    with pytest.raises(ProducerFenced):
        await asleep.step()

    assert office.desk.posts == []
    assert office.topic.committed == []


async def test_who_is_not_confirmed_behind_the_fence_does_not_take_over() -> None:
    """Who slept through its loss may fence the next one, but must not tell its old rows."""
    office = Office()
    office.rows.set(20)
    await office.settled(await office.begun())

    old = Rows({("A", "shop"): 3}, confirms=False)
    with pytest.raises(NotOurs):
        await office.begun(rows=old)

    assert office.topic.committed == []


async def test_whose_partition_goes_away_ends_without_a_word() -> None:
    office = Office()
    office.rows.set(20)
    teller = await office.begun()
    office.rows.set(3)
    office.rows.ours = False

    with pytest.raises(NotOurs):
        await teller.run()

    assert office.desk.posts == []


async def test_what_was_posted_when_the_partition_goes_is_still_committed_as_sent() -> None:
    office = Office()
    office.rows.set(3)
    teller = await office.begun()
    await teller.step()
    office.rows.ours = True

    await teller.end(30)
    await office.settled(await office.begun())

    assert len(office.desk.posts) == 1
    assert office.topic.now.state is DeliveryState.SENT


async def test_a_try_that_fails_is_made_again_when_its_time_has_come_and_not_before() -> None:
    office = Office()
    office.desk.answers = [REFUSED, REFUSED]
    office.rows.set(3)
    teller = await office.begun()

    for posts, wait_ms in ((1, 4_999), (1, 600), (2, 299_000), (2, 40_000), (3, 10**9), (3, 0)):
        await office.settled(teller)
        assert len(office.desk.posts) == posts
        office.desk.now_ms += wait_ms

    assert len(set(office.desk.ids)) == 1
    assert len({at_s for _, _, at_s in office.desk.posts}) == 3  # each try has its own time
    assert office.topic.now.state is DeliveryState.SENT


async def test_how_many_tries_failed_is_known_to_whoever_comes_next() -> None:
    office = Office()
    office.desk.answers = [REFUSED] * 9
    office.rows.set(3)

    for _ in range(6):
        await office.settled(await office.begun())
        office.desk.now_ms += 400_000

    assert len(office.desk.posts) == 3
    assert (office.topic.now.state, office.topic.now.attempts) == (DeliveryState.DEAD, 3)


async def test_while_a_message_is_under_way_the_row_is_not_told_again() -> None:
    """What it is by then is told next, and what it was in between never."""
    office = Office()
    office.desk.answers = [REFUSED]
    office.rows.set(3)
    teller = await office.begun()
    await office.settled(teller)

    for on_hand in (20, 2, 30):
        office.rows.set(on_hand)
        await office.settled(teller)
    assert len(office.topic.committed) == 2
    office.desk.now_ms += 10_000
    await office.settled(teller)

    assert levels(office) == ["raised", "cleared"]


async def test_a_dead_message_says_so_and_is_sent_again_under_its_id(
    caplog: pytest.LogCaptureFixture,
) -> None:
    office = Office()
    office.desk.answers = [REFUSED] * 3
    office.rows.set(3)
    teller = await office.begun()
    for _ in range(4):
        await office.settled(teller)
        office.desk.now_ms += 400_000
    assert office.topic.now.failed == "500 down"
    assert "Alert low of A at shop (raised) was tried 3 times and not taken" in caplog.text

    again = await resend(office.topic, [0], lambda told: True)
    office.rows.set(3, ("B", "shop"))
    with pytest.raises(ProducerFenced):  # the one who told before finds out when it commits
        await office.settled(teller)
    await office.settled(await office.begun())

    assert [told.id for told in again] == [office.desk.ids[0]]
    assert office.desk.ids[:4] == [office.desk.ids[0]] * 4
    assert {told.state for told in (await office.topic.read(0)).values()} == {DeliveryState.SENT}
    assert await resend(office.topic, [0], lambda told: True) == []


async def test_a_dead_message_holds_up_nothing() -> None:
    office = Office()
    office.desk.answers = [REFUSED] * 3
    office.rows.set(3)
    teller = await office.begun()
    for _ in range(4):
        await office.settled(teller)
        office.desk.now_ms += 400_000

    office.rows.set(20)
    await office.settled(teller)

    assert levels(office) == ["raised", "cleared"]


async def test_nobody_is_disturbed_where_nothing_is_dead() -> None:
    office = Office()
    teller = await office.begun()

    assert await resend(office.topic, [0], lambda told: True) == []

    office.rows.set(3)
    await office.settled(teller)
    assert len(office.desk.posts) == 1


async def test_who_is_told_that_somebody_else_wrote_reads_again() -> None:
    office = Office()
    teller = await office.begun()
    teller.look_again()

    with pytest.raises(ToldElsewhere):
        await teller.step()


async def test_a_rule_that_is_gone_clears_what_it_raised() -> None:
    office = Office(rules=(LOW, AlertRule("out", 1, 0)))
    office.rows.set(0)
    await office.settled(await office.begun())

    office.rules = (LOW,)
    for _ in range(2):
        await office.settled(await office.begun())

    told = {one.rule: str(one.told) for one in (await office.topic.read(0)).values()}
    assert told == {"low": "raised", "out": "cleared"}
    assert len(office.desk.posts) == 3


async def test_a_clock_that_was_set_back_delays_a_try_by_no_more_than_the_longest_wait() -> None:
    office = Office()
    office.desk.answers = [REFUSED]
    office.rows.set(3)
    await office.settled(await office.begun())

    office.desk.now_ms -= 10**9
    teller: Teller = await office.begun()
    office.desk.now_ms += 331_000
    await office.settled(teller)

    assert len(office.desk.posts) == 2
