"""Alerts while versions are switched, owners killed, and others sleep through their loss."""

import json
from pathlib import Path

from app.alerts.asking import told_now
from dev.kafka import Kafka
from dev.oracle.rows import Key
from dev.switches.running import oracles
from dev.workers import until
from domain.alerts import AlertLevel, read_alert_rules
from tests.support.breaking.faults import passes
from tests.support.cluster.switching import Switching, two_versions
from tests.support.http.hooks import RULES, Hook, receiving

(LOW,) = read_alert_rules(RULES).rules
CLEARED = AlertLevel.CLEARED
READS_PER_S, FACTS_PER_S = 20.0, 40.0
#: Longer than a session: somebody else owns what the sleeper owned.
SLEEPS_S = 9.0


async def test_each_message_is_acted_on_once_and_what_was_told_is_what_is(
    kafka: Kafka, tmp_path: Path
) -> None:
    with receiving() as hook:
        async with two_versions(kafka, tmp_path, hook.settings(tmp_path)) as both:
            await both.set_up("ab", "cd")
            async with both.open_loop(READS_PER_S, FACTS_PER_S) as tally:
                await promoted_while_an_owner_is_killed(both)
                sleeper = both.two.worker("c")
                sleeper.freeze()
                await passes(SLEEPS_S)
                sleeper.thaw()
                await both.two.revived()
                await both.caught_up()
                await both.rollback()
                await both.every_door_answers(1)
            await both.assert_exact(1, tally)
            await agrees(both, hook)
            assert not hook.forged
            assert {one["version"] for one in hook.said} == {1, 2}


async def promoted_while_an_owner_is_killed(both: Switching) -> None:
    both.one.worker("a").kill()
    await both.one.start("a")
    await both.caught_up()
    await both.promote(codes=(0, 5))
    both.two.worker("d").kill()
    await both.two.start("d")
    await both.every_door_answers(2)


async def agrees(both: Switching, hook: Hook) -> None:
    """Who drops what he knows acts on each message once, and ends where the rows are."""
    on_hand = {key: row.on_hand for key, row in oracles(both.settings)[1].rows().items()}

    async def all_is_told() -> bool:
        told = await told_now(both.settings)
        believed = {key: level for key, (_, level) in acted_on(hook).items()}
        return not any(one.is_pending for one in told) and not [
            key
            for key, quantity in on_hand.items()
            if LOW.level(quantity, believed.get(key, CLEARED)) is not believed.get(key, CLEARED)
        ]

    await until(all_is_told, "told: every row's level", 180)
    levels = {one.key: (one.seq, one.told) for one in await told_now(both.settings)}
    acted = {f"{LOW.name}\x00{sku}\x00{location}".encode(): last
             for (sku, location), last in acted_on(hook).items()}  # fmt: skip
    assert acted == levels
    numbers = [(one["sku"], one["location"], one["seq"]) for one in hook.said]
    assert numbers, "nothing was told: this proves nothing"
    # One message under each number, however often it came.
    assert len(numbers) == len(set(numbers))


def acted_on(hook: Hook) -> dict[Key, tuple[int, AlertLevel]]:
    """What docs/alerts.md has a receiver keep: the number and level of each row's last message."""
    last: dict[Key, tuple[int, AlertLevel]] = {}
    for _, body in list(hook.got):
        data = json.loads(body)["data"]
        key = data["sku"], data["location"]
        if data["seq"] > last.get(key, (0, CLEARED))[0]:
            last[key] = data["seq"], AlertLevel(data["level"])
    return last
