"""No task of the house ends in silence, however it ends."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from dev.readme.documents import SERVICE
from tables.tasks import Final, Tasks

ROOT = Path(__file__).parents[3]


class Worker:
    """Remembers what ended it."""

    def __init__(self, *over: type[Exception]) -> None:
        self.sentences: list[str] = []
        self.tasks = Tasks(self._fail, *over)

    async def _fail(self, sentence: str, error: BaseException | None) -> None:
        self.sentences.append(sentence)


class NotWanted(Exception):
    """The work belongs to an assignment that is over."""


async def fails(error: Exception) -> None:
    raise error


async def ends() -> None:
    pass


async def for_ever() -> None:
    await asyncio.Event().wait()


async def waits_for_what_is_cancelled() -> None:
    given_up: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    given_up.cancel()
    await given_up


async def test_a_task_that_fails_ends_the_worker_with_its_name() -> None:
    worker = Worker()
    await worker.tasks.start(fails(KeyError("x")), "upkeep")

    assert worker.sentences == ["The task 'upkeep' failed: KeyError: 'x'."]


async def test_an_exception_that_has_its_own_sentence_says_it() -> None:
    worker = Worker()
    await worker.tasks.start(fails(Final("Set X to 1.")), "upkeep")

    assert worker.sentences == ["Set X to 1."]


async def test_work_that_comes_to_its_end_or_is_not_wanted_any_more_says_nothing() -> None:
    worker = Worker(NotWanted)
    await worker.tasks.start(ends(), "once")
    await worker.tasks.start(fails(NotWanted()), "once")

    assert worker.sentences == []


async def test_a_task_whose_awaited_future_was_cancelled_does_not_end_as_if_it_were_itself() -> (
    None
):
    worker = Worker()
    await worker.tasks.start(waits_for_what_is_cancelled(), "upkeep")

    assert "what it waited for was cancelled" in worker.sentences[0]


async def test_a_task_that_is_cancelled_ends_quietly_also_before_its_first_step() -> None:
    worker = Worker()
    worker.tasks.keep(for_ever, "upkeep")
    await worker.tasks.cancel()
    worker.tasks.keep(for_ever, "upkeep", again_s=0)
    await asyncio.sleep(0)
    await worker.tasks.cancel()

    assert (worker.sentences, [*worker.tasks]) == ([], [])


async def test_what_must_go_on_for_ever_may_not_end() -> None:
    worker = Worker()
    await worker.tasks.keep(ends, "upkeep")

    assert "it has no reason to end" in worker.sentences[0]


@pytest.mark.parametrize("way", ["fails", "ends", "cancelled"])
async def test_what_can_begin_anew_does_so_however_it_ended_and_says_why(
    way: str, caplog: pytest.LogCaptureFixture
) -> None:
    worker, began, third = Worker(), 0, asyncio.Event()

    async def work() -> None:
        nonlocal began
        began += 1
        if began == 3:
            third.set()
            await for_ever()
        elif way == "fails":
            raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no text")
        elif way == "cancelled":
            await waits_for_what_is_cancelled()

    worker.tasks.keep(work, "hearing", again_s=0)
    await asyncio.wait_for(third.wait(), 30)
    await worker.tasks.cancel()

    assert worker.sentences == []
    assert [record.message for record in caplog.records if "'hearing'" in record.message] != []


async def test_what_can_begin_anew_still_ends_the_worker_where_nothing_would_help() -> None:
    worker = Worker()
    await worker.tasks.keep(lambda: fails(Final("Set X to 1.")), "hearing", again_s=0)

    assert worker.sentences == ["Set X to 1."]


#: Tasks that their makers await, or whose outcome goes to whoever waits for a future.
AWAITED = {
    "app/commands/running.py": 1,  # says that a command waits, for as long as it does
    "app/upgrades/diff/comparing.py": 2,  # of a group, which ends with the first that fails
    "app/counting/worker.py": 2,  # the steps of `stop`
    "app/loading/decisions/deciding.py": 1,  # of a task group
    "app/loading/process.py": 1,  # of a task group
    "app/loading/sending.py": 1,  # a chunk that travels while the next is read
    "wire/rounds.py": 1,  # answers the futures of all who ask, whatever happens
    "tables/takeover.py": 1,  # the look that a take-over begins early
    "wire/clients.py": 1,
    "web/cluster/hedging.py": 1,
    "web/feed/owners.py": 1,  # all pages that need an owner's answer await the one that asks it
    "web/feed/pages.py": 1,  # answers the futures of all readers who want a page, whatever happens
    "web/cluster/admission.py": 2,  # reached, or beyond the end: whichever comes first
}


def test_all_background_tasks_of_the_house_have_the_one_guard() -> None:
    found: dict[str, int] = {}
    for folder in SERVICE:
        for path in (ROOT / folder).rglob("*.py"):
            started = re.findall(r"\b(?:create_task|ensure_future)\(", path.read_text())
            if started and path.name != "tasks.py":
                found[str(path.relative_to(ROOT))] = len(started)

    assert found == AWAITED
