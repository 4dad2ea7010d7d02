"""A ledger of a version that counts by newer rules: history, explanations and audit by these."""

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp

from dev.kafka import Kafka
from dev.oracle.log import oracle_of, read_topics
from dev.oracle.rows import row_from_json
from dev.reads.answers import row_url
from dev.workers import Worker, onhand, until
from tests.e2e.upgrades.test_diff import DAMAGED, GIFT, HERE, PARTITIONS, SKUS, VOIDED, Two
from tests.integration.ledger.test_process import a_ledger, all_written, database_of, get
from tests.ledgers.feeding import LINES, Json, facts


async def test_the_ledger_of_a_version_judges_by_its_rules(kafka: Kafka, tmp_path: Path) -> None:
    both = Two(kafka, tmp_path)
    try:
        await both.one.create_topics()
        await both.one.start("a")
        code, said = await both.upgrade("stage", "2", "--note", "damaged returns")
        assert code == 0, said
        ledger = a_ledger(both.two, "ledger")
        both.two.launch("b")
        await both.shop()
        await both.owned()
        await ledger.ready()
        await all_written(both.one, database_of(ledger))

        await _rows_are_the_oracles(both, ledger)
        await _is_passed_on_within_its_version(both, ledger)
        await _is_told_and_audited(both, ledger)
        await _is_followed_across_a_promotion(both)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{both.one.logs()}\n{both.two.logs()}") from None
    finally:
        both.one.close()
        both.two.close()


async def _is_followed_across_a_promotion(both: Two) -> None:
    """Streams through either door go on: each fact once, by the version that is active then."""
    old, doors = a_ledger(both.one, "old"), (both.a.url, both.b.url)
    await old.ready()
    await all_written(both.one, database_of(old))

    async def is_told() -> bool:
        return all([(await get(f"{url}/v1/changes", limit="1"))[0] == 200 for url in doors])

    await until(is_told, "told: a page, through either door", 60)
    before = _positions(both)
    told: dict[str, list[Json]] = {url: [] for url in doors}
    followers = [asyncio.create_task(_follow(url, told[url])) for url in doors]

    async def have_all() -> bool:
        for follower in followers:
            assert not follower.done(), follower.exception()
        return all(len(facts(each)) >= wanted for each in told.values())

    try:
        wanted = len(before)
        await until(have_all, "told by version 1: the whole log", 60)
        ids = {url: each[-1]["id"] for url, each in told.items()}
        force = ("--force", "not-caught-up", "--force", "not-compared")
        await both.says(0, "", "promote", "2", *force)
        both.till(GIFT)
        wanted += 1
        await until(have_all, "told by version 2: what came since", 60)
    finally:
        for follower in followers:
            follower.cancel()
        await asyncio.gather(*followers, return_exceptions=True)

    after = _positions(both)
    assert len(after) == wanted
    for each in told.values():
        assert sorted(fact["position"] for fact in facts(each)) == sorted(after)
        # Version 1 does not know what it is; a verdict that was told stays told.
        outcomes = [fact["outcome"] for fact in facts(each)]
        assert (outcomes.count("refused"), outcomes[-1]) == (3, "applied"), outcomes
    for url in doors:
        # Who was away meanwhile comes back with its last position, to either door.
        status, page = await get(f"{url}/v1/changes", after=ids[url])
        assert (status, [one["data"]["outcome"] for one in page["changes"]]) == (200, ["applied"])
        # Who begins anew has the verdicts of version 2 alone.
        status, page = await get(f"{url}/v1/changes")
        told_now = [one["data"] for one in page["changes"]]
        assert sorted(fact["position"] for fact in told_now) == sorted(after), status
        assert not [fact for fact in told_now if fact["outcome"] == "refused"]


def _positions(both: Two) -> list[str]:
    """Of all facts in the log."""
    records = read_topics(both.one.kafka, both.one.sources)
    return [f"{r.topic}-{r.partition}@{r.offset}" for r in records]


async def _follow(url: str, told: list[Json]) -> None:
    timeout = aiohttp.ClientTimeout(total=None, sock_read=60)
    async with (
        aiohttp.ClientSession(timeout=timeout) as http,
        http.get(f"{url}/v1/changes", headers=LINES) as answer,
    ):
        assert answer.status == 200, await answer.text()
        async for line in answer.content:
            told.append(json.loads(line))


async def _rows_are_the_oracles(both: Two, ledger: Worker) -> None:
    rows = oracle_of(both.one.kafka, partitions=PARTITIONS, prefix=both.one.prefix, rules=3).rows()
    assert rows[DAMAGED, HERE].damaged == 1
    for sku in SKUS:
        status, body = await get(f"{row_url(ledger.url, (sku, HERE))}/timeline", all="true")
        assert status == 200, body
        row = rows[sku, HERE]
        assert row_from_json(body["row"]) == ((sku, HERE), row)
        assert body["facts"][-1]["balance"] == row.on_hand
        status, body = await get(row_url(ledger.url, (sku, HERE)), at_position=
                                 body["history"]["position"])  # fmt: skip
        assert (status, row_from_json(body)) == (200, ((sku, HERE), row))


async def _is_passed_on_within_its_version(both: Two, ledger: Worker) -> None:
    async def passed_on() -> bool:
        # Through any door, also of the other version.
        for door in (both.b, both.a):
            url = f"{row_url(door.url, (VOIDED, HERE))}/timeline"
            status, body = await get(url, version="2")
            if status != 200 or body["history"]["ledger"] != ledger.url:
                seen.append((status, body))
                return False
        return True

    seen: list[Any] = []
    try:
        await until(passed_on, "answered through the worker of version 2", 60)
    except AssertionError as late:
        raise AssertionError(f"{late} {seen[-1:]}") from None
    # Who names no version is answered by the active one, which has no ledger.
    status, body = await get(f"{row_url(both.a.url, (VOIDED, HERE))}/timeline")
    assert (status, body["type"]) == (503, "/problems/history-not-running"), body


async def _is_told_and_audited(both: Two, ledger: Worker) -> None:
    for sku, says in ((DAMAGED, "+0 returned for damaged in 1 return"), (VOIDED, "+2 voided in 1")):
        code, said = await onhand("explain", sku, HERE, "--url", ledger.url, settings={})
        assert (code, says in said) == (0, True), said
    settings = both.two.settings | {"ONHAND_LEDGER_URL": database_of(ledger)}
    words = ("audit", "--json", "--url", both.b.url)
    code, said = await onhand(*words, settings=settings, timeout_s=120)
    assert code == 0, said
    copies = [
        one for part in json.loads(said.splitlines()[-1])["partitions"] for one in part["copies"]
    ]
    assert {copy["role"] for copy in copies} == {"active", "ledger"}
