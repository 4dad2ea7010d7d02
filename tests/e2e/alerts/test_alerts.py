"""Alerts by workers as processes, over a real Kafka, to a receiver that verifies what comes."""

import json
from pathlib import Path

import aiohttp
import pytest

from app.config import Settings
from dev.kafka import Kafka
from dev.workers import onhand, until
from tests.support.cluster.switching import Switching
from tests.support.cluster.workers import Cluster
from tests.support.http.hooks import all_told, receiving


async def moved(cluster: Cluster, name: str, quantity: int) -> None:
    """Stock comes (or goes, below zero), by a fact of its own, through any living worker."""
    fact = {"sku": "A", "location": "shop", "quantity": quantity, "reason": "count"}
    body = {"source": "test", "id": name, **fact}
    url = f"{cluster.alive[0].url}/v1/adjustments"

    async def accepted() -> bool:
        # A repeated one is counted once, so it may be sent until it is acknowledged.
        try:
            async with aiohttp.request("POST", url, json=body) as response:
                return response.status == 202
        except aiohttp.ClientError:
            return False

    await until(accepted, f"fact {name} accepted", 60)


async def test_killed_between_post_and_sent_a_worker_leaves_one_message_under_one_id(
    kafka: Kafka, tmp_path: Path
) -> None:
    with receiving() as hook:
        shops = Cluster(kafka.bootstrap, tmp_path, 2, settings=hook.settings(tmp_path))
        settings = Settings.from_env(shops.settings)
        try:
            await shops.create_topics()
            await shops.start("a")
            hook.may_answer.clear()
            await moved(shops, "1", 5)
            await hook.has_got(1)
            shops.worker("a").kill()
            hook.may_answer.set()

            await shops.start("b")
            low = await all_told(settings, "sent", 1)
            await moved(shops, "2", 3)  # still low
            await moved(shops, "3", 30)
            enough = await all_told(settings, "sent", 2)

            assert [name for name, _ in hook.messages] == [low, enough], shops.logs()
            assert hook.ids[:2] == [low, low]
            if "begin anew" not in (told := shops.worker("b").log.read_text()):
                # Nothing but the kill came between: no post was repeated but that one.
                assert hook.ids == [low, low, enough], told
            assert [(one["level"], one["on_hand"]) for one in hook.said] == [
                ("raised", 5), ("cleared", 38),
            ]  # fmt: skip
            assert low != enough
            assert not hook.forged
        finally:
            shops.close()


async def test_what_nobody_takes_is_dead_and_is_sent_again_by_a_command(
    kafka: Kafka, tmp_path: Path
) -> None:
    with receiving() as hook:
        given = hook.settings(tmp_path, ONHAND_ALERTS_WAITS_S="0")
        shops = Cluster(kafka.bootstrap, tmp_path, 2, settings=given)
        settings = Settings.from_env(shops.settings)
        try:
            await shops.create_topics()
            await shops.start("a")
            hook.status = 503
            await moved(shops, "1", 5)
            low = await all_told(settings, "dead", 1)
            assert len(hook.ids) >= 2
            code, said = await onhand(
                "alerts", "list", "--state", "dead", "--json", settings=shops.settings
            )
            (dead,) = json.loads(said)["alerts"]
            assert (code, dead["id"], dead["attempts"], dead["failed"]) == (0, low, 2, "503")

            hook.status = 204
            code, said = await onhand("alerts", "resend", low, settings=shops.settings)
            assert (code, said) == (0, "1 messages are to be sent again.\n")
            assert await all_told(settings, "sent", 1) == low

            assert len(hook.ids) >= 3
            assert [name for name, _ in hook.messages] == [low], shops.logs()
            code, said = await onhand("alerts", "resend", "--all", settings=shops.settings)
            assert (code, said) == (1, "None is dead.\n")
        finally:
            shops.close()


@pytest.mark.torture  # a promotion takes a while, and without Kafka the unit tests do the same
async def test_a_version_that_is_promoted_goes_on_where_the_other_was(
    kafka: Kafka, tmp_path: Path
) -> None:
    with receiving() as hook:
        versions = Switching(kafka, tmp_path, hook.settings(tmp_path))
        try:
            await versions.set_up("a", "b")
            await moved(versions.one, "1", 5)
            low = await all_told(versions.settings, "sent", 1)
            await versions.caught_up()
            await versions.promote()
            await versions.every_door_answers(2)

            await moved(versions.one, "2", 30)
            enough = await all_told(versions.settings, "sent", 2)

            assert [name for name, _ in hook.messages] == [low, enough], versions.logs()
            assert [one["version"] for one in hook.said] == [1, 2]
        finally:
            versions.close()
