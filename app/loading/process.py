"""A process of its own loads each document that is posted: no read waits, whatever it holds.

It is given all over its standard input, and over its standard output it asks what its counts need
and answers. It ends when it is done, when it takes too long, and when its worker ends, however
that was. What it had sent by then is remembered, and the next load of the document goes on behind
it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal
import sys
import threading
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Final

import msgspec

from app.config import Settings
from core.words import in_words
from web.writes.loads import LoadAnswer, LoadAsked, LoadEnd, LoadQuestions

log = logging.getLogger(__name__)

#: For one document. Whatever takes longer goes on with the next try.
MOST_S: Final = 300.0
_LENGTH: Final = 4
#: How Python ends for an exception that nobody caught.
_BUG: Final = 1
#: The worker answers queries and heartbeats, and counts: where cores are scarce it comes first.
_NICENESS: Final = 10
#: That it may write to, in bytes. A workbook of 16 MiB may unpack to far more, and whoever may
#: write could take the memory that the worker needs.
MOST_MEMORY: Final = 2**30
_FOLDER: Final = Path(__file__).resolve().parents[2]
_AGAIN: Final = "What was sent is remembered: send the same again, and it goes on behind it."


class _Order(msgspec.Struct):
    """What the process is given, but for the document, which comes behind it and is not copied.

    data_dir is a path, which msgpack does not know.
    """

    settings: dict[str, str | int]
    asked: LoadAsked


class _Question(msgspec.Struct, tag=True):
    """What the process asks of its worker; body: JSON, None for a GET."""

    number: int
    path: str
    body: bytes | None


class _Told(msgspec.Struct):
    """What the worker says to that."""

    number: int
    status: int
    body: bytes


class _Ended(msgspec.Struct, tag=True):
    """The last that it says."""

    answer: LoadAnswer


_encode = msgspec.msgpack.Encoder().encode
_said = msgspec.msgpack.Decoder(_Question | _Ended).decode
_told = msgspec.msgpack.Decoder(_Told).decode


class LoadingProcess:
    """Loads in a process for each document; one after the other is the caller's work.

    Args:
        settings: whose topics.
        most_s: for one document.
    """

    def __init__(self, settings: Settings, most_s: float = MOST_S) -> None:
        self._settings, self._most_s = settings, most_s
        self._running: set[Process] = set()
        self._is_stopping = False

    async def load(self, asked: LoadAsked, questions: LoadQuestions) -> LoadAnswer:
        """Check a document, and send its facts: all, or nothing.

        Args:
            asked: the document.
            questions: answers what the process asks.

        Raises:
            RuntimeError: the process met a bug, and has said which.
        """
        if self._is_stopping:
            return _unfinished("This worker is stopping.")
        settings = msgspec.to_builtins(self._settings, enc_hook=str)
        order = _encode(_Order(settings, msgspec.structs.replace(asked, data=b"")))
        try:
            async with asyncio.timeout(self._most_s):
                answer = await self._asked(questions, order, asked.data)
        except TimeoutError:
            return _unfinished(f"It was not done within {self._most_s:g} s.")
        except OSError as error:
            log.warning("A document could not be loaded: %s", in_words(error))
            return _unfinished("This worker could not begin a process that loads it.")
        if answer is not None:
            return answer
        return _unfinished(
            "This worker is stopping." if self._is_stopping else "The process that loads it ended."
        )

    async def stop(self) -> None:
        """Break off what is under way."""
        self._is_stopping = True
        for process in self._running:
            with suppress(ProcessLookupError):
                process.kill()

    async def _asked(self, questions: LoadQuestions, *given: bytes) -> LoadAnswer | None:
        """Its answer; None where it ended without one."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "app.loading.process"),
            stdin=PIPE,
            stdout=PIPE,
            cwd=_FOLDER,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        assert process.stdin is not None
        assert process.stdout is not None
        self._running.add(process)
        try:
            if self._is_stopping:  # while it began: `stop` did not know of it
                return None
            for part in given:
                _write(process.stdin, part)
            # Not closed before it has answered: that would tell it that its worker has ended.
            answer = await _converse(process.stdin, process.stdout, questions)
            if await process.wait() == _BUG:
                raise RuntimeError("the process that loads documents met a bug, see above")
            return answer
        finally:
            self._running.discard(process)
            with suppress(ProcessLookupError):
                process.kill()
            process.stdin.close()
            await process.wait()


def _write(to: asyncio.StreamWriter, data: bytes) -> None:
    to.write(len(data).to_bytes(_LENGTH))
    to.write(data)


async def _converse(
    to: asyncio.StreamWriter, of: asyncio.StreamReader, questions: LoadQuestions
) -> LoadAnswer | None:
    """Answer what a process asks until it has answered, or ended without."""

    async def tell(asked: _Question) -> None:
        status, body = await questions(asked.path, asked.body)
        _write(to, _encode(_Told(asked.number, status, body)))
        with suppress(ConnectionError):  # it has ended, which is heard where it is read from
            await to.drain()

    answer = None
    async with asyncio.TaskGroup() as telling:
        with suppress(asyncio.IncompleteReadError):
            while answer is None:
                length = int.from_bytes(await of.readexactly(_LENGTH))
                match _said(await of.readexactly(length)):
                    case _Question() as asked:
                        telling.create_task(tell(asked))
                    case _Ended() as ended:
                        answer = ended.answer
    return answer


def _unfinished(why: str) -> LoadAnswer:
    return LoadAnswer(end=LoadEnd.UNFINISHED, detail=f"{why} {_AGAIN}")


def _given() -> bytes | None:
    """What the worker wrote next; None where it ended before."""
    head = sys.stdin.buffer.read(_LENGTH)
    length = int.from_bytes(head)
    data = sys.stdin.buffer.read(length)
    return data if len(head) == _LENGTH and len(data) == length else None


class _OurWorker:
    """The other end of both pipes, once it has given all."""

    def __init__(self) -> None:
        self._numbers = count()
        self._waiting: dict[int, asyncio.Future[_Told]] = {}

    async def ask(self, path: str, body: bytes | None) -> tuple[int, bytes]:
        """Ask it; see `LoadQuestions`."""
        number = next(self._numbers)
        waiting = self._waiting[number] = asyncio.get_running_loop().create_future()
        _say(_Question(number, path, body))
        told = await waiting
        return told.status, told.body

    def listen(self) -> None:
        """In a thread of its own: hear its answers, and end with it, whatever the loop does."""
        while True:
            told = _told(_heard(int.from_bytes(_heard(_LENGTH))))
            waiting = self._waiting.pop(told.number)
            with suppress(RuntimeError):  # the loop is closed, and nobody waits
                waiting.get_loop().call_soon_threadsafe(_settle, waiting, told)


def _settle(waiting: asyncio.Future[_Told], told: _Told) -> None:
    if not waiting.done():
        waiting.set_result(told)


def _heard(length: int) -> bytes:
    """So many bytes of what the worker says; the process ends where it says no more."""
    # Not by its buffer, whose lock this thread would hold when the process ends. That is empty:
    # the worker says nothing that it was not asked.
    data = b""
    while len(data) < length:
        piece = os.read(sys.stdin.fileno(), length - len(data))
        if not piece:
            os._exit(0)
        data += piece
    return data


def _say(what: _Question | _Ended) -> None:
    data = _encode(what)
    sys.stdout.buffer.write(len(data).to_bytes(_LENGTH) + data)
    sys.stdout.buffer.flush()


def bound_memory(most_bytes: int = MOST_MEMORY) -> None:
    """From now on this process gets a MemoryError instead of more."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    bound = most_bytes if hard == resource.RLIM_INFINITY else min(most_bytes, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (bound, hard))


def main() -> None:
    """Load the document that is given over standard input."""
    # Ctrl-C and a stopping service manager reach the whole group; the worker says when.
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    os.nice(_NICENESS)
    bound_memory()
    if (first := _given()) is None or (document := _given()) is None:
        return
    # What goes wrong with Kafka stands in the answer.
    logging.disable(logging.ERROR)
    worker = _OurWorker()
    threading.Thread(target=worker.listen, daemon=True).start()
    order = msgspec.msgpack.decode(first, type=_Order)
    asked = msgspec.structs.replace(order.asked, data=document)
    settings = msgspec.convert(order.settings, Settings, dec_hook=lambda kind, text: kind(text))
    from app.loading.opening import collect_seldom
    from app.loading.posted import load_posted

    collect_seldom()

    try:
        answer = asyncio.run(load_posted(settings, asked, worker.ask))
    except MemoryError:
        answer = _unfinished("It took more memory than a document may take.")
    _say(_Ended(answer))
    # Not what a library left behind in its threads, and not the thread above.
    os._exit(0)


if __name__ == "__main__":
    main()
