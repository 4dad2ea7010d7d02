"""Makes an answer of what may fail: other workers, a second one meanwhile, again after a while.

The rules, for one call:

1. The best worker is asked (`cluster.py`). Of a read, if it has not answered after the hedge
   delay, the next one too, and a third; the first good answer counts, the others are dropped.
   That costs the budget; after `STALLED_S` it is done in any case.
2. Who cannot be reached or breaks off is avoided for a while, and the next one is asked at once.
   Who says 503 is followed by the next one as long as the budget lasts.
3. When all were asked: a pause, as long as they said by `Retry-After`, and again from the start.
4. At the deadline, or at once where no pause fits before it, the call fails by what was said last.

What a 4xx says stands: nobody else is asked.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from onhand_client.cluster import ClusterMap
from onhand_client.errors import InternalError, NoAnswer, OnhandError
from onhand_client.pacing import Backoff, Budget, HedgeDelay
from onhand_client.transport import Failed, Kind, Reply, Request, Transport

#: A read that has not been answered for so long hangs, whatever the budget says.
STALLED_S = 1.5
#: A worker answers a write within 5 s after at most 1 s in the queue; it hangs if it does not.
WRITE_STALLED_S = 7.0
#: A request is at so many workers at most.
AT_ONCE = 3
#: Slower than this is suspect; a worker that is merely slower than most is not.
HANGS_S = 0.25
#: The most that a worker waits for a position.
MOST_WAIT_S = 10.0
#: Kept back of the time that is left, so that a worker's own word comes before the deadline.
_MARGIN_S = 0.2
#: With less time than this left, no other round is begun: it would only be cut off.
_LEAST_S = 0.05
#: Between two questions for the cluster; and while nothing changes.
ASK_CLUSTER_S = 0.5
REFRESH_S = 10.0
_WHO_HOLDS_WHAT = Request("GET", "/v1/cluster", kind=Kind.PAGE)


class Asking:
    """All calls of one client go through here."""

    def __init__(
        self, cluster: ClusterMap, transport: Transport, new_hedge: Callable[[Kind], HedgeDelay]
    ) -> None:
        self.cluster, self.transport = cluster, transport
        #: Each kind of read takes its own time.
        self.hedges = {kind: new_hedge(kind) for kind in Kind}
        #: How long one worker may take to say who holds what.
        self.cluster_s = 1.0
        self.budget = Budget()
        self._refreshing: asyncio.Task[None] | None = None
        self._asked_at = float("-inf")

    async def close(self) -> None:
        """Ask nobody any more."""
        task, self._refreshing = self._refreshing, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await self.transport.close()

    async def learned(self, within_s: float) -> None:
        """Wait until the cluster is known, or for so long: nothing depends on it but speed."""
        if not self.cluster.partitions:
            self.refresh()
            if self._refreshing is not None:
                await asyncio.wait({self._refreshing}, timeout=within_s)

    def refresh(self) -> None:
        """Ask for the cluster behind the scenes, unless that was done just now."""
        now = time.monotonic()
        if self._refreshing is None and now - self._asked_at >= ASK_CLUSTER_S:
            self._asked_at = now
            self._refreshing = asyncio.create_task(self._refresh())

    async def _refresh(self) -> None:
        try:
            for url in self.cluster.order(None):
                try:
                    async with asyncio.timeout(self.cluster_s):
                        reply = await self.transport.send(url, _WHO_HOLDS_WHAT, None)
                    self.cluster.take(reply.body)
                    return
                except (Failed, TimeoutError):
                    self.cluster.suspect(url)
                except (OnhandError, KeyError, TypeError, ValueError):
                    # Not for this token, or no worker of ours: calls go to the seeds.
                    continue
        finally:
            self._refreshing = None

    async def ask(
        self, request: Request, until: float, failures: list[Failed] | None = None
    ) -> Reply:
        """The answer, by the monotonic time `until`; each try that failed goes into `failures`.

        Raises:
            ProblemError: a worker's no.
            NoAnswer: nobody said anything.
        """
        if time.monotonic() - self._asked_at > REFRESH_S:
            self.refresh()
        self.budget.call()
        failures = [] if failures is None else failures
        backoff = Backoff()
        tried: set[str] = set()
        while True:
            first, others = self._whom(request, tried)
            if first is None:
                pause_s = backoff.pause_s(_asked_pause_s(failures))
                tried.clear()
                if time.monotonic() + pause_s + _LEAST_S >= until:
                    raise _final(failures)
                await asyncio.sleep(pause_s)
                if time.monotonic() >= until:
                    raise _final(failures)
                continue
            try:
                return await _Race(self, request, first, others, tried, until).answer()
            except Failed as error:
                failures.append(error)
                if error.gone:
                    self.refresh()
                elif _is_a_bug(failures):
                    raise _final(failures) from None
                elif not self.budget.take():
                    tried.update(self.cluster.order(None))
            except TimeoutError:
                failures.append(Failed(f"{first} did not answer by the deadline.", gone=True))
                raise _final(failures) from None

    def _whom(self, request: Request, tried: set[str]) -> tuple[str | None, Sequence[str] | None]:
        """Who is asked first, and who after that: None where that is to be looked up."""
        if not tried and request.partition is not None and not request.any_holder:
            best = self.cluster.best(request.partition)
            if best is not None:
                return best, None
        order = self.cluster.order(request.partition, request.any_holder)
        left = [url for url in order if url not in tried]
        return (left[0], left[1:]) if left else (None, None)


class _Race:
    """One request at one worker, and at others too while that one says nothing.

    The first is asked by the calling task itself: nearly all requests need no other, and so
    no task of their own.
    """

    def __init__(
        self,
        asking: Asking,
        request: Request,
        first: str,
        others: Sequence[str] | None,
        tried: set[str],
        until: float,
    ) -> None:
        self._asking, self._request, self._first = asking, request, first
        self._others = None if others is None else list(others)
        self._tried, self._until = tried, until
        self._hedge = asking.hedges[request.kind]
        self._tasks: set[asyncio.Task[None]] = set()
        self._won: Reply | None = None
        self._failed: Failed | OnhandError | None = None
        self._scope: asyncio.Timeout | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._began = time.monotonic()

    async def answer(self) -> Reply:
        """The first good one.

        Raises:
            Failed: all that were asked.
            ProblemError: a worker's no.
            TimeoutError: the time is over.
        """
        request, now = self._request, self._began
        limit = self._until
        if request.is_write:
            # One at a time: a second copy would only be one more record in the log.
            waits_s = MOST_WAIT_S if request.waits_for_outcome else 0.0
            limit = min(limit, now + WRITE_STALLED_S + waits_s)
        else:
            # Who waits for an own write is slow, and does not hang.
            self._later(self._hedge.most_s if request.waits else self._hedge.seconds)
        try:
            try:
                async with asyncio.timeout_at(limit) as self._scope:
                    reply = await self._ask(self._first)
            except Failed as error:
                self._scope = None
                if not self._tasks:
                    raise
                self._failed = error
                reply = await self._of_the_others()
            except TimeoutError:
                if self._won is not None:
                    reply = self._won
                    self._hung()
                elif isinstance(self._failed, OnhandError):
                    raise self._failed from None
                elif limit < self._until:
                    self._asking.cluster.suspect(self._first)
                    why = f"{self._first} did not answer within {limit - now:.0f} s."
                    raise Failed(why, gone=True) from None
                else:
                    raise
        finally:
            if self._timer is not None:
                self._timer.cancel()
            for task in self._tasks:
                task.cancel()
        return reply

    async def _ask(self, url: str) -> Reply:
        self._tried.add(url)
        request, began = self._request, time.monotonic()
        wait_ms = None
        if request.floor or request.waits_for_outcome:
            left_s = min(self._until - began - _MARGIN_S, MOST_WAIT_S)
            # In halves of a second: a worker remembers what it has read lately.
            wait_ms = max(0, int(left_s * 2) * 500 if left_s > 1 else int(left_s * 1000))
        try:
            reply = await self._asking.transport.send(url, request, wait_ms)
        except Failed as error:
            if error.gone:
                self._asking.cluster.suspect(url)
            raise
        if not request.is_write and not request.waits:
            self._hedge.took(time.monotonic() - began)
        return reply

    def _later(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._ask_another)

    def _ask_another(self) -> None:
        """The one before has said nothing for too long."""
        if self._won is not None or len(self._tasks) + 1 >= AT_ONCE:
            return
        stalls_at = self._began + STALLED_S * (len(self._tasks) + 1)
        if time.monotonic() < stalls_at and not self._asking.budget.take():
            self._later(stalls_at - time.monotonic())
            return
        if self._others is None:
            request = self._request
            self._others = self._asking.cluster.order(request.partition, request.any_holder)
        url = next((url for url in self._others if url not in self._tried), None)
        if url is None:
            return
        self._tasks.add(asyncio.create_task(self._ask_too(url)))
        self._later(self._hedge.most_s)

    async def _ask_too(self, url: str) -> None:
        try:
            reply = await self._ask(url)
        except (Failed, OnhandError) as error:
            if self._failed is None or isinstance(error, OnhandError):
                self._failed = error
            if isinstance(error, OnhandError):
                self._end()
            return
        if self._won is None:
            self._won = reply
            self._end()

    def _end(self) -> None:
        """Take the calling task out of its own request."""
        if self._scope is not None and not self._scope.expired():
            self._scope.reschedule(asyncio.get_running_loop().time())

    async def _of_the_others(self) -> Reply:
        """The first good answer of those that were asked later, when the first one failed."""
        async with asyncio.timeout_at(self._until):
            while self._won is None and not isinstance(self._failed, OnhandError):
                pending = [task for task in self._tasks if not task.done()]
                if not pending:
                    break
                await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        if self._won is not None:
            return self._won
        assert self._failed is not None
        raise self._failed

    def _hung(self) -> None:
        """Another one answered while the first had said nothing for a while."""
        slow_s = time.monotonic() - self._began
        if slow_s >= max(HANGS_S, self._hedge.most_s) and not self._request.waits:
            self._asking.cluster.suspect(self._first)
            self._asking.refresh()


def _asked_pause_s(failures: Sequence[Failed]) -> float | None:
    problem = failures[-1].problem if failures else None
    return None if problem is None else problem.retry_after_s


def _is_a_bug(failures: Sequence[Failed]) -> bool:
    """Whether two workers said 500: a third would as well."""
    return sum(isinstance(failed.problem, InternalError) for failed in failures) > 1


def _final(failures: Sequence[Failed]) -> OnhandError:
    """What the caller gets: what a worker said last, if one said anything."""
    if not failures:
        return NoAnswer("Nobody could be asked in time.")
    said = next((f.problem for f in reversed(failures) if f.problem is not None), None)
    return said or NoAnswer(f"Nobody answered in time. The last try: {failures[-1]}")
