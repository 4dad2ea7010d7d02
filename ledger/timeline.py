"""The facts of one row in the order of a clock, each with the balance after it.

By recorded time they stand in the order of (log_at, topic, offset), by occurred time in that of
(occurred_at, topic, offset). All pages of one reading are of the prefix that the first page was
of: facts that come meanwhile move nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import merge
from itertools import islice
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, func, select, tuple_

from ledger.books import APPLIED, TOPICS, Stand
from ledger.history import CHANGE, ENTRIES, Entry, Ledger, Prefix, counted, entry_of, of_row, within
from ledger.schema import event_table

_of: Final = event_table.c


class Wish(NamedTuple):
    """Which facts.

    prefix: the prefix. by_occurred: the clock; else by recorded time. since, before: times by
    that clock, in µs since the epoch, the second exclusive. newest_first: the order.
    after: go on behind this one. everything: also what was repeated or refused.
    """

    sku: str
    location: str
    prefix: Prefix
    by_occurred: bool = False
    since: int | None = None
    before: int | None = None
    newest_first: bool = False
    limit: int = 50
    after: Stand | None = None
    everything: bool = False


class Leaf(NamedTuple):
    """One page. facts: with balances, in the order wished. next: `after` of the next page."""

    facts: list[Entry]
    next: Stand | None


def leaf(ledger: Ledger, wish: Wish) -> Leaf:
    """Answer; raises DBAPIError."""
    found = list(islice(_found(ledger, wish), wish.limit + 1))
    facts = found[: wish.limit]
    if not facts:
        return Leaf([], None)
    in_order = facts[::-1] if wish.newest_first else facts
    balance = _balance_before(ledger, wish, _stand(wish, in_order[0]))
    told = []
    for fact in in_order:
        balance += fact.change
        told.append(fact._replace(balance=balance))
    last = _stand(wish, facts[-1]) if len(found) > wish.limit else None
    return Leaf(told[::-1] if wish.newest_first else told, last)


def _stand(wish: Wish, fact: Entry) -> Stand:
    time = fact.occurred_at if wish.by_occurred else fact.log_at
    assert time is not None  # of every line that names a row
    return time, fact.topic, fact.offset


def _clock(wish: Wish) -> ColumnElement[int]:
    return _of.occurred_at if wish.by_occurred else _of.log_at


def _found(ledger: Ledger, wish: Wish) -> Iterator[Entry]:
    """Facts behind `after`, one more than wished."""
    clock = _clock(wish)
    conditions = [*of_row(wish.sku, wish.location), within(wish.prefix.cut)]
    if not wish.everything:
        conditions.append(_of.outcome == APPLIED)
    if wish.since is not None:
        conditions.append(clock >= wish.since)
    if wish.before is not None:
        conditions.append(clock < wish.before)
    # Each topic by itself stands in the index in this order, so that a page of a large row
    # reads a page. All facts of a row are of one partition.
    each = (_of_topic(ledger, wish, topic, conditions) for topic in range(len(TOPICS)))
    return merge(*each, key=lambda fact: _stand(wish, fact), reverse=wish.newest_first)


def _of_topic(
    ledger: Ledger, wish: Wish, topic: int, conditions: Sequence[ColumnElement[bool]]
) -> list[Entry]:
    clock = _clock(wish)
    query = ENTRIES.where(_of.topic == topic, *conditions)
    if wish.after is not None:
        time, at_topic, offset = wish.after
        here, there = tuple_(clock, _of.off), tuple_(time, offset)
        if topic == at_topic:
            query = query.where(here < there if wish.newest_first else here > there)
        elif (topic < at_topic) == wish.newest_first:
            query = query.where(clock <= time if wish.newest_first else clock >= time)
        else:
            query = query.where(clock < time if wish.newest_first else clock > time)
    order: Any = (clock, _of.off)
    if wish.newest_first:
        order = (clock.desc(), _of.off.desc())
    found = ledger.connection.execute(query.order_by(*order).limit(wish.limit + 1))
    return [entry_of(line) for line in found]


def _balance_before(ledger: Ledger, wish: Wish, stand: Stand) -> int:
    here = tuple_(_clock(wish), _of.topic, _of.off)
    query = select(func.coalesce(func.sum(CHANGE), 0)).where(
        *of_row(wish.sku, wish.location),
        *counted(Prefix(wish.prefix.cut)),
        here < tuple_(*stand),
    )
    return int(ledger.connection.execute(query).scalar_one())
