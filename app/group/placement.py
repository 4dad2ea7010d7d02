"""Who owns which partition and who stands by for it: a pure function of what the workers hold.

Two cheapest flows, one after the other, as Kafka Streams places its tasks since KIP-925:
a rule is a price, and of two rules that disagree the dearer one wins. Heuristics in their
place either miss a copy that somebody holds or move what could have stayed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from heapq import heappop, heappush
from typing import Any, TypeAlias, TypeVar

import msgspec

W = TypeVar("W", str, tuple[str, str])
Node: TypeAlias = object


class Holdings(msgspec.Struct, frozen=True):
    """What one worker brings into a rebalance.

    actives, standbys: of its last assignment; none for a new process.
    copies: the changelog offset that its store of a partition reaches, 0 for a store on
        disk that this process has not looked into.
    """

    actives: frozenset[int] = frozenset()
    standbys: frozenset[int] = frozenset()
    copies: Mapping[int, int] = {}


class Duties(msgspec.Struct, frozen=True):
    """What one worker gets."""

    actives: frozenset[int]
    standbys: frozenset[int]


def place(workers: Mapping[W, Holdings], partitions: int, standbys: int) -> dict[W, Duties]:
    """Give every partition one owner and as many standbys as there are other workers for.

    Owners, the strictest rule first:

    1. Each worker owns as many as any other, or one more.
    2. As few as possible go to a worker without a copy: that one restores all of it,
       and nobody counts meanwhile.
    3. As few as possible move. After 2, since the move of a partition to its standby
       costs no more than staying: a rebalance takes over again what was kept, too.
    4. Of several copies the fullest.

    Standbys: never with the owner, never twice with one worker; then

    1. owned and followed together, each worker has as much as any other, or one more;
    2. who follows already, or was the owner, goes on; else who has a copy;
    3. the partitions of one owner have their standbys with different workers, so that its
       death is shared by all;
    4. the fullest copy.

    Args:
        workers: all members of the group, by a name that also breaks ties.
        partitions: how many there are.
        standbys: how many copies of each partition there should be beside the owner's.
    """
    names = sorted(workers)
    holdings = [workers[name] for name in names]
    owners = _owners(holdings, partitions)
    followers = _followers(holdings, owners, standbys)
    return {
        name: Duties(
            frozenset(p for p, owner in enumerate(owners) if owner == w),
            frozenset(p for p, those in enumerate(followers) if w in those),
        )
        for w, name in enumerate(names)
    }


def _owners(workers: list[Holdings], partitions: int) -> list[int]:
    """The number of the owner of each partition."""
    flow = _Flow()
    least = partitions // len(workers)
    rank, move, cold, extra = _prices(partitions * len(workers))
    for w in range(len(workers)):
        flow.arc(("worker", w), "sink", 0, least)
        flow.arc(("worker", w), "sink", extra)
    for p in range(partitions):
        kept = _living_owner(workers, p)
        flow.arc("source", p, 0)
        for w, worker in enumerate(workers):
            price = 0 if w == kept else move + rank * _fuller(workers, p, w)
            flow.arc(p, ("worker", w), price + (0 if w == kept or p in worker.copies else cold))
    flow.send("source", "sink")
    return [w for p in range(partitions) for _, w in flow.used(p)]


def _followers(workers: list[Holdings], owners: list[int], each: int) -> list[set[int]]:
    """The numbers of those who stand by, for each partition."""
    flow = _Flow()
    rank, apart, restore, load = _prices(3 * len(owners) * len(workers) * (each + 1))
    for w in range(len(workers)):
        for nth in range(len(owners)):
            flow.arc(("worker", w), "sink", load * (owners.count(w) + nth))
        for owner in set(owners):
            for nth in range(owners.count(owner)):
                flow.arc(("for", owner, w), ("worker", w), apart * nth)
    for p, owner in enumerate(owners):
        flow.arc("source", p, 0, each)
        for w, worker in enumerate(workers):
            if w != owner:
                follows = p in worker.standbys or p in worker.actives
                distance = 0 if follows else 1 if p in worker.copies else 2
                price = restore * distance + rank * _fuller(workers, p, w)
                flow.arc(p, ("for", owner, w), price)
    flow.send("source", "sink")
    return [{w for _, _, w in flow.used(p)} for p in range(len(owners))]


def _living_owner(workers: list[Holdings], p: int) -> int | None:
    """Of several (one slept through a rebalance) the one whose store is ahead."""
    claims = [(held.copies.get(p, -1), w) for w, held in enumerate(workers) if p in held.actives]
    return max(claims)[1] if claims else None


def _fuller(workers: list[Holdings], p: int, w: int) -> int:
    """How many have a fuller copy than this one."""
    mine = workers[w].copies.get(p, -1)
    return sum(worker.copies.get(p, -1) > mine for worker in workers)


def _prices(most: int) -> Iterator[int]:
    """Four prices; the sum of all that can be paid of one is below the next."""
    return ((most + 1) ** power for power in range(4))


class _Arc:
    """From some node to `to`; `back` leads the other way, and gives back what was paid.

    room: units that may still pass. size: how many could at first.
    """

    __slots__ = ("back", "price", "room", "size", "to")
    back: _Arc

    def __init__(self, to: int, price: int, room: int) -> None:
        self.to, self.price, self.room, self.size = to, price, room, room


class _Flow:
    """The cheapest flow from a source to a sink, by shortest paths one after the other.

    Dijkstra's, with potentials: the arcs that give back have negative prices.
    """

    def __init__(self) -> None:
        self._numbers: dict[Node, int] = {}
        self._names: list[Any] = []
        self._arcs: list[list[_Arc]] = []

    def _number(self, node: Node) -> int:
        if node not in self._numbers:
            self._numbers[node] = len(self._names)
            self._names.append(node)
            self._arcs.append([])
        return self._numbers[node]

    def arc(self, start: Node, end: Node, price: int, room: int = 1) -> None:
        """Let `room` units pass, each for this price."""
        a, b = self._number(start), self._number(end)
        there, back = _Arc(b, price, room), _Arc(a, -price, 0)
        there.back, back.back = back, there
        self._arcs[a].append(there)
        self._arcs[b].append(back)

    def used(self, node: Node) -> list[Any]:
        """Where the units that came to a node went on to."""
        return [self._names[a.to] for a in self._arcs[self._numbers[node]] if a.room < a.size]

    def send(self, source: Node, sink: Node) -> None:
        """Send all that can pass."""
        start, end = self._numbers[source], self._numbers[sink]
        height = [0] * len(self._names)
        while path := self._cheapest_path(start, end, height):
            for arc in path:
                arc.room -= 1
                arc.back.room += 1

    def _cheapest_path(self, start: int, end: int, height: list[int]) -> list[_Arc]:
        """Its arcs, last one first; none where no path is left. Raises the heights."""
        best = {start: 0}
        ways: dict[int, _Arc] = {}
        known: set[int] = set()
        queue = [(0, start)]
        while queue:
            price, node = heappop(queue)
            if node in known:
                continue
            known.add(node)
            if node == end:
                break
            for arc in self._arcs[node]:
                if arc.room and arc.to not in known:
                    total = price + arc.price + height[node] - height[arc.to]
                    if arc.to not in best or total < best[arc.to]:
                        best[arc.to], ways[arc.to] = total, arc
                        heappush(queue, (total, arc.to))
        if end not in known:
            return []
        for node in known:
            height[node] += best[node] - best[end]
        path = []
        while end != start:
            path.append(ways[end])
            end = ways[end].back.to
        return path
