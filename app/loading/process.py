"""A process of its own loads each document that is posted: no read waits, whatever it holds.

It is given all over its standard input, answers over its standard output, and ends: when it is
done, when it takes too long, and when its worker ends, however that was. What it had sent by
then is remembered, and the next load of the document goes on behind it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from app.config import Settings
from core.words import in_words
from web.writes.loads import LoadAnswer, LoadAsked, LoadEnd

log = logging.getLogger(__name__)

#: For one document. Whatever takes longer goes on with the next try.
MOST_S: Final = 300.0
_LENGTH: Final = 4
#: How Python ends for an exception that nobody caught.
_BUG: Final = 1
#: The worker answers queries and heartbeats, and counts: where cores are scarce it comes first.
_NICENESS: Final = 10
_FOLDER: Final = Path(__file__).resolve().parents[2]
_AGAIN: Final = "What was sent is remembered: send the same again, and it goes on behind it."


class _Order(msgspec.Struct):
    """What the process is given, but for the document, which comes behind it and is not copied.

    data_dir is a path, which msgpack does not know.
    """

    settings: dict[str, str | int]
    asked: LoadAsked


_encode = msgspec.msgpack.Encoder().encode


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

    async def load(self, asked: LoadAsked) -> LoadAnswer:
        """Check a document, and send its facts: all, or nothing.

        Raises:
            RuntimeError: the process met a bug, and has said which.
        """
        if self._is_stopping:
            return _unfinished("This worker is stopping.")
        settings = msgspec.to_builtins(self._settings, enc_hook=str)
        order = _encode(_Order(settings, msgspec.structs.replace(asked, data=b"")))
        try:
            async with asyncio.timeout(self._most_s):
                answer = await self._asked(order, asked.data)
        except TimeoutError:
            return _unfinished(f"It was not done within {self._most_s:g} s.")
        except OSError as error:
            log.warning("A document could not be loaded: %s", in_words(error))
            return _unfinished("This worker could not begin a process that loads it.")
        if answer:
            return msgspec.msgpack.decode(answer, type=LoadAnswer)
        return _unfinished(
            "This worker is stopping." if self._is_stopping else "The process that loads it ended."
        )

    async def stop(self) -> None:
        """Break off what is under way."""
        self._is_stopping = True
        for process in self._running:
            with suppress(ProcessLookupError):
                process.kill()

    async def _asked(self, *given: bytes) -> bytes:
        """Its answer; empty where it ended without one."""
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
            for part in given:
                process.stdin.write(len(part).to_bytes(_LENGTH))
                process.stdin.write(part)
            # Not closed before it has answered: that would tell it that its worker has ended.
            answer = await process.stdout.read()
            if await process.wait() == _BUG:
                raise RuntimeError("the process that loads documents met a bug, see above")
            return answer
        finally:
            self._running.discard(process)
            with suppress(ProcessLookupError):
                process.kill()
            process.stdin.close()
            await process.wait()


def _unfinished(why: str) -> LoadAnswer:
    return LoadAnswer(end=LoadEnd.UNFINISHED, detail=f"{why} {_AGAIN}")


def _given() -> bytes | None:
    """What the worker wrote next; None where it ended before."""
    head = sys.stdin.buffer.read(_LENGTH)
    length = int.from_bytes(head)
    data = sys.stdin.buffer.read(length)
    return data if len(head) == _LENGTH and len(data) == length else None


def _end_with_the_worker() -> None:
    # Not by its buffer, whose lock this thread would hold when the process ends.
    os.read(sys.stdin.fileno(), 1)
    os._exit(0)


def main() -> None:
    """Load the document that is given over standard input."""
    # Ctrl-C and a stopping service manager reach the whole group; the worker says when.
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    os.nice(_NICENESS)
    if (first := _given()) is None or (document := _given()) is None:
        return
    # What goes wrong with Kafka stands in the answer.
    logging.disable(logging.ERROR)
    threading.Thread(target=_end_with_the_worker, daemon=True).start()
    order = msgspec.msgpack.decode(first, type=_Order)
    asked = msgspec.structs.replace(order.asked, data=document)
    settings = msgspec.convert(order.settings, Settings, dec_hook=lambda kind, text: kind(text))
    from app.loading.posted import load_posted

    answer = asyncio.run(load_posted(settings, asked))
    sys.stdout.buffer.write(_encode(answer))
    sys.stdout.buffer.flush()
    # Not what a library left behind in its threads, and not the thread above.
    os._exit(0)


if __name__ == "__main__":
    main()
