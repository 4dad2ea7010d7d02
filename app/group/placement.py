"""Who owns which partition and who stands by for it: a pure function of what the workers hold.

Two cheapest flows, one after the other, as Kafka Streams places its tasks since KIP-925:
a rule is a price, and of two rules that disagree the dearer one wins. Heuristics in their
place either miss a copy that somebody holds or move what could have stayed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from heapq import heappop, heappush
from typing import Any, TypeAlias, TypeVar

import msgspec

W = TypeVar("W", str, tuple[str, str])
Node: TypeAlias = object
#: (partition, number of a worker).
Copies: TypeAlias = Set[tuple[int, int]]

#: A copy that lacks no more changelog records than `WARM` is warm: they are restored within the
#: pause that a rebalance makes anyway. So is one that lacks a twentieth, up to `STILL_WARM`: in
#: heavy traffic a standby lacks that much by the time that its group is placed.
WARM = 10_000
STILL_WARM = 100_000


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
    """What one worker gets.

    warming: those of `standbys` that it will own as soon as its copy is warm.
    """

    actives: frozenset[int]
    standbys: frozenset[int]
    warming: frozenset[int] = frozenset()


def place(workers: Mapping[W, Holdings], partitions: int, standbys: int) -> dict[W, Duties]:
    """Give every partition one owner and as many standbys as there are other workers for.

    Owners, the strictest rule first:

    1. None is a worker whose copy is cold, that is, lacks more than `WARM` records of the
       fullest: it would restore them, and nobody would count meanwhile. It warms up first.
    2. Each worker owns as many as any other, or one more.
    3. As few as possible go to a worker without a copy.
    4. As few as possible move. After 3, since the move of a partition to its standby
       costs no more than staying: a rebalance takes over again what was kept, too.
    5. Of several copies the fullest.

    Who warms up: if 1 stands in the way of 2, those who would own without it follow what
    they would own. Once they are warm the group has to be placed again.

    Standbys: never with the owner, never twice with one worker; then

    1. owned and followed together, each worker has as much as any other, or one more;
    2. who warms up is one of them, or one more where there is no room;
    3. who follows already, or was the owner, goes on; else who has a copy;
    4. the partitions of one owner have their standbys with different workers, so that its
       death is shared by all;
    5. the fullest copy.

    Args:
        workers: all members of the group, by a name that also breaks ties.
        partitions: how many there are.
        standbys: how many copies of each partition there should be beside the owner's.
    """
    names = sorted(workers)
    holdings = [workers[name] for name in names]
    cold = {(p, w) for p in range(partitions) for w in _cold(holdings, p)}
    wanted = owners = _owners(holdings, partitions, cold, frozenset())
    if any((p, owner) in cold for p, owner in enumerate(wanted)):
        owners = _owners(holdings, partitions, cold, never=cold)
        if _balance(owners) == _balance(wanted):
            wanted = owners
    followers = _followers(holdings, owners, wanted, standbys)
    return {
        name: Duties(
            frozenset(p for p, owner in enumerate(owners) if owner == w),
            frozenset(p for p, those in enumerate(followers) if w in those),
            frozenset(p for p, owner in enumerate(owners) if owner != wanted[p] == w),
        )
        for w, name in enumerate(names)
    }


def _owners(workers: list[Holdings], partitions: int, cold: Copies, never: Copies) -> list[int]:
    """The number of the owner of each partition; none of it is in `never`."""
    flow = _Flow()
    least = partitions // len(workers)
    rank, move, restore, load = _prices(partitions * len(workers))
    for w in range(len(workers)):
        flow.arc(("worker", w), "sink", 0, least)
        # More than one more: where copies are cold.
        for nth in range(1, partitions - least + 1 if never else 2):
            flow.arc(("worker", w), "sink", load * nth)
    for p in range(partitions):
        kept = _living_owner(workers, p)
        flow.arc("source", p, 0)
        for w, worker in enumerate(workers):
            if (p, w) not in never:
                price = 0 if w == kept else move + rank * _fuller(workers, p, w)
                has_copy = (w == kept or p in worker.copies) and (p, w) not in cold
                flow.arc(p, ("worker", w), price + (0 if has_copy else restore))
    flow.send("source", "sink")
    return [w for p in range(partitions) for _, w in flow.used(p)]


def _balance(owners: Sequence[int]) -> list[int]:
    """How many each owner has, the most first."""
    return sorted(map(owners.count, set(owners)), reverse=True)


def _followers(
    workers: list[Holdings], owners: list[int], wanted: list[int], each: int
) -> list[set[int]]:
    """The numbers of those who stand by, for each partition."""
    flow = _Flow()
    most = 3 * len(owners) * len(workers) * (each + 1)
    rank, apart, restore, warm, load = _prices(most, 5)
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
                # Where none warms up, all cost the same.
                flow.arc(p, ("for", owner, w), price + warm * (w != wanted[p]))
    flow.send("source", "sink")
    return [
        {w for _, _, w in flow.used(p)} | ({wanted[p]} - {owner}) for p, owner in enumerate(owners)
    ]


def _cold(workers: list[Holdings], p: int) -> list[int]:
    """The numbers of those whose copy lacks more of the fullest than a warm one may."""
    reached = [worker.copies.get(p, 0) for worker in workers]
    fullest = max(reached)
    may_lack = max(WARM, min(fullest // 20, STILL_WARM))
    return [w for w, at in enumerate(reached) if fullest - at > may_lack]


def _living_owner(workers: list[Holdings], p: int) -> int | None:
    """Of several (one slept through a rebalance) the one whose store is ahead."""
    claims = [(held.copies.get(p, -1), w) for w, held in enumerate(workers) if p in held.actives]
    return max(claims)[1] if claims else None


def _fuller(workers: list[Holdings], p: int, w: int) -> int:
    """How many have a fuller copy than this one."""
    mine = workers[w].copies.get(p, -1)
    return sum(worker.copies.get(p, -1) > mine for worker in workers)


def _prices(most: int, count: int = 4) -> Iterator[int]:
    """So many prices; the sum of all that can be paid of one is below the next."""
    return ((most + 1) ** power for power in range(count))


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
