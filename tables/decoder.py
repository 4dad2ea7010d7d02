"""A second process decodes big batches while the worker folds: the second core.

One Python interpreter uses one core. Decoding needs no memory of the table, only the
records (`Projection.columns`), and is half of the work: far behind, a worker hands it to a
process of its own, over a pipe. Batches of thin traffic are decoded where they are folded,
which is quicker than asking.

The process holds nothing. What it cannot do, or does not do in time, the worker does
itself, with the same functions; it ends when its pipe closes, however its worker ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import gc
import logging
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import chain
from pathlib import Path
from time import monotonic
from typing import Final, NamedTuple, cast

import msgspec
import numpy as np
from msgspec import Struct

from core.columns import Columns
from core.projection import Projection, imported
from core.records import Address, Record
from core.words import in_words
from tables.tasks import Tasks
from wire.batches import PIECE_BYTES, pieces
from wire.fetch import Fetched

log = logging.getLogger(__name__)

#: From this many bytes on, as fetched, a batch is worth asking for: some hundred records.
_LARGE_BYTES = 16 * 1024
#: The process answers with all of a batch: what unpacks to more than so many times its size,
#: and is more than a piece, is left to the worker, which holds one piece at a time.
_MOST_RATIO = 32
_FOLDER: Final = Path(__file__).resolve().parents[1]
#: A process that has not answered by then is replaced.
_ANSWER_S = 10.0
_RESTART_S = 10.0
_PIPE_BYTES = 2**20
_NICENESS = 5
#: On the pipe: this word when it can begin, then before each message its length in bytes.
_READY = b"onhand"
_LENGTH = 4


class Piece(NamedTuple):
    """Some hundred records as columns; None: reading took long, let others have a turn.

    originals: reads the records as they came, and perhaps others of their batch.
    """

    columns: Columns | None
    originals: Callable[[], Iterable[Record]]


class Batch(Struct, gc=False):
    """Consecutive records of one source topic-partition, as the transport delivers them.

    start: offset that was asked for; the first record's may be higher.
    next_offset: offset to read after this batch; beyond the last record's where
        transaction markers follow, so a batch without records is progress too.
    nbytes: as fetched, for flow control.
    epoch: number of the assignment that it was fetched under.
    more: another one of this partition, of another topic, follows at once.
    pieces: decodes the records, some hundreds at a time. Raises Unreadable, as does `originals`.
    originals: reads them as they came.
    """

    address: Address
    start: int
    next_offset: int
    nbytes: int
    epoch: int
    more: bool
    pieces: Callable[[], Awaitable[Iterable[Piece]]]
    originals: Callable[[], Iterable[Record]]


class _Job(Struct):
    """Record batches as fetched, from an offset on."""

    address: Address
    data: bytes
    start: int


def _decode(projection: Projection, job: _Job) -> Iterator[Piece]:
    for records in pieces(job.data, job.start):
        found = projection.columns(job.address, records) if records else None
        yield Piece(found, partial(iter, records))


_encode = msgspec.msgpack.Encoder(enc_hook=lambda array: array.tobytes()).encode
_as_job = msgspec.msgpack.Decoder(_Job).decode
#: Instead of an answer: the worker has to do it.
_NOTHING = b""


class Decoder:
    """Makes batches of what was fetched; asks the process for the columns of large ones.

    Args:
        projection: "module:NAME" of the one that says how to decode; the process imports it.
        topics: what it calls each source, by full topic name.
        partitions: of each of them.
    """

    def __init__(self, projection: str, topics: Mapping[str, str], partitions: int) -> None:
        self._where, self._topics, self._partitions = projection, topics, partitions
        self._projection = imported(projection)
        line = self._projection.line
        self._as_columns = msgspec.msgpack.Decoder(
            list[Columns], dec_hook=lambda _, raw: np.frombuffer(raw, line)
        ).decode
        self._process: Process | None = None
        self._asked: deque[asyncio.Future[bytes]] = deque()
        self._tasks = Tasks()

    def start(self, projection: str | None = None) -> None:
        """Start the process; until it has, everything is decoded here.

        projection: another one than at first, with the same line.
        """
        if projection is not None:
            self._where, self._projection = projection, imported(projection)
        self._tasks.keep(self._run, "decoder", _RESTART_S)

    async def stop(self) -> None:
        """End the process; what waits for it is decoded here."""
        await self._tasks.cancel()

    def batch(
        self,
        topic: str,
        partition: int,
        part: Fetched,
        epoch: int,
        more: bool = False,
        here: bool = False,
    ) -> Batch:
        """Begin to decode at once if it is large, else when its columns are asked for.

        here: however large it is, decode piece by piece in this process, and in no other.
        """
        address = Address(topic, self._topics[topic], partition, self._partitions)
        job = _Job(address, part.data, part.start)
        asked = None if here else self._ask(job)

        def originals() -> Iterable[Record]:
            return chain.from_iterable(pieces(part.data, part.start))

        async def decoded() -> Iterable[Piece]:
            answer = await self._answer(asked)
            if not answer:
                return _decode(self._projection, job)
            return [Piece(found, originals) for found in self._as_columns(answer)]

        return Batch(
            address=address,
            start=part.start,
            next_offset=part.next_offset,
            nbytes=len(part.data),
            epoch=epoch,
            more=more,
            pieces=decoded,
            originals=originals,
        )

    def _ask(self, job: _Job) -> asyncio.Future[bytes] | None:
        process = self._process
        if process is None or process.stdin is None or len(job.data) < _LARGE_BYTES:
            return None
        message = _encode(job)
        process.stdin.write(len(message).to_bytes(_LENGTH))
        process.stdin.write(message)
        asked: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._asked.append(asked)
        return asked

    async def _answer(self, asked: asyncio.Future[bytes] | None) -> bytes:
        if asked is None:
            return _NOTHING
        try:
            async with asyncio.timeout(_ANSWER_S):
                return await asyncio.shield(asked)
        except TimeoutError:
            if self._process is not None:
                self._process.kill()
            return _NOTHING

    async def _run(self) -> None:
        while True:
            began = monotonic()
            try:
                code = await self._serve()
                log.warning(
                    "The decoding process ended (%d): the worker does its work until it has "
                    "another one.",
                    code,
                )
            except OSError as error:
                log.warning("No decoding process (%s): the worker does its work.", in_words(error))
            await asyncio.sleep(began + _RESTART_S - monotonic())

    async def _serve(self) -> int:
        """Hand its answers on until it ends; returns its exit code."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "tables.decoder", self._where),
            stdin=PIPE,
            stdout=PIPE,
            cwd=_FOLDER,
            # The projection may be anybody's: it is found where this process found it.
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            limit=_PIPE_BYTES,
        )
        answers = cast(asyncio.StreamReader, process.stdout)
        try:
            await answers.readexactly(len(_READY))
            self._process = process
            while True:
                size = int.from_bytes(await answers.readexactly(_LENGTH))
                self._asked.popleft().set_result(await answers.readexactly(size))
        except asyncio.IncompleteReadError:
            return await process.wait()
        finally:
            self._process = None
            while self._asked:
                self._asked.popleft().set_result(_NOTHING)
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def main() -> None:
    """Answer jobs from standard input until it ends, by the projection that is named."""
    projection = imported(sys.argv[1])
    # Ctrl-C and a stopping service manager reach the whole group; the worker says when.
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    # The worker answers queries and heartbeats: where cores are scarce it comes first.
    os.nice(_NICENESS)
    gc.freeze()
    gc.set_threshold(50_000)
    jobs, answers = sys.stdin.buffer, sys.stdout.buffer
    for pipe in (jobs, answers):
        with contextlib.suppress(OSError, AttributeError):  # Linux only
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    with contextlib.suppress(BrokenPipeError):
        answers.write(_READY)
        answers.flush()
        while length := jobs.read(_LENGTH):
            answer = _do(projection, jobs.read(int.from_bytes(length)))
            answers.write(len(answer).to_bytes(_LENGTH))
            answers.write(answer)
            answers.flush()


def _do(projection: Projection, message: bytes) -> bytes:
    try:
        job, spent = _as_job(message), [0]
        most = PIECE_BYTES + _MOST_RATIO * len(job.data)
        found = []
        for records in pieces(job.data, job.start, spent=spent):
            if spent[0] > most:
                return _NOTHING
            if records:
                found.append(projection.columns(job.address, records))
        return _encode(found)
    except Exception:
        return _NOTHING  # the worker tries it too, and says what is wrong


if __name__ == "__main__":
    main()
