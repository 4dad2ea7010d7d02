"""The process that decodes beside the worker: same columns, and no loss with its loss."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager

import msgspec
import numpy as np
import psutil
import pytest

import tables.decoder
from core.columns import Columns
from core.partitioning import partition_for
from core.records import Record
from dev.workers import ROOT, until
from domain.columns import columns
from domain.rules.held import CURRENT
from tables.decoder import Batch, Decoder
from tests.support.inputs.builders import RECORDED_MS, a_sale, in_binary_mode, with_data_base64
from tests.support.topics.fetching import WAIT_S, as_sent
from wire.batches import PIECE_RECORDS, Unreadable
from wire.fetch import Fetched

PARTITIONS = 3


def some_records(count: int) -> list[Record]:
    """Sales of partition 0, with every kind of refusal among them."""
    skus = [sku for n in range(300) if partition_for((sku := f"SKU-{n}").encode(), PARTITIONS) == 0]
    records: list[Record] = []
    for n in range(count):
        sku = skus[n % len(skus)]
        value: bytes | None = msgspec.json.encode(a_sale(id=str(n), sku=sku))
        key: bytes | None = sku.encode()
        if n % 50 == 7:
            value = (b"{", None, b'{"specversion":"1.0"}')[n % 3]
        elif n % 50 == 9:
            key = (None, b"other", b"")[n % 3]
        headers: list[tuple[str, bytes | None]] = []
        if value and n // 500 % 2:  # whole slices in one mode, and slices of all of them
            value, headers = in_binary_mode(value)
        elif value and n // 100 % 3 == 1:
            value, headers = in_binary_mode(value) if n % 2 else (with_data_base64(value), [])
        headers += [("trace", b"\x00\xff"), ("none", None)] if n % 11 == 0 else []
        records.append((100 + n, RECORDED_MS + n, key, value, headers))
    return records


def a_part(records: list[Record]) -> Fetched:
    return Fetched(as_sent(records), records[0][0], records[-1][0] + 1)


def expected(batch: Batch, records: list[Record]) -> list[Columns]:
    return [
        columns(batch.address, records[first : first + PIECE_RECORDS], CURRENT)
        for first in range(0, len(records), PIECE_RECORDS)
    ]


def same(found: Iterable[Columns], wanted: Iterable[Columns]) -> bool:
    """Arrays know no plain equality."""
    return all(
        (a.keys, a.refused, a.first, a.last) == (b.keys, b.refused, b.first, b.last)
        and np.array_equal(a.events, b.events)
        for a, b in zip(map(plain, found), map(plain, wanted), strict=True)
    )


def plain(piece: Columns) -> Columns:
    """Headers are a tuple or a list, by who made them."""
    letters = [
        msgspec.structs.replace(letter, headers=[tuple(h) for h in letter.headers])
        for letter in piece.refused
    ]
    return msgspec.structs.replace(piece, refused=letters)


@asynccontextmanager
async def a_decoder() -> AsyncIterator[Decoder]:
    """Its process is ready."""
    decoder = Decoder("domain.stock:STOCK", {"sales": "sales"}, PARTITIONS)
    decoder.start()
    try:
        await process_of(decoder)
        yield decoder
    finally:
        await decoder.stop()


async def process_of(decoder: Decoder, other_than: int = 0) -> psutil.Process:
    async def ready() -> int:
        pid = decoder._process.pid if decoder._process is not None else 0
        return pid if pid != other_than else 0

    return psutil.Process(await until(ready, "ready: the decoding process", WAIT_S))


async def columns_of(batch: Batch) -> list[Columns]:
    async with asyncio.timeout(WAIT_S):
        return [piece.columns for piece in await batch.pieces() if piece.columns is not None]


@pytest.fixture
def not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker must not decode by itself."""

    def never(job: object) -> Iterator[object]:
        raise AssertionError("decoded in the worker")

    monkeypatch.setattr(tables.decoder, "_decode", never)


@pytest.mark.usefixtures("not_here")
async def test_the_process_finds_what_the_worker_would() -> None:
    records = some_records(1_700)
    async with a_decoder() as decoder:
        batches = [decoder.batch("sales", 0, a_part(records), n) for n in range(3)]
        for n, batch in enumerate(batches):
            assert batch.epoch == n
            assert same(await columns_of(batch), expected(batch, records))
            assert [r[:4] for r in batch.originals()] == [r[:4] for r in records]


async def test_a_small_batch_does_not_wait_for_the_process() -> None:
    records = some_records(20)
    async with a_decoder() as decoder:
        process = await process_of(decoder)
        process.suspend()
        batch = decoder.batch("sales", 0, a_part(records), 1)
        assert same(await columns_of(batch), expected(batch, records))
        process.resume()


async def test_who_is_to_decode_here_does_not_ask_the_process() -> None:
    records = some_records(1_700)
    async with a_decoder() as decoder:
        process = await process_of(decoder)
        process.suspend()
        batch = decoder.batch("sales", 0, a_part(records), 1, here=True)
        assert same(await columns_of(batch), expected(batch, records))
        process.resume()


async def test_what_a_killed_process_was_asked_the_worker_does_and_another_one_starts(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tables.decoder, "_RESTART_S", 0.0)
    records = some_records(1_200)
    async with a_decoder() as decoder:
        process = await process_of(decoder)
        process.suspend()
        batches = [decoder.batch("sales", 0, a_part(records), 1) for _ in range(20)]
        process.kill()
        for batch in batches:
            assert same(await columns_of(batch), expected(batch, records))

        await process_of(decoder, other_than=process.pid)
        assert "The decoding process ended" in caplog.text
        monkeypatch.setattr(tables.decoder, "_decode", None)  # not here
        batch = decoder.batch("sales", 0, a_part(records), 1)
        assert same(await columns_of(batch), expected(batch, records))


async def test_a_process_that_does_not_answer_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables.decoder, "_ANSWER_S", 0.2)
    monkeypatch.setattr(tables.decoder, "_RESTART_S", 0.0)
    records = some_records(1_200)
    async with a_decoder() as decoder:
        process = await process_of(decoder)
        process.suspend()
        batch = decoder.batch("sales", 0, a_part(records), 1)
        assert same(await columns_of(batch), expected(batch, records))
        await process_of(decoder, other_than=process.pid)


async def test_what_cannot_be_read_is_said_by_the_worker_and_harms_nothing_else() -> None:
    records = some_records(1_200)
    damaged = bytearray(as_sent(records))
    damaged[-1] ^= 0xFF
    async with a_decoder() as decoder:
        batch = decoder.batch("sales", 0, Fetched(bytes(damaged), 100, 1_300), 1)
        with pytest.raises(Unreadable, match="fails its checksum"):
            await columns_of(batch)
        sound = decoder.batch("sales", 0, a_part(records), 1)
        assert same(await columns_of(sound), expected(sound, records))


async def test_it_ends_with_its_worker_and_not_before() -> None:
    async with a_decoder() as decoder:
        process = await process_of(decoder)
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # to the whole group
            process.send_signal(each)
        records = some_records(1_200)
        batch = decoder.batch("sales", 0, a_part(records), 1)
        assert same(await columns_of(batch), expected(batch, records))
        assert decoder._process is not None
        assert decoder._process.pid == process.pid
    assert not process.is_running()


async def test_it_ends_when_its_worker_is_killed() -> None:
    program = (
        "import asyncio; from tables.decoder import Decoder\n"
        "async def main():\n"
        "    decoder = Decoder('domain.stock:STOCK', {}, 1); decoder.start()\n"
        "    while decoder._process is None: await asyncio.sleep(0.01)\n"
        "    print(decoder._process.pid, flush=True)\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, cwd=ROOT, stdout=subprocess.PIPE
    )
    assert worker.stdout is not None
    process = psutil.Process(int(await asyncio.wait_for(worker.stdout.readline(), WAIT_S)))
    os.kill(worker.pid, signal.SIGKILL)
    await worker.wait()

    async def gone() -> bool:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE

    await until(gone, "gone", WAIT_S)
