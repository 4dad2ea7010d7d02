"""What a reader gets where the disk under a worker does not give the rows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

import pytest

from tables.home.memory import MemoryStore
from tables.home.store import StoreDamaged, StoreError, StoreFailed
from tests.support.inside.fleet import Fleet, a_fleet

SKU, LOCATION = "SKU-0005", "store-1"
#: In all of them: damage, which costs the store, and a disk that refuses, which does not.
SAID = [StoreDamaged("/data is damaged"), StoreFailed("Too many files are open.")]


class Broken(MemoryStore):
    """The disk does not give the rows, from some read on."""

    def __init__(self, held: MemoryStore, said: StoreError, good_reads: int = 0) -> None:
        self._rows, self.local = held._rows, held.local
        self._said, self._good = said, good_reads

    def _read(self) -> None:
        self._good -= 1
        if self._good < 0:
            raise self._said

    def get(self, key: bytes) -> bytes | None:
        self._read()
        return super().get(key)

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        self._read()
        return super().get_many(keys)

    def scan(self, start: bytes, stop: bytes | None, limit: int) -> list[tuple[bytes, bytes]]:
        self._read()
        return super().scan(start, stop, limit)


def break_(fleet: Fleet, workers: Iterable[int], said: StoreError, good_reads: int = 0) -> int:
    """The store of the SKU's partition, at these workers; the partition."""
    partition = fleet[0].shelf.partition_of(SKU)
    for number in workers:
        p = fleet[number].shelf.held.get(partition)
        if p is not None:
            assert isinstance(p.store, MemoryStore)
            p.store = Broken(p.store, said, good_reads)
    return partition


@pytest.fixture
async def fleet() -> AsyncIterator[Fleet]:
    async with a_fleet(3, count=3, rows=900) as fleet:
        yield fleet


async def answers(fleet: Fleet, number: int) -> dict[str, Any]:
    """Each kind of read at one worker: what it found, or the name of its refusal."""
    row = await fleet.row(number, SKU, LOCATION)
    sku = await fleet.get(number, f"/v1/inventory/{SKU}")
    found = await fleet.get(number, "/v1/inventory?limit=1000")
    keys = [{"sku": f"SKU-{n:04}", "location": LOCATION} for n in range(300)]
    lookup = await fleet.request("POST", number, "/v1/lookup", {"keys": keys})
    return {
        "row": row.body["received"] if row.status == 200 else row.problem,
        "sku": len(sku.body["items"]) if sku.status == 200 else sku.problem,
        "list": len(found.body["items"]) if found.status == 200 else found.problem,
        "lookup": len(lookup.body["items"]) if lookup.status == 200 else lookup.problem,
    }


@pytest.mark.parametrize("said", SAID, ids=lambda said: type(said).__name__)
@pytest.mark.parametrize("asked", range(3))
async def test_whatever_the_owners_disk_does_not_give_a_standby_answers_in_full(
    fleet: Fleet, said: StoreError, asked: int
) -> None:
    healthy = await answers(fleet, asked)
    assert healthy["list"] == 900
    break_(fleet, [fleet.owner_of(SKU)], said)

    assert await answers(fleet, asked) == healthy
    assert await answers(fleet, asked) == healthy


@pytest.mark.parametrize("said", SAID, ids=lambda said: type(said).__name__)
@pytest.mark.parametrize("asked", range(3))
async def test_where_no_disk_gives_the_rows_each_read_is_an_honest_503(
    fleet: Fleet, said: StoreError, asked: int
) -> None:
    partition = break_(fleet, range(3), said)

    told = await answers(fleet, asked)

    assert told == {
        "row": "not-ready",
        "sku": "not-ready",
        "list": "partitions-unavailable",
        "lookup": "partitions-unavailable",
    }
    partial = await fleet.get(asked, "/v1/inventory?limit=1000&partial=true")
    assert (partial.status, partial.body["missing_partitions"]) == (200, [partition])
    assert partial.body["next_cursor"] is not None  # it comes back for them


@pytest.mark.parametrize("good_reads", [1, 2, 3])
@pytest.mark.parametrize("said", SAID, ids=lambda said: type(said).__name__)
async def test_damage_in_the_middle_of_a_list_cuts_no_page(
    fleet: Fleet, said: StoreError, good_reads: int
) -> None:
    owner = fleet.owner_of(SKU)
    whole = (await fleet.get(owner, "/v1/inventory?limit=1000")).body["items"]
    break_(fleet, [owner], said, good_reads)

    page = await fleet.get(owner, "/v1/inventory?limit=1000")

    assert [(row["sku"], row["location"], row["received"]) for row in page.body["items"]] == [
        (row["sku"], row["location"], row["received"]) for row in whole
    ]
    assert page.body["next_cursor"] is None


async def test_a_row_whose_bytes_say_nothing_is_damage_and_no_error_of_the_server(
    fleet: Fleet,
) -> None:
    owner = fleet.owner_of(SKU)
    shelf = fleet[owner].shelf
    p = shelf.held[shelf.partition_of(SKU)]
    key = f"{SKU}\x00{LOCATION}".encode()
    p.store.write({key: b"\x00\xff{"}, (), p.store.local)

    answer = await fleet.row(owner, SKU, LOCATION)

    assert (answer.status, answer.role) == (200, "standby")
    assert shelf.freshness(p.number) is None
