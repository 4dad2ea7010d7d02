"""A ledger of a version that counts by newer rules: history, explanations and audit by these."""

import json
from pathlib import Path
from typing import Any

from dev.kafka import Kafka
from dev.oracle.log import oracle_of
from dev.oracle.rows import row_from_json
from dev.reads.answers import row_url
from dev.workers import Worker, onhand, until
from tests.e2e.upgrades.test_diff import DAMAGED, HERE, PARTITIONS, SKUS, VOIDED, Two
from tests.integration.ledger.test_process import a_ledger, all_written, database_of, get


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
    except AssertionError as error:
        raise AssertionError(f"{error}\n{both.one.logs()}\n{both.two.logs()}") from None
    finally:
        both.one.close()
        both.two.close()


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
