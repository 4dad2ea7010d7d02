"""Tells one partition: its rows are compared with what was told last, and what is new is told.

Each message is committed as `pending`, then posted, then committed as `sent`, in this order, so
whatever ends in between, a message that was posted is known to whoever comes next, with its id
and its body. That one posts it again: the receiver may have it twice, and never as another one.

Taking a partition over has an order, too:

1. All that was in the sources when this worker became the owner is counted: what a row was on
   the way there is not told.
2. The transactional id is initialised. It is the same for all versions: whoever told before, of
   whatever version, can commit nothing more.
3. The group's coordinator and the record of versions are asked. Asked before step 2, a worker that
   slept, or had not heard of a promotion, could take the right to tell from whom it belongs to.
4. What was told is read. Nobody else can add to it any more.
5. Pending messages are posted again, and every row is compared.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import islice

from agents.alerts.ports import AlertRows, NotOurs, ToldHome, ToldWriter
from agents.alerts.told import Compared, DeliveryState, ToldAlert, after_try, sent_again
from agents.alerts.webhook import USUAL_WAITS, Receiver, Waits
from domain.alerts import AlertLevel, AlertRules
from domain.rows import Row, row_key, split_key
from tables.tasks import Tasks

log = logging.getLogger(__name__)

#: Rows compared before the loop may run, and messages of one transaction.
_SLICE = 250
#: Of one partition, at once.
_POSTS = 8
#: The longest wait without a look whether the partition is still ours.
_LOOK_S = 1.0

RowName = tuple[str, str]


class ToldElsewhere(Exception):
    """Somebody else had the right to write for a moment: what was told is to be read again."""


def now_ms() -> int:
    """The clock of this worker: only tries are timed by it, never what is told."""
    return time.time_ns() // 1_000_000


class Telling:
    """What all tellers of a worker share.

    version: that this worker counts. waits: between tries. turns: posts at once.
    counts: of what was done, by name; they never go back.
    """

    def __init__(
        self,
        rules: AlertRules,
        receiver: Receiver,
        home: ToldHome,
        version: int = 1,
        waits: Waits = USUAL_WAITS,
        clock_ms: Callable[[], int] = now_ms,
        posts: int = 16,
    ) -> None:
        self.tasks = Tasks()
        self.rules, self.receiver, self.home = rules, receiver, home
        self.version, self.waits, self.clock_ms = version, waits, clock_ms
        self.turns = asyncio.Semaphore(posts)
        self.counts: Counter[str] = Counter()


class Teller:
    """One partition, from the moment that it is ours until it is not.

    Args:
        partition: its number.
        rows: of it.
        telling: what is shared.
    """

    def __init__(self, partition: int, rows: AlertRows, telling: Telling) -> None:
        self.partition = partition
        self._rows, self._telling = rows, telling
        self._writer: ToldWriter | None = None
        self._compared = Compared("", telling.version)
        self._is_overtaken = False
        #: By row and rule.
        self._told: dict[RowName, dict[str, ToldAlert]] = {}
        #: Rows to be compared, in the order in which they changed.
        self._changed: dict[bytes, None] = {}
        #: Up to where the first pass over all rows has come.
        self._passed: RowName | None = None
        self._is_passing = False
        #: Pending messages by when they may be tried; some are over, and are passed by.
        self._due: list[tuple[int, int, ToldAlert]] = []
        self._number = 0
        self._posting: dict[bytes, asyncio.Task[None]] = {}
        self._done: list[ToldAlert] = []
        self._wake = asyncio.Event()

    # ---- what others call

    def rows_changed(self, keys: Iterable[bytes]) -> None:
        """These rows were committed anew."""
        self._changed.update(dict.fromkeys(keys))
        self._wake.set()

    def look_again(self) -> None:
        """Whether it is still the one to tell; somebody else has written what was told."""
        self._is_overtaken = True
        self._wake.set()

    def states(self) -> Counter[str]:
        """How many rows and rules stand how, by `DeliveryState`."""
        return Counter(str(one.state) for of in self._told.values() for one in of.values())

    async def run(self) -> None:
        """Tell for as long as the partition is ours.

        Raises:
            NotOurs: it is not.
            ToldElsewhere, KafkaError, TimeoutError, OSError, StoreError: take it over again.
        """
        await self.take_over()
        while True:
            busy = await self.step()
            if not busy:
                await self._wait()

    async def end(self, grace_s: float) -> None:
        """Begin nothing more; wait for posts under way, and commit what became of them.

        Raises:
            TimeoutError: some posts had no answer yet.
            KafkaError: what became of them was not committed.
        """
        late = set[asyncio.Task[None]]()
        if self._posting:
            _, late = await asyncio.wait(self._posting.values(), timeout=grace_s)
        for task in late:
            task.cancel()
        done, self._done = self._done, []
        if done and self._writer is not None:
            await self._writer.write(done)
        if late:
            raise TimeoutError

    # ---- steps

    async def take_over(self) -> None:
        """The steps of the module; raises as `run`."""
        rows, home = self._rows, self._telling.home
        await rows.caught_up()  # 1
        self._check()
        writer = await home.fence(self.partition)  # 2
        await rows.confirm()  # 3
        found = await home.read(self.partition)  # 4
        self._compared = Compared(await home.incarnation(), self._telling.version)
        self._writer = writer
        for told in found.values():  # 5
            self._note(told)
        # Every row is looked at from here on, as it is then.
        self._changed.clear()
        self._passed, self._is_passing = None, True
        log.debug("Partition %d: %d messages were told before.", self.partition, len(found))

    async def step(self) -> bool:
        """Compare some rows, commit what is new, and begin to post what is due.

        Returns:
            Whether there are more rows to compare at once.
        """
        self._check()
        self._wake.clear()
        done, self._done = self._done, []
        new = [*done, *self._compare()]
        if new:
            assert self._writer is not None
            await self._writer.write(new)
            for told in new:
                self._note(told)
                self._count(told)
        self._post_due()
        await asyncio.sleep(0)
        return self._is_passing or bool(self._changed) or bool(self._done)

    def _check(self) -> None:
        if not self._rows.is_ours():
            raise NotOurs(f"partition {self.partition} is not told by this worker any more")
        if self._is_overtaken:
            raise ToldElsewhere(f"somebody else wrote what was told of partition {self.partition}")

    def _compare(self) -> Iterable[ToldAlert]:
        """What is new to tell of a slice of rows."""
        if self._is_passing:
            page = self._rows.scan(self._passed, _SLICE)
            self._is_passing = len(page) == _SLICE
            if page:
                self._passed = page[-1][:2]
            for sku, location, row in page:
                yield from self._new_of((sku, location), row)
            return
        keys = []
        for raw in list(islice(self._changed, _SLICE)):
            del self._changed[raw]
            if (key := split_key(raw)) in self._told or self._telling.rules.of(*key):
                keys.append(key)
        for key, changed in zip(keys, self._rows.get_many(keys), strict=True):
            if changed is not None:
                yield from self._new_of(key, changed)

    def _new_of(self, key: RowName, row: Row) -> Iterable[ToldAlert]:
        rules, told = self._telling.rules.of(*key), self._told.get(key, {})
        for name in dict.fromkeys((*rules, *told)):
            message = self._compared.next_message(name, rules.get(name), key, row, told.get(name))
            if message is not None:
                yield message

    def _note(self, told: ToldAlert) -> None:
        """This is what is committed now."""
        key = told.sku, told.location
        self._told.setdefault(key, {})[told.rule] = told
        if told.is_pending:
            self._number += 1
            # However a clock was set meanwhile.
            longest_ms = int(max(self._telling.waits.seconds, default=0) * 1100)
            due_ms = min(told.next_ms, self._telling.clock_ms() + longest_ms)
            heapq.heappush(self._due, (due_ms, self._number, told))
        else:
            # While it was pending the row was not compared.
            self._changed[row_key(*key)] = None

    def _count(self, told: ToldAlert) -> None:
        counts = self._telling.counts
        if told.state is DeliveryState.PENDING and not told.attempts:
            counts["raised" if told.told is AlertLevel.RAISED else "cleared"] += 1
        else:
            counts["failed" if told.is_pending else str(told.state)] += 1
        if told.state is DeliveryState.DEAD:
            log.error(
                "Alert %s of %s at %s (%s) was tried %d times and not taken (%s); look at the "
                "receiver, then run `onhand alerts resend`.",
                *(told.rule, told.sku, told.location, told.told, told.attempts, told.failed),
            )

    # ---- posts

    def _post_due(self) -> None:
        now = self._telling.clock_ms()
        while self._due and self._due[0][0] <= now and len(self._posting) < _POSTS:
            _, _, told = heapq.heappop(self._due)
            current = self._told[told.sku, told.location].get(told.rule)
            if current is told and told.key not in self._posting:
                task = self._telling.tasks.start(self._post(told), f"alert {told.id}")
                self._posting[told.key] = task
                task.add_done_callback(partial(self._posted, told.key))

    def _posted(self, key: bytes, task: asyncio.Task[None]) -> None:
        del self._posting[key]
        self._wake.set()

    async def _post(self, told: ToldAlert) -> None:
        telling = self._telling
        async with telling.turns:
            if not self._rows.is_ours():
                return
            at_s = telling.clock_ms() // 1000
            answer = await telling.receiver.post(told.id, told.body.encode(), at_s)
        self._done.append(after_try(told, answer, telling.waits, telling.clock_ms()))

    async def _wait(self) -> None:
        wait_s = _LOOK_S
        if self._due and len(self._posting) < _POSTS:
            due_s = (self._due[0][0] - self._telling.clock_ms()) / 1000
            wait_s = min(wait_s, max(0.0, due_s))
        try:
            async with asyncio.timeout(wait_s):
                await self._wake.wait()
        except TimeoutError:
            pass


async def resend(
    home: ToldHome, partitions: Iterable[int], wanted: Callable[[ToldAlert], bool]
) -> Sequence[ToldAlert]:
    """Make dead messages pending, each partition's in one transaction; whoever tells posts them.

    It takes the right to write for a moment: whoever had it finds that out, and takes over again.

    Returns:
        Those that are pending now.

    Raises:
        KafkaError: of some partitions it was done, of others not.
    """
    again: list[ToldAlert] = []
    for partition in partitions:
        # Looked at before: nobody is disturbed for nothing.
        if not any(map(wanted, _dead(await home.read(partition)))):
            continue
        writer = await home.fence(partition)
        some = [sent_again(told) for told in filter(wanted, _dead(await home.read(partition)))]
        if some:
            await writer.write(some)
        again += some
    return again


def _dead(found: Mapping[bytes, ToldAlert]) -> Iterable[ToldAlert]:
    return (told for told in found.values() if told.state is DeliveryState.DEAD)
