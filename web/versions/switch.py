"""From which version this worker answers whoever names none; when it goes over to another.

The record is the switch; each worker goes over by itself, once and as a whole. Until the new
version has reached what callers may know of each partition, by this worker (its floors) or by
another door (what the old version's owners have counted), and has answered this worker itself,
it answers as before; from then on it never goes back, in version or in time. No request waits
for that.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain

from core.positions import Place, format_position, parse_position
from core.stages import Role
from core.versions import VersionState
from core.words import named_partitions
from tables.reading import Reading
from tables.tasks import Tasks
from web.cluster.admission import Admission, Offsets, furthest
from web.cluster.exchange import PeerFailed
from web.cluster.heartbeats import Claim
from web.cluster.peers import Peers, get
from web.cluster.roster import WorkerView
from web.versions.neighbours import UPGRADE_PATH, OwnedBody, UpgradeBody, upgrade_body
from web.versions.view import VersionView

log = logging.getLogger(__name__)

#: Between two looks at what the new version has reached. Its heartbeats come twice a second.
LOOK_S = 0.05
#: As far behind what this worker tells the new version may be when it goes over: reads wait for
#: the rest, and no read waits for long.
NEAR_S = 1.0
#: After so long it is enough that it is as far as this worker was when the record came.
BEHIND_FOR_S = 15.0
#: Between two looks at whether there is what it waits for: nothing is, beyond a log's end.
ENDS_S = 0.5
#: Between two lines of the log that say what it waits for.
SAY_S = 60.0
#: For an owner of the new version to answer this worker, before it passes requests on.
ANSWER_S = 2.0
#: Between two questions to owners of the new version how far they are: their heartbeats come half
#: a second later, and by way of Kafka. So many are asked at once, and each has so long.
ASK_S, ASKED, ASKED_S = 0.1, 8, 0.5
#: How often a worker looks whether it slept.
TICK_S = 0.25
#: Asleep for longer (SIGSTOP, a paused machine), it reads the record before it answers.
SLEPT_S = 1.0
#: For that; then it answers by what it knows, and says by which record.
REREAD_S = 0.5


class _Wanted:
    """How far the new version has to be before a worker goes over: as answers were lately.

    Args:
        floors: what answers have held until now, of each partition.
    """

    def __init__(self, floors: Callable[[], list[Offsets]]) -> None:
        self._floors = floors
        self._first = self._older = self._newer = floors()
        self.began = self._renewed = time.monotonic()

    def now(self) -> Sequence[Offsets]:
        """As they were `NEAR_S` ago or less; after long, as they were at the record."""
        now = time.monotonic()
        if now - self._renewed >= NEAR_S / 2:
            self._older, self._newer, self._renewed = self._newer, self._floors(), now
        return self._older if now - self.began < BEHIND_FOR_S else self._first

    def all(self) -> tuple[list[Offsets], ...]:
        """Whatever is wanted now or may be soon."""
        return self._first, self._older, self._newer

    def lower(self, known: Sequence[list[Offsets]], ends: Mapping[Place, int]) -> None:
        """These logs ended there, as a broker said after `known` was all that is wanted.

        Nobody has counted anything beyond. What was wanted later may be right.
        """
        self._first, self._older, self._newer = (
            [_within(offsets, ends) for offsets in each]
            if any(each is one for one in known)
            else each
            for each in self.all()
        )


def _within(offsets: Offsets, ends: Mapping[Place, int]) -> Offsets:
    return {place: min(at, ends.get(place, at + 1) - 1) for place, at in offsets.items()}


class Switch:
    """The version that one worker answers from, and since which record.

    Args:
        view: of the record.
        table: of this worker; its answers are labelled by what is decided here.
        admission: knows the floors.
        workers: all that are known, this one as it is now.
        peers: asks the others whether they answer.
    """

    def __init__(
        self,
        view: VersionView,
        table: Reading,
        admission: Admission,
        workers: Callable[[], Sequence[WorkerView]],
        peers: Peers,
    ) -> None:
        self._view, self._table = view, table
        self._admission, self._workers, self._peers = admission, workers, peers
        self._tasks = Tasks()
        self._sweep: asyncio.Task[None] | None = None
        #: By address, how far owners of the new version have said that they are, and when.
        self._told: dict[str, tuple[float, UpgradeBody]] = {}
        self._awake = asyncio.Event()
        self._awake.set()
        self._looked_at = time.clock_gettime(time.CLOCK_BOOTTIME)
        #: Whether the watch over its sleep has begun: nobody else wakes it up.
        self._watches = False
        self._moved = asyncio.Event()
        #: Told when the version or the epoch of the answers has changed.
        self.listeners: list[Callable[[], None]] = []
        #: Answers come from this version.
        self.answering = view.version
        #: The record that made it the active one, or a later one that left it so.
        self.epoch = 0
        #: Whether this worker answers from its own version, and has not just slept. Every read
        #: asks it, so it is kept and not worked out.
        self.is_here = True
        view.listeners.append(self.heard)

    def start(self) -> None:
        """Begin with what the record says: a worker that starts now answers from nothing older."""
        if (last := self._view.last) is not None:
            self._go_over(last.active, last.epoch)
        self._tasks.keep(self._tick, "sleep watch", TICK_S)

    async def stop(self) -> None:
        """Decide no more. May be called twice."""
        self._watches = False
        await self._tasks.cancel()
        self._wake_up()

    def has_slept(self) -> bool:
        """Whether nobody has looked for so long that the record may be another one.

        Whoever wakes up meets the requests that wait for it before its own clock rings.
        """
        since = time.clock_gettime(time.CLOCK_BOOTTIME) - self._looked_at
        return self._watches and since > SLEPT_S + TICK_S

    async def awake(self) -> None:
        """Return once this worker has read the record after it slept; at once if it did not."""
        if self.has_slept():
            self._fall_asleep()  # the watch wakes it up
        if not self._awake.is_set():
            await self._awake.wait()

    async def reaches(self, epoch: int, within_s: float) -> bool:
        """Wait until answers come by that record or a later one; whether they do."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self.epoch < epoch:
                    await self._moved.wait()
        return self.epoch >= epoch

    def heard(self) -> None:
        """There is a new record."""
        last = self._view.last
        assert last is not None
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        if last.active == self.answering:
            self._go_over(last.active, last.epoch)
        else:
            self._label()
            self._sweep = self._tasks.start(self._until_reached(last.active), "switch")

    async def _until_reached(self, version: int) -> None:
        """Go over once that version is as far as this worker's answers were lately, and answers.

        Where it stays behind for long, as far as they were at the record. Where the old one is
        retired there is nothing left to wait with.
        """
        wanted = _Wanted(self._floors)
        last = self._view.last
        assert last is not None
        self._told = {}
        watch = self._tasks.start(self._watch(version, wanted, last.epoch), "watch over a switch")
        asks = self._tasks.start(self._ask(version), "how far the new version is")
        try:
            while last.state_of(self.answering) is not VersionState.RETIRED:
                if self._is_reached(version, wanted.now()) and await self._is_answered(version):
                    break
                await asyncio.sleep(LOOK_S)
        finally:
            watch.cancel()
            asks.cancel()
        self._go_over(version, last.epoch)
        log.info(
            "Answers come from version %d now (epoch %d), %.2f s after the record.",
            version,
            self.epoch,
            time.monotonic() - wanted.began,
        )

    async def _watch(self, version: int, wanted: _Wanted, epoch: int) -> None:
        """Wait for nothing that is in no log; and say what is waited for, if it takes long.

        What others claim may be of another log, or of one that was cut since.
        """
        said = -math.inf
        while True:
            await asyncio.sleep(ENDS_S)
            lacking, known = self._lacking(version, wanted.now()), wanted.all()
            if places := [place for offsets in lacking.values() for place in offsets or ()]:
                wanted.lower(known, await self._admission.ends_of(places))
            now = time.monotonic()
            if now - wanted.began >= BEHIND_FOR_S and now - said >= SAY_S:
                said = now
                log.warning(
                    "Answers come from version %d still, %.0f s after the record (epoch %d): %s. "
                    "It goes over by itself as soon as it can.",
                    self.answering,
                    now - wanted.began,
                    epoch,
                    self._why_not(version, wanted.now()),
                )

    def _why_not(self, version: int, floors: Sequence[Offsets]) -> str:
        """What keeps this worker from going over, as a part of a sentence."""
        lacking = self._lacking(version, floors)
        if ownerless := [p for p, offsets in lacking.items() if offsets is None]:
            return f"no living worker of version {version} owns {named_partitions(ownerless)}"
        if behind := [offsets for offsets in lacking.values() if offsets]:
            more = f" (and of {len(behind) - 1} more partitions)" if len(behind) > 1 else ""
            return f"version {version} has not counted {format_position(behind[0])}{more}"
        urls = ", ".join(worker.beat.url for worker, _ in self._owners(version))
        return f"no owner of version {version} answers this worker ({urls})"

    def _floors(self) -> list[Offsets]:
        """What answers have held until now, of each partition.

        This worker's, and those that the owners of the version it answers from may have given
        through other doors.
        """
        floors = [self._admission.floor_of(p) for p in range(self._table.count)]
        for _, owned in self._owners(self.answering):
            for claim in owned:
                # Of this log: what no source is called could never be reached.
                told = self._admission.of_sources(claim.partition, claim.position)
                floors[claim.partition] = furthest(floors[claim.partition], told)
        return floors

    def _is_reached(self, version: int, floors: Sequence[Offsets]) -> bool:
        """Whether an owner of that version has told of each partition what was answered here."""
        return all(lacks == {} for lacks in self._lacking(version, floors).values())

    def _lacking(self, version: int, floors: Sequence[Offsets]) -> dict[int, Offsets | None]:
        """By partition, what its furthest owner of that version has not told of; None: no owner."""
        found: dict[int, Offsets | None] = dict.fromkeys(range(len(floors)))
        for worker, owned in self._owners(version):
            told = self._told.get(worker.beat.url)
            said = [] if told is None else told[1].owned
            for claim in chain[Claim | OwnedBody](owned, said):
                if not 0 <= claim.partition < len(floors):
                    continue
                told_of, floor = parse_position(claim.position), floors[claim.partition]
                lacks = {key: at for key, at in floor.items() if told_of.get(key, -1) < at}
                known = found[claim.partition]
                if known is None or len(lacks) < len(known):
                    found[claim.partition] = lacks
        return found

    async def _ask(self, version: int) -> None:
        """Ask owners of the new version how far they are, less and less often; some, if many."""
        began = time.monotonic()
        while True:
            urls = [worker.beat.url for worker, _ in self._owners(version) if not worker.this]
            some = random.sample(urls, min(ASKED, len(urls)))
            await asyncio.gather(*(self._ask_how_far(url, version) for url in some))
            await asyncio.sleep(max(ASK_S, (time.monotonic() - began) / 10))

    async def _ask_how_far(self, url: str, version: int) -> None:
        with suppress(PeerFailed, TimeoutError):
            async with asyncio.timeout(ASKED_S):
                answer = await self._peers.ask(url, get(url, UPGRADE_PATH, {}, ""))
            said = upgrade_body(answer)
            if said is not None and said.version == version:
                self._told[url] = time.monotonic(), said

    def _owners(self, version: int) -> Iterator[tuple[WorkerView, list[Claim]]]:
        """Living workers of that version, each with what it says that it owns."""
        for worker in self._workers():
            if worker.beat.version == version and worker.alive:
                claims = (claim for claim in worker.beat.claims if claim.role == Role.ACTIVE)
                owned = [claim for claim in claims if 0 <= claim.partition < self._table.count]
                if owned:
                    yield worker, owned

    async def _is_answered(self, version: int) -> bool:
        """Whether an owner of that version has answered this worker; each has the time for it.

        Heartbeats come by way of Kafka, and say nothing of the way that requests take. It also
        opens the connections that they will need at once.
        """
        owners = [worker for worker, _ in self._owners(version)]
        return any(await asyncio.gather(*map(self._answers, owners)))

    async def _answers(self, worker: WorkerView) -> bool:
        url = worker.beat.url
        told_at, _ = self._told.get(url, (-math.inf, None))
        if worker.this or time.monotonic() - told_at < ANSWER_S:
            return True
        with suppress(PeerFailed, TimeoutError):
            async with asyncio.timeout(ANSWER_S):
                return (await self._peers.ask(url, get(url, UPGRADE_PATH, {}, ""))).status == 200
        return False

    def _go_over(self, version: int, epoch: int) -> None:
        self.answering, self.epoch = version, epoch
        self._note_where()
        self._moved.set()
        self._moved = asyncio.Event()
        self._label()
        for listener in list(self.listeners):
            listener()

    def _note_where(self) -> None:
        self.is_here = self.answering == self._view.version and self._awake.is_set()

    def _label(self) -> None:
        """What this worker's own rows are said to be of.

        The epoch is that of the newest record by which this version is active, whether this
        worker still follows it or not: so all workers of a version say the same of it to one
        that is later than they are, and its answers do not go back.
        """
        last = self._view.last
        if last is None:
            return
        version = self._view.version
        epochs = (e.versions.epoch for e in self._view.entries if e.versions.active == version)
        # A version that never was active is asked for by name, or by who knows more.
        self._table.label = (version, max(epochs, default=last.epoch))

    # ---- after sleep

    async def _tick(self) -> None:
        self._wake_up()
        self._watches = True
        while True:
            await asyncio.sleep(TICK_S)
            if self.has_slept():
                self._fall_asleep()
                try:
                    await self._view.reread(REREAD_S)
                finally:  # whatever came of it: requests wait for this
                    self._wake_up()
            self._looked_at = time.clock_gettime(time.CLOCK_BOOTTIME)

    def _fall_asleep(self) -> None:
        self._awake.clear()
        self._note_where()

    def _wake_up(self) -> None:
        self._looked_at = time.clock_gettime(time.CLOCK_BOOTTIME)
        self._awake.set()
        self._note_where()
