"""The log decides by which window and rules a version counts, before anybody joins."""

import asyncio
import logging
from typing import Any

import msgspec
import pytest

from core.stages import Stage
from dev.workers import until
from tables.config import TableConfig
from tables.home import agreement
from tables.home.agreement import RulesDiffer, Unsettled, agree
from tables.home.changelog import LOG_FORMAT, ChangelogWriter
from tables.ports import CommitRefused, Sealed
from tests.support.inside.delivered import WAIT_S
from tests.support.inside.owners import (
    WINDOW,
    Shop,
    a_delivery_of,
    a_worker,
    a_writer,
    with_history,
)


def config(shop: Shop, window: int = WINDOW) -> TableConfig:
    return msgspec.structs.replace(shop.config(), window=window)


async def test_of_two_windows_on_a_new_table_one_is_refused_however_they_meet(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agreement, "_LEAVE_S", 30.0)  # the slower, the oftener they would meet
    tries = (agree(config(shop, WINDOW + n % 2)) for n in range(6))
    outcomes = await asyncio.gather(*tries, return_exceptions=True)

    [first] = shop.metas()
    kept = [None if WINDOW + n % 2 == first.window else RulesDiffer for n in range(6)]
    assert [None if found is None else type(found) for found in outcomes] == kept


async def test_the_first_word_of_the_log_is_written_once_and_the_table_begins_with_it(
    shop: Shop,
) -> None:
    for _ in range(2):
        await agree(config(shop))
    assert len(shop.metas()) == 1
    shop.append(a_delivery_of(3))

    async with a_worker(shop) as worker:
        await worker.own(0)
        await worker.deliver()
        await worker.committed()

        assert worker.rows() == {f"SKU-{n:04}/here": 1 for n in range(3)}
    await agree(config(shop))
    with pytest.raises(RulesDiffer, match="Set ONHAND_DEDUP_WINDOW back"):
        await agree(config(shop, WINDOW + 1))


async def test_workers_that_begin_a_table_together_fence_each_other_once_and_say_so_once(
    shop: Shop, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, "tables")
    opened = 0
    open_ = ChangelogWriter.open

    async def counted(*args: Any) -> ChangelogWriter:
        nonlocal opened
        opened += 1
        return await open_(*args)

    monkeypatch.setattr(ChangelogWriter, "open", counted)
    monkeypatch.setattr(agreement, "_LEAVE_S", 30.0)  # the slower, the oftener they would meet
    await asyncio.gather(*(agree(config(shop)) for _ in range(4)))

    assert len(shop.metas()) == 1
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.INFO]
    assert set(said) <= {"Another worker begins this table, too: waiting for its first word."}
    assert len(said) <= 3  # one of them wrote it
    assert opened <= 4


async def test_who_never_comes_to_write_the_first_word_ends_with_a_sentence(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = ChangelogWriter.commit

    async def fenced(writer: ChangelogWriter, *args: Any) -> int:
        await open_as_another(shop)
        return await commit(writer, *args)

    monkeypatch.setattr(ChangelogWriter, "commit", fenced)
    monkeypatch.setattr(agreement, "_LEAVE_S", 0.01)

    with pytest.raises(Unsettled, match="start fewer of them at once"):
        await agree(config(shop))
    assert shop.metas() == []


async def open_as_another(shop: Shop) -> None:
    name = f"{shop.transactional_id(0)}-first"
    async with a_writer(
        msgspec.structs.replace(shop.config(), transactional_id=lambda partition: name)
    ):
        pass


async def test_the_newest_word_is_found_behind_whatever_was_aborted(shop: Shop) -> None:
    await with_history(shop)
    rows = {b"x\x00%d" % n: b"never" for n in range(300)}
    async with shop.writer() as writer:
        await shop.fence()
        with pytest.raises(CommitRefused):
            await writer.commit(Sealed(rows, [], [], b"{}"))

    await agree(config(shop))
    with pytest.raises(RulesDiffer):
        await agree(config(shop, WINDOW - 1))


async def test_behind_the_records_of_a_newer_build_nobody_counts_and_nobody_answers(
    shop: Shop,
) -> None:
    await with_history(shop)
    async with a_worker(shop) as standby:
        await standby.table.assign((), {0})
        await standby.is_(Stage.STANDBY)
        newer = msgspec.structs.replace(shop.metas()[-1], format=LOG_FORMAT + 1)
        async with shop.writer() as writer:
            await writer.commit(Sealed({}, [], [], msgspec.json.encode(newer)))

        with pytest.raises(RulesDiffer, match=r"written by a newer build .* run that build here"):
            await agree(config(shop))

        async def stands_still() -> bool:
            (status,) = standby.table.status()
            return "a newer build" in (status.stopped_because or "")

        await until(stands_still, "a sentence", WAIT_S)


async def test_an_owner_is_not_disturbed_by_those_who_ask(shop: Shop) -> None:
    shop.append(a_delivery_of(1))
    async with a_worker(shop) as worker:
        await worker.own(0)
        await agree(config(shop))
        await worker.deliver()
        await worker.committed()

        assert worker.delivery.calls == [("start", 0)]
