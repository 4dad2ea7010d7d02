"""The ledger as a process: it follows a real log through kills, and answers over HTTP."""

import asyncio
import json
import resource
import sqlite3
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from yarl import URL

from app.config import Settings
from app.ledger import build_ledger
from dev.kafka import free_port
from dev.oracle.log import ends_of, read_topics
from dev.oracle.rows import Key, read_position, row_from_json
from dev.oracle.stock import partition_of
from dev.postgres import Postgres
from dev.reads.answers import row_url
from dev.workers import Worker, onhand, until
from ledger.reaches import reaches_of
from tests.ledgers.comparing import assert_agrees, reading
from tests.support.cluster.feed import a_shop
from tests.support.cluster.workers import LEDGER, Cluster

PARTITIONS = 3
#: Less than a ledger's first pages, more than a process's log.
FULL_BYTES = 60_000


@pytest.fixture
def cluster(cluster: Cluster) -> Cluster:
    """Its topics are there."""
    asyncio.run(cluster.create_topics())
    return cluster


def a_ledger(cluster: Cluster, name: str, url: str = "") -> Worker:
    settings = cluster.settings | ({"ONHAND_LEDGER_URL": url} if url else {})
    ledger = Worker(name, cluster.folder, settings, command=LEDGER)
    cluster.workers[name] = ledger
    ledger.start()
    return ledger


def database_of(ledger: Worker) -> str:
    return f"sqlite:///{ledger.data}/ledger.db"


async def get(url: str, **query: str) -> tuple[int, Any]:
    timeout = aiohttp.ClientTimeout(total=20)
    asked = URL(url, encoded=True).update_query(query)
    async with aiohttp.request("GET", asked, timeout=timeout) as answer:
        return answer.status, await answer.json(content_type=None)


async def all_written(cluster: Cluster, url: str, timeout_s: float = 120) -> None:
    """Wait until the database holds the whole log as it is now."""
    ends = ends_of(cluster.kafka, cluster.sources)
    engine = reading(url)

    async def there() -> bool:
        with engine.begin() as connection:
            found = reaches_of(connection)
        return all(
            found[cluster.sources.index(topic), part].next_offset >= end
            for (topic, part), end in ends.items()
        )

    try:
        await until(there, "written: the whole log", timeout_s, every_s=0.2)
    except AssertionError as late:
        raise AssertionError(f"{late}\n{cluster.logs()}") from None
    finally:
        engine.dispose()


def assert_exact(cluster: Cluster, url: str) -> None:
    engine = reading(url)
    assert_agrees(engine, cluster.oracle(), read_topics(cluster.kafka, cluster.sources))
    engine.dispose()


async def test_a_ledger_that_is_killed_in_mid_stream_holds_every_record_once(
    cluster: Cluster,
) -> None:
    ledger = a_ledger(cluster, "ledger")
    await ledger.ready()
    with cluster.feeding(a_shop(partitions=PARTITIONS, skus=40), 3_000, rate=1_500) as feeder:
        for _ in range(2):
            await feeder.more(700)
            ledger.kill()
            ledger.start()
    await all_written(cluster, database_of(ledger))
    assert_exact(cluster, database_of(ledger))

    assert await ledger.stop() == 0


async def test_two_ledgers_share_a_postgresql_and_one_takes_over_from_the_other(
    cluster: Cluster, postgres: Postgres
) -> None:
    url = postgres.new_database()
    first, second = a_ledger(cluster, "first", url), a_ledger(cluster, "second", url)
    await asyncio.gather(first.ready(), second.ready())
    with cluster.feeding(a_shop(partitions=PARTITIONS, skus=40), 3_000, rate=1_500) as feeder:
        await feeder.more(1_000)
        first.freeze()
        await feeder.more(500)
        first.thaw()
        second.kill()
    await all_written(cluster, url)

    assert_exact(cluster, url)


async def test_a_ledger_goes_on_when_its_database_was_killed_in_mid_stream(
    cluster: Cluster, postgres: Postgres
) -> None:
    url = postgres.new_database()
    ledger = a_ledger(cluster, "ledger", url)
    await ledger.ready()
    with cluster.feeding(a_shop(partitions=PARTITIONS, skus=40), rate=1_500) as feeder:
        for _ in range(2):
            await feeder.more(600)
            postgres.kill()
            await feeder.more(200)
            postgres.start()
    await all_written(cluster, url)

    assert_exact(cluster, url)
    assert ledger.alive
    assert "cannot be used" in ledger.log.read_text()
    assert "Traceback" not in ledger.log.read_text()


async def test_a_ledger_whose_disk_is_full_says_so_and_goes_on_when_there_is_room(
    cluster: Cluster,
) -> None:
    ledger = a_ledger(cluster, "ledger")
    await ledger.ready()
    with cluster.feeding(a_shop(partitions=PARTITIONS, skus=40), 3_000, rate=1_500) as feeder:
        await feeder.more(300)
        # No file of this process may grow beyond what its log has room for: as a full disk.
        _, most = resource.prlimit(ledger.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(ledger.pid, resource.RLIMIT_FSIZE, (FULL_BYTES, most))

        async def said() -> bool:
            return "cannot be used (" in ledger.log.read_text()

        await until(said, "said: that the disk is full", 60)
        assert "must exist, be writable and have room" in ledger.log.read_text()
        assert ledger.alive
        resource.prlimit(ledger.pid, resource.RLIMIT_FSIZE, (most, most))
    await all_written(cluster, database_of(ledger))

    assert_exact(cluster, database_of(ledger))

    async def says_that_it_goes_on() -> bool:  # a moment after it has written
        return "The ledger goes on." in ledger.log.read_text()

    await until(says_that_it_goes_on, "said: that it goes on", 60)


async def test_history_is_answered_by_the_ledger_and_through_any_worker(cluster: Cluster) -> None:
    cluster.launch("worker")
    worker = cluster.worker("worker")
    await worker.ready()
    key = ("SKU-1", "store-1")
    await post(worker, [line(n, *key) for n in range(5)])
    status, body = await get(f"{row_url(worker.url, key)}/timeline")
    assert (status, body["type"]) == (503, "/problems/history-not-running")
    assert "onhand ledger worker" in body["detail"]

    ledger = a_ledger(cluster, "ledger")
    await ledger.ready()
    await all_written(cluster, database_of(ledger))

    async def passed_on() -> Any:
        status, body = await get(f"{row_url(worker.url, key)}/timeline", limit="3")
        return body if status == 200 else None

    page = await until(passed_on, "answered through the worker", 60)
    assert [fact["balance"] for fact in page["facts"]] == [1, 3, 6]
    assert page["history"]["ledger"] == ledger.url
    rest = await get(f"{row_url(worker.url, key)}/timeline", cursor=page["next_cursor"])
    assert [fact["balance"] for fact in rest[1]["facts"]] == [10, 15]
    assert page["row"]["on_hand"] == 15
    direct = await get(f"{row_url(ledger.url, key)}/timeline", limit="3")
    assert direct == (200, page)

    await _assert_the_past_is_told(cluster, worker, ledger, key, page)
    second = page["facts"][1]["position"]
    for command, says in (
        (("explain", *key), ("+15 received in 5 shipments", "Together 15")),
        (("history", *key), ("▁▂▃▅█",)),
        (("stock", *key, "--at-position", second), ("store-1 3 3 0 ", "by the ledger")),
        (("list", "--at-position", second), ("SKU-1 store-1 3 3 0 ", "by the ledger")),
    ):
        code, said = await onhand(*command, "--url", worker.url, settings={})
        said = " ".join(said.split())
        assert (code, [one for one in says if one not in said]) == (0, []), said
    code, said = await onhand("status", "--url", ledger.url, settings={})
    assert code == 2, said
    assert "This is a ledger, which answers for the past: ask a worker" in said
    log = ledger.log.read_text()
    assert " app.ledger: This ledger answers, " in log
    assert "It keeps partitions: 0–2." in log
    assert "alembic" not in log


async def _assert_the_past_is_told(
    cluster: Cluster, worker: Worker, ledger: Worker, key: Key, page: Any
) -> None:
    # At the position of the second fact there were 3, and at the time of the third one 6.
    status, body = await get(row_url(worker.url, key), at_position=page["facts"][1]["position"])
    assert (status, body["on_hand"]) == (200, 3)
    oracle = cluster.oracle()
    at = read_position(body["history"]["position"])
    assert row_from_json(body) == (key, oracle.row(key, at))

    time = page["facts"][2]["recorded_at"]

    async def complete() -> Any:
        status, body = await get(row_url(worker.url, key), as_of=time)
        return body if status == 200 else None

    body = await until(complete, "complete up to then", 60)
    assert body["on_hand"] in (6, 10, 15)  # those of the same millisecond are in it
    status, body = await get(row_url(ledger.url, key), as_of="2100-01-01T00:00:00Z")
    assert (status, body["type"]) == (503, "/problems/not-caught-up")
    status, body = await get(row_url(ledger.url, key), as_of="2001-01-01T00:00:00Z")
    assert (status, body["type"]) == (404, "/problems/unknown-key")
    other = (partition_of(key[0], PARTITIONS) + 1) % PARTITIONS
    status, body = await get(
        row_url(ledger.url, key), at_position=f"{cluster.prefix}sales-{other}@1"
    )
    assert (status, body["errors"][0]["parameter"]) == (400, "at_position")
    status, body = await get(f"{worker.url}/v1/inventory/{quote(key[0])}", at_position=
                             page["facts"][1]["position"])  # fmt: skip
    assert (status, body["on_hand"], len(body["items"])) == (200, 3, 1)
    status, body = await get(f"{ledger.url}/v1/facts", source="truck", id="1")
    assert [time["outcome"] for time in body["items"][0]["times"]] == ["applied"]

    await _assert_lists_facts_and_reports(worker, ledger, key, page)

    assert await get(f"{ledger.url}/live") == (200, {"live": True})


async def _assert_lists_facts_and_reports(
    worker: Worker, ledger: Worker, key: Key, page: Any
) -> None:
    # Any worker answers, by the ledger's word.
    position = page["facts"][1]["position"]
    status, body = await get(f"{worker.url}/v1/inventory", at_position=position, limit="10")
    assert (status, [(row["sku"], row["on_hand"]) for row in body["items"]]) == (200, [(key[0], 3)])
    assert body["history"]["position"] == position
    status, body = await get(f"{worker.url}/v1/facts", source="truck", id="1")
    assert (status, body["looked"]["ledger"]) == (200, ledger.url)
    assert [time["outcome"] for time in body["items"][0]["times"]] == ["applied"]
    assert body == await _looked_up(worker, {"source": "truck", "id": "1"}) | {
        "as_of": body["as_of"]
    }
    status, body = await get(f"{worker.url}/v1/reports/location-totals")
    assert (status, body["rows"][0]["on_hand"]) == (200, 15)
    async with aiohttp.request(
        "GET", f"{worker.url}/v1/reports/location-totals", headers={"Accept": "text/csv"}
    ) as answer:
        assert answer.content_type == "text/csv"
        assert (await answer.text()).splitlines()[1].startswith(f"{key[1]},1,15,15,")
    status, body = await get(f"{worker.url}/v1/reports/no-such")
    assert (status, "location-totals" in body["detail"]) == (404, True)
    code, said = await onhand("report", "location-totals", "--url", worker.url, settings={})
    assert (code, "ON HAND" in said, "15" in said) == (0, True, True), said


async def _looked_up(worker: Worker, name: dict[str, str]) -> dict[str, Any]:
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{worker.url}/v1/facts/lookup", json={"facts": [name]}) as answer,
    ):
        found: dict[str, Any] = await answer.json()
        return found


def line(number: int, sku: str, location: str) -> dict[str, object]:
    key = {"sku": sku, "location": location}
    return {"source": "truck", "id": str(number), "quantity": number + 1, **key}


async def post(worker: Worker, lines: list[dict[str, object]]) -> None:
    async with aiohttp.ClientSession() as http:
        for each in lines:
            async with http.post(f"{worker.url}/v1/shipments", json=each) as answer:
                assert answer.status == 202, await answer.text()


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ("last_crc = last_crc + 1", "the last record that was written, at offset"),
        ("first_crc = first_crc + 1", "its first record is another one"),
        ("next_offset = next_offset + 1000", "it ends at"),
    ],
)
async def test_a_ledger_of_another_log_writes_nothing_and_says_why(
    cluster: Cluster, changed: str, says: str
) -> None:
    ledger = a_ledger(cluster, "ledger")
    await ledger.ready()
    with cluster.feeding(a_shop(partitions=PARTITIONS, skus=10), 60, rate=1_000) as feeder:
        await feeder.more(60)
    await all_written(cluster, database_of(ledger))
    assert await ledger.stop() == 0
    with sqlite3.connect(ledger.data / "ledger.db") as database:
        database.execute(f"UPDATE position SET {changed} WHERE last_off IS NOT NULL")
    database.close()
    ledger.start()

    async def said() -> bool:
        return says in ledger.log.read_text() and "ONHAND_LEDGER_URL" in ledger.log.read_text()

    await until(said, "said: that the log is another one", 60)
    assert ledger.alive


async def test_a_ledger_refuses_to_start_in_one_sentence(cluster: Cluster, tmp_path: Path) -> None:
    for settings, says in (
        ({"ONHAND_LEDGER_URL": "mysql://a"}, "use sqlite:///PATH/ledger.db or postgresql"),
        ({"ONHAND_LEDGER_URL": "postgresql://127.0.0.1:1/x"}, "cannot be used"),
        ({"ONHAND_LEDGER_URL": f"sqlite:///{tmp_path}"}, "unable to open database file"),
    ):
        settings["ONHAND_WEB_PORT"] = str(free_port())
        code, said = await onhand("ledger", "worker", settings=cluster.settings | settings)
        assert code == 2
        assert "Traceback" not in said
        assert says in said.splitlines()[-1]


def test_building_it_starts_nothing_and_asks_nobody(tmp_path: Path) -> None:
    settings = Settings.of_ledger({"ONHAND_DATA_DIR": str(tmp_path), "ONHAND_KAFKA": "nobody:1"})

    assert build_ledger(settings).settings.ledger_database.endswith("/ledger.db")
    assert not (tmp_path / "ledger.db").exists()


def test_the_address_of_a_database_is_shown_without_its_password() -> None:
    settings = Settings.of_ledger({"ONHAND_LEDGER_URL": "postgresql://me:swordfish@there/ledger"})

    assert settings.web_port == 6166
    assert "swordfish" not in repr(settings)
    assert json.dumps(repr(settings))
