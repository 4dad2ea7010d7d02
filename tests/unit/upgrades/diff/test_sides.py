"""How a comparison asks workers for rows: as any reader may, also where they ask who it is."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from app.upgrades.asking import NotAsked
from app.upgrades.diff import sides
from app.upgrades.diff.command import doors_of
from app.upgrades.diff.sides import SEVERAL, FoundKeys, NotCompared, Side
from core.positions import parse_position
from domain.rows import Row, decode_row, encode_row, split_key
from tests.unit.web.access_files import Keys
from tests.unit.web.fakes import URL as WORKER
from tests.unit.web.fakes import FakeTable
from tests.unit.web.serving import a_web
from web.access.callers import Scope
from web.cluster.peers import Peers
from web.config import Limits
from web.reads import questions
from web.reads.cursors import START, LastGiven, RowKey
from web.reads.questions import KeyAsked

PARTITIONS = 4
KEYS = [(f"SKU-{n}", "here") for n in range(20)]


def a_row(number: int) -> Row:
    return Row(1, 2, 3, 4, -number, 6, 2**64 - 1, 1_795_000_000_123, damaged=number % 2)


@asynccontextmanager
async def a_side(keys: Keys, token: str | None, *, has_tokens: bool) -> AsyncIterator[Side]:
    """Of a worker that takes no word of a worker without a proof."""
    table, app = FakeTable(PARTITIONS), web.Application()
    table.rows = {key: a_row(n) for n, key in enumerate(KEYS)}
    web_part = a_web(table, Limits(notice_s=0, drain_s=0.1), keys.access(has_tokens=has_tokens))
    web_part.attach(app)
    server, peers = TestServer(app), Peers()
    await server.start_server()
    url = str(server.make_url("")).rstrip("/")

    async def owners(version: int) -> Mapping[int, str]:
        return dict.fromkeys(range(PARTITIONS), url)

    try:
        yield Side(1, 2, PARTITIONS, peers, owners, token)
    finally:
        await peers.close()
        await server.close()


@pytest.mark.parametrize("has_tokens", [True, False])
@pytest.mark.parametrize("is_old", [False, True])
async def test_a_page_holds_the_rows_of_its_partition_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_tokens: bool, is_old: bool
) -> None:
    keys = Keys(tmp_path)
    token = keys.token(Scope.READ) if has_tokens else None
    monkeypatch.setattr(sides, "PAGE_ROWS", 3)
    if is_old:  # a worker that knows no rows as they are stored
        monkeypatch.setattr(questions, "STORED_ROWS", "application/x-of-tomorrow")
    found: dict[RowKey, Row] = {}
    async with a_side(keys, token, has_tokens=has_tokens) as side:
        for partition in range(PARTITIONS):
            place: LastGiven = START
            while place is not None:
                page = await side.page(partition, place)
                assert page.worker == WORKER
                assert ("sales", partition) in parse_position(page.position)
                assert page.size <= 3
                for key, row in page.pairs():
                    assert row == encode_row(decode_row(row))
                    found[split_key(key)] = decode_row(row)
                place = page.reach

    assert found == {key: a_row(n) for n, key in enumerate(KEYS)}


async def test_keys_are_looked_up_at_the_position_of_their_partition(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    async with a_side(keys, keys.token(Scope.READ), has_tokens=True) as side:
        partition = FakeTable(PARTITIONS).partition_of(KEYS[0][0])
        look = await side.look(partition, [KEYS[0], ("SKU-0", "nowhere")], f"sales-{partition}@9")

    assert [*look.rows] == [KEYS[0]]
    assert parse_position(look.position) == {("sales", partition): 9}


async def test_rows_of_several_workers_are_said_to_be_of_no_one_in_particular(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    workers = iter(["http://a:1", "http://b:1"])

    class Moved(Side):
        async def _look(self, partition: int, keys: list[KeyAsked], floor: str) -> FoundKeys:
            return FoundKeys({}, "sales-0@9", next(workers))

    async def owners(version: int) -> Mapping[int, str]:
        raise NotImplementedError

    monkeypatch.setattr(sides, "MAX_KEYS", 1)
    look = await Moved(1, 2, 1, Peers(), owners).look(0, KEYS[:2])

    assert look.worker == SEVERAL


@pytest.mark.parametrize("scope", [None, Scope.WRITE])
async def test_who_may_not_read_is_told_so_at_once(tmp_path: Path, scope: Scope | None) -> None:
    keys = Keys(tmp_path)
    token = None if scope is None else keys.token(scope)
    async with a_side(keys, token, has_tokens=True) as side:
        with pytest.raises(NotAsked, match="token"):
            await side.page(0, START)


async def test_where_nobody_answers_it_is_said_who_and_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sides, "OWNERLESS_S", 0.0)
    peers = Peers()

    async def owners(version: int) -> Mapping[int, str]:
        return {0: "http://127.0.0.1:1"}

    side = Side(2, 2, 1, peers, owners)
    await side._look_around(0, None)
    said = re.escape("partition 0 (http://127.0.0.1:1: It refuses connections): see")
    with pytest.raises(NotCompared, match=said):
        await side.page(0, START)
    await peers.close()


def test_without_a_token_and_a_name_the_owners_are_asked() -> None:
    assert doors_of(()).urls == []
    assert doors_of(("a:1,https://b:2",)).urls == ["http://a:1", "https://b:2"]
