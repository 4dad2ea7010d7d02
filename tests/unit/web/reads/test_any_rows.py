"""Rows of any table over HTTP: by key and the largest, from the worker that has them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from msgspec.structs import replace

from core.partitioning import partition_for
from core.stages import Role
from core.tallies import as_bytes, as_number
from tables.home.store import Local
from tables.stats import Stats
from tests.support.inside.shelf import SALES, Shelf
from web.cluster.heartbeats import Heartbeat
from web.cluster.members import claim_of
from web.program import ProgramWeb, ProgramWebConfig
from web.rows import ranking
from web.rows.routes import KeyRoute, RowPlace, TopRoute

PARTITIONS = 4


def place(word: str) -> RowPlace:
    if word == "none":
        raise ValueError("must not be none")
    return RowPlace(word.encode(), b"w" + word.encode())


def shown(key: bytes, value: bytes) -> dict[str, Any]:
    return {"word": key[1:].decode(), "count": as_number(value)}


ROUTES = (KeyRoute("/counts/{word}", place, shown), TopRoute("/counts", as_number, shown))


class Worker:
    """A worker's rows and its HTTP, without Kafka."""

    def __init__(self, shelf: Shelf, http: ProgramWeb, client: TestClient[Any, Any]) -> None:
        self.shelf, self.web, self.client = shelf, http, client

    @property
    def url(self) -> str:
        return str(self.client.make_url("")).rstrip("/")

    def put(self, **counts: int) -> None:
        for word, count in counts.items():
            p = self.shelf.held.get(partition_for(word.encode(), PARTITIONS))
            if p is not None:
                p.store.write({b"w" + word.encode(): as_bytes(count)}, (), Local())

    def hears_of(self, other: Worker) -> None:
        claims = tuple(claim_of(status) for status in other.shelf.status())
        me = Heartbeat(1, 1, "", other.url, other.url, 1, claims=claims)
        self.web.members.roster.hear(me, 0)

    async def get(self, path: str, **headers: str) -> tuple[int, Any, Any]:
        async with self.client.get(path, headers=headers) as response:
            return response.status, await response.json(content_type=None), response.headers


@asynccontextmanager
async def a_worker(*held: int, role: Role = Role.ACTIVE) -> AsyncIterator[Worker]:
    app = web.Application()
    shelf = Shelf(PARTITIONS)
    config = ProgramWebConfig(
        url="http://me",
        version=1,
        rules=1,
        kafka={"bootstrap_servers": "127.0.0.1:1"},
        topics=[SALES],
        members_topic="members",
        build="",
    )

    async def fail(sentence: str, error: BaseException | None) -> None:
        raise AssertionError(sentence)

    http = ProgramWeb(config, shelf, Stats(), ROUTES, fail)
    http.attach(app)
    async with TestClient(TestServer(app)) as client:
        worker = Worker(shelf, http, client)
        shelf._url = worker.url
        shelf.hold(held, role, sales=10)
        yield worker


async def test_a_row_comes_with_its_freshness_and_one_that_is_not_there_is_a_404() -> None:
    async with a_worker(*range(PARTITIONS)) as worker:
        worker.put(tyger=7)

        status, body, headers = await worker.get("/counts/tyger")
        assert (status, body["word"], body["count"]) == (200, "tyger", 7)
        assert body["freshness"]["role"] == headers["Onhand-Role"] == "active"
        assert headers["Onhand-Position"].startswith("sales-")

        status, body, _ = await worker.get("/counts/lamb")
        assert (status, body["type"]) == (404, "/problems/unknown-key")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/counts/", 404),  # the empty word, which nothing has named
        ("/counts/a/b", 404),
        ("/counts/%ff", 400),
        ("/counts/none", 400),
        ("/counts/a?limit=1", 400),
        ("/counts?limit=0", 400),
        ("/counts?cursor=1", 400),
        ("/elsewhere", 404),
        ("/live", 200),
        ("/ready", 200),
        ("/metrics", 200),
        ("/v1/cluster", 200),
    ],
)
async def test_other_paths_get_what_they_deserve(path: str, status: int) -> None:
    async with a_worker(*range(PARTITIONS)) as worker, worker.client.get(path) as response:
        assert response.status == status


async def test_a_key_may_be_empty_or_hold_a_slash() -> None:
    async with a_worker(*range(PARTITIONS)) as worker:
        worker.put(**{"": 3, "a/b": 4})

        assert (await worker.get("/counts/"))[1]["count"] == 3
        assert (await worker.get("/counts/a%2Fb"))[1]["word"] == "a/b"


async def test_any_worker_answers_for_what_another_one_has() -> None:
    async with a_worker(0, 1) as one, a_worker(2, 3) as other:
        counts = {"the": 1, "tyger": 2, "in": 3, "forests": 4, "of": 5, "night": 6}
        for worker in (one, other):
            worker.put(**counts)
        one.hears_of(other)
        other.hears_of(one)

        for worker in (one, other):
            for word, count in counts.items():
                status, body, headers = await worker.get(f"/counts/{word}")
                assert (status, body["count"]) == (200, count)
                home = partition_for(word.encode(), PARTITIONS)
                assert headers["Onhand-Worker"] == (one if home < 2 else other).url
            status, body, _ = await worker.get("/counts?limit=3")
            assert status == 200
            assert [(i["word"], i["count"]) for i in body["items"]] == [
                ("night", 6),
                ("of", 5),
                ("forests", 4),
            ]
            assert set(body) == {"items", "missing_partitions", "freshness", "positions"}


async def test_a_list_of_another_build_is_no_answer_and_no_bug(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    as_it_is = ranking._TopSearch.body

    async def without_places(self: Any, parts: Any, common: Any) -> ranking.TopBody:
        return replace(await as_it_is(self, parts, common), places=[])

    async with a_worker(0, 1) as one, a_worker(2, 3) as other:
        other.put(the=1, tyger=2, forests=4, of=5, night=6)
        one.hears_of(other)
        monkeypatch.setattr(ranking._TopSearch, "body", without_places)

        status, body, _ = await one.get("/counts")

        assert (status, body["missing_partitions"]) == (503, [2, 3])


async def test_of_equal_ranks_the_smaller_key_comes_first() -> None:
    async with a_worker(*range(PARTITIONS)) as worker:
        worker.put(b=2, a=2, d=1, c=2)

        items = (await worker.get("/counts?limit=3"))[1]["items"]

        assert [item["word"] for item in items] == ["a", "b", "c"]


async def test_a_top_list_reads_every_row_however_many_there_are() -> None:
    async with a_worker(*range(PARTITIONS)) as worker:
        worker.put(**{f"word{n}": n for n in range(3_000)})

        items = (await worker.get("/counts?limit=1000"))[1]["items"]

        assert [item["count"] for item in items] == list(range(2_999, 1_999, -1))


async def test_a_list_without_one_partition_is_none_unless_that_is_allowed() -> None:
    async with a_worker(0, 1, 2) as worker:
        status, body, _ = await worker.get("/counts")
        assert (status, body["missing_partitions"]) == (503, [3])

        status, body, _ = await worker.get("/counts?partial=true")
        assert (status, body["missing_partitions"]) == (200, [3])


async def test_a_position_that_is_not_reached_is_a_503_and_one_that_is_an_answer() -> None:
    async with a_worker(*range(PARTITIONS)) as worker:
        worker.put(tyger=7)
        home = partition_for(b"tyger", PARTITIONS)

        reached = await worker.get(f"/counts/tyger?min_position=sales-{home}@9")
        beyond = await worker.get(f"/counts/tyger?min_position=sales-{home}@10&wait_ms=0")

        assert (reached[0], beyond[0]) == (200, 503)
        assert beyond[1]["type"] == "/problems/not-caught-up"


async def test_a_standby_answers_and_says_so() -> None:
    async with a_worker(*range(PARTITIONS), role=Role.STANDBY) as worker:
        worker.put(tyger=7)

        assert (await worker.get("/counts/tyger"))[2]["Onhand-Role"] == "standby"


def test_a_path_without_a_key_is_refused_where_it_is_written() -> None:
    for path in ("/counts", "counts/{word}", "/counts/{word}/more", "/counts/{Word}"):
        with pytest.raises(ValueError, match="is no path like"):
            replace(ROUTES[0], path=path)
