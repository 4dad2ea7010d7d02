"""What lies in a container, by all that was ever said of it. Pure: in whichever order that came.

A shipment of a pallet alone names its number (SSCC) and no goods. What it holds was said by others,
perhaps in another file a month ago: these went in, those came out. Held together by when that
happened, they are the contents at the moment of the shipment.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from decimal import Decimal

import msgspec

from importers.documents.port import ForeignName, PackedGoods

#: How the SSCC of a container begins where a thing is named.
CONTAINER = "/00/"
_ITEM_CHARS = len("/01/") + 14
Contents = dict[tuple[ForeignName, str | None], Decimal]


class Packing(msgspec.Struct, frozen=True, gc=False):
    """Things went into a container, or came out of it.

    at_us: when, µs since the epoch. things: each by its own number, `/01/GTIN/21/SERIAL` or
    `/00/SSCC`. goods: by how many; both empty: all that was in it came out.
    """

    container: str
    at_us: int
    is_in: bool
    things: tuple[str, ...] = ()
    goods: tuple[PackedGoods, ...] = ()


class ContentsUnknown(Exception):
    """Nobody has said all that lies in a container; the text is a sentence with the remedy."""


def goods_inside(
    container: str,
    at_us: int,
    said: Mapping[str, Iterable[Packing]],
    beside: Collection[str],
    seen: set[str],
) -> Contents:
    """What lies in a container, and in those that lie in it.

    Args:
        container: its SSCC.
        at_us: when, µs since the epoch.
        said: of each container, by its SSCC, all that is known of it.
        beside: what the same line of goods names besides it: things by number, and `/01/GTIN` of
            which it says how many.
        seen: things that were counted for the same line of goods; it grows.

    Raises:
        ContentsUnknown: somebody has to say what is in it first.
    """
    found: Contents = {}
    new: set[str] = set()
    items = {one[:_ITEM_CHARS] for one in beside}
    left = [container]
    while left:
        inside = _Inside(left.pop(), at_us, said)
        for thing in sorted(inside.things - seen - new.union(beside)):
            new.add(thing)
            item = thing[:_ITEM_CHARS]
            if thing.startswith(CONTAINER):
                left.append(thing.removeprefix(CONTAINER))
            elif item in beside:
                raise _twice(container, item)
            else:
                _add(found, (ForeignName("gtin", item[4:]), None), Decimal(1))
        for key, quantity in inside.goods.items():
            if (item := f"/01/{key[0].code}") in items:
                raise _twice(container, item)
            _add(found, key, quantity)
    seen |= new
    return found


def containers_in(said: Iterable[Packing]) -> set[str]:
    """Containers that were ever put into these."""
    return {
        thing.removeprefix(CONTAINER)
        for one in said
        for thing in one.things
        if thing.startswith(CONTAINER)
    }


class _Inside:
    """What lies in one container. At one moment things go in, then it moves, then they come out."""

    def __init__(self, container: str, at_us: int, said: Mapping[str, Iterable[Packing]]) -> None:
        self.things: set[str] = set()
        self.goods: Contents = {}
        before = [
            one for one in said.get(container, ()) if (one.at_us, not one.is_in) <= (at_us, False)
        ]
        if not before:
            raise ContentsUnknown(
                f"Nothing says what is in the container {container}: load the events that packed "
                "it first (AggregationEvent with ADD), or beside this one."
            )
        for one in sorted(before, key=_order):
            if one.is_in:
                self._put_in(one)
            elif one.things or one.goods:
                self._take_out(one)
            else:
                self.things, self.goods = set(), {}
        if not (self.things or self.goods):
            raise ContentsUnknown(
                f"All that was in the container {container} came out before, and nothing says what "
                "went in since: load the events that packed it again, or leave it out."
            )

    def _put_in(self, one: Packing) -> None:
        self.things.update(one.things)
        for goods in one.goods:
            _add(self.goods, (goods.item, goods.unit), goods.quantity)

    def _take_out(self, one: Packing) -> None:
        missing = set(one.things) - self.things
        self.things.difference_update(one.things)
        for goods in one.goods:
            left = _add(self.goods, (goods.item, goods.unit), -goods.quantity)
            if left < 0:
                missing.add(goods.item.code)
            elif not left:
                del self.goods[goods.item, goods.unit]
        if missing:
            raise ContentsUnknown(
                f"More came out of the container {one.container} than is known to have been in "
                f"it ({min(missing)}): load the events that packed it first, or ask the sender "
                "for the goods themselves."
            )


def _order(one: Packing) -> tuple[int, bool, bool]:
    """By time; of one moment what goes in before what comes out, and all of it last."""
    return one.at_us, not one.is_in, not (one.things or one.goods)


def _add(sums: Contents, key: tuple[ForeignName, str | None], amount: Decimal) -> Decimal:
    sums[key] = found = sums.get(key, Decimal(0)) + amount
    return found


def _twice(container: str, item: str) -> ContentsUnknown:
    return ContentsUnknown(
        f"{item.removeprefix('/01/')} lies in the container {container}, and is named beside it: "
        "nothing says whether that is the same. Ask the sender for one of them alone."
    )
