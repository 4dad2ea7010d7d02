"""The process that loads a document ends with its work, with its worker, and when it is told to."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE
from typing import Any

import pytest

from app.config import Settings
from app.loading import process
from app.loading.process import LoadingProcess
from dev.workers import ROOT
from domain.rules.held import CURRENT
from tests.support.inputs.sheets import COUNTS, SALES
from web.writes.loads import LoadAsked, LoadEnd

ASKED = LoadAsked(
    file="sales.csv", data=b"sku,qty\nA,2\n", map=SALES.encode(), rules=CURRENT.number, dry_run=True
)


async def nobody(path: str, body: bytes | None) -> tuple[int, bytes]:
    raise AssertionError(f"nothing is to be asked: {path}")


async def test_it_is_given_a_document_and_answers_with_what_became_of_its_lines() -> None:
    loader = LoadingProcess(Settings())

    answer = await loader.load(ASKED, nobody)

    assert answer.end is LoadEnd.CHECKED
    assert answer.body is not None
    assert (answer.body.lines, answer.body.facts, answer.body.refused) == (1, 1, 0)
    assert not loader._running


async def test_what_its_counts_need_is_asked_of_the_worker_and_several_at_once() -> None:
    at = "2026-11-23T10:00:00Z"
    rows = [f"SKU-{n},{n},{at}" for n in range(20)]
    asked: list[str] = []
    several = asyncio.Event()

    async def worker(path: str, body: bytes | None) -> tuple[int, bytes]:
        asked.append(path)
        if body is not None:
            return 200, b'{"items":[]}'
        if "timeline" in path:
            return 200, b'{"facts":[],"next_cursor":null}'
        if len(asked) > 3:
            several.set()
        await asyncio.wait_for(several.wait(), 60)
        return 200, b'{"on_hand":3,"history":{"position":"sales-0@9"}}'

    counts = LoadAsked(
        file="counts.csv", data="\n".join(["sku,qty,at", *rows]).encode(), map=COUNTS.encode(),
        rules=CURRENT.number, dry_run=True,
    )  # fmt: skip
    answer = await LoadingProcess(Settings()).load(counts, worker)

    assert answer.body is not None, answer
    assert answer.body.counts.sum == {"adjusted": 19, "confirmed": 1}
    assert [(one.counted, one.change) for one in answer.body.counts.first[:2]] == [(0, -3), (1, -2)]
    assert asked[0] == "/v1/facts/lookup"
    assert len(asked) == 41


async def test_a_bug_of_the_worker_ends_the_load_and_its_process() -> None:
    counts = LoadAsked(
        file="counts.csv", data=b"sku,qty,at\nA,1,2026-11-23T10:00:00Z\n", map=COUNTS.encode(),
        rules=CURRENT.number, dry_run=True,
    )  # fmt: skip
    loader = LoadingProcess(Settings())

    with pytest.raises(ExceptionGroup):
        await loader.load(counts, nobody)

    assert not loader._running


async def test_what_takes_too_long_is_ended_and_may_be_tried_again() -> None:
    loader = LoadingProcess(Settings(), most_s=0.0)

    answer = await loader.load(ASKED, nobody)

    assert (answer.end, "not done within 0 s" in answer.detail) == (LoadEnd.UNFINISHED, True)
    assert not loader._running


async def test_a_worker_that_stops_breaks_it_off_and_says_so() -> None:
    asks_kafka = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asks_kafka.set()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        loader = LoadingProcess(Settings(kafka=f"127.0.0.1:{port}"))
        sends = LoadAsked(file="a.csv", data=ASKED.data, map=ASKED.map, rules=CURRENT.number)
        loading = asyncio.create_task(loader.load(sends, nobody))
        await asyncio.wait_for(asks_kafka.wait(), 60)

        await loader.stop()
        answer = await asyncio.wait_for(loading, 60)

    assert answer.end is LoadEnd.UNFINISHED
    assert answer.detail.startswith("This worker is stopping. What was sent is remembered")
    assert (await loader.load(ASKED, nobody)).end is LoadEnd.UNFINISHED


async def test_a_worker_that_stops_while_the_process_begins_does_not_wait_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loader, begin = LoadingProcess(Settings()), asyncio.create_subprocess_exec

    async def begin_and_stop(*args: Any, **kwargs: Any) -> asyncio.subprocess.Process:
        begun = await begin(*args, **kwargs)
        await loader.stop()
        return begun

    monkeypatch.setattr(asyncio, "create_subprocess_exec", begin_and_stop)

    answer = await asyncio.wait_for(loader.load(ASKED, nobody), 60)

    assert answer.end is LoadEnd.UNFINISHED
    assert answer.detail.startswith("This worker is stopping.")
    assert not loader._running


async def test_it_ends_when_its_worker_does_before_and_after_it_was_given_all() -> None:
    for given in (b"", b"\0\0", b"\0\0\1\0half of it"):
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "app.loading.process", cwd=ROOT, stdin=PIPE, stdout=PIPE
        )
        said, _ = await asyncio.wait_for(child.communicate(given), 60)
        assert (child.returncode, said) == (0, b"")


async def test_a_bug_of_it_is_no_answer(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(process, "_encode", lambda order: b"\xc1")

    with pytest.raises(RuntimeError, match="met a bug"):
        await LoadingProcess(Settings()).load(ASKED, nobody)

    assert "DecodeError" in capfd.readouterr().err


async def test_it_has_a_bounded_memory_and_says_where_that_ends() -> None:
    """What is asked for here is no document: no input that takes so much stands in a test."""
    code = (
        "from app.loading.process import bound_memory\n"
        "bytearray(2**28)\n"
        "bound_memory(2**28)\n"
        "try:\n    bytearray(2**28)\nexcept MemoryError:\n    print('bounded')\n"
    )
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, cwd=ROOT, stdin=PIPE, stdout=PIPE
    )
    said, _ = await asyncio.wait_for(child.communicate(), 60)

    assert (child.returncode, said) == (0, b"bounded\n")
