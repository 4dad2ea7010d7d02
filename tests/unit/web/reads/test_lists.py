"""Pages of a list: right while rows change, partitions move and some cannot be asked."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable, Sequence
from typing import Any
from unittest.mock import patch

import pytest
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st

from core.stages import Role
from domain.lookup import NotReady
from domain.rows import Row
from tests.support.inside.shelf import TOPICS, Shelf
from web.cluster.admission import ANYTHING, Admission, Asked, Unanswered
from web.cluster.exchange import PeerFailed
from web.cluster.freshness import FreshnessBody
from web.cluster.heartbeats import Heartbeat
from web.cluster.peers import Peers
from web.cluster.roster import Holder, Roster
from web.cluster.routing import Attempts, Patience, Router, Target
from web.http.bodies import BodyLimits
from web.http.pacing import Lane
from web.http.parameters import BadRequest
from web.http.times import rfc3339
from web.reads import cursors, merging
from web.reads.cursors import START, LastGiven, RowKey
from web.reads.gathering import Gathering, _worst
from web.reads.lists import list_rows
from web.reads.merging import Source, merge
from web.reads.parameters import Filters
from web.reads.questions import ListQuestion, Questions
from web.reads.replies import RowBody, row_body
from web.reads.spreading import AskOne, Gathered, Part, Spread

PARTITIONS = 4


class Split(Gathering[Any]):
    """Partitions asked in groups, as if several workers held them; some by nobody."""

    groups: Sequence[int] = (0,) * PARTITIONS
    away: Iterable[int] = ()

    def spread(
        self, asked: Asked, patience: Patience, partitions: Iterable[int], ask: AskOne[Any]
    ) -> Spread[Any]:
        spread = SplitSpread(self.router, asked, patience, partitions, ask)
        spread.groups, spread.away = self.groups, self.away
        return spread


class SplitSpread(Spread[Any]):
    groups: Sequence[int]
    away: Iterable[int]

    async def gather(self) -> Gathered[Any]:
        here = [p for p in self.attempts if p not in self.away]
        refused: dict[int, Unanswered] = {
            p: NotReady("away", 1) for p in self.attempts if p in self.away
        }
        asked_for = [[p for p in here if self.groups[p] == g] for g in sorted(set(self.groups))]
        return [await self.ask(None, group) for group in asked_for if group], refused


def a_split(shelf: Shelf) -> Split:
    me = Heartbeat(version=1, rules=1, build="", url="http://me", instance="me", sequence=0)
    admission = Admission(shelf, TOPICS)
    return Split(shelf, Router(shelf, Roster(me), Peers(), admission), Lane(), 1)


def a_shelf() -> Shelf:
    shelf = Shelf(PARTITIONS)
    shelf.hold(range(PARTITIONS), sales=1)
    return shelf


async def a_page(gathering: Gathering[Any], query: str) -> Any:
    request = make_mocked_request("GET", f"/v1/inventory?{query}")
    question = await Questions(PARTITIONS, 1, BodyLimits()).of(request)
    assert isinstance(question, ListQuestion)
    response = await list_rows(gathering, question)
    assert isinstance(response.body, bytes)
    body = json.loads(response.body)
    return body if response.status == 200 else body["type"]


def keys(items: Iterable[Any]) -> list[RowKey]:
    return [(item["sku"], item["location"]) for item in items]


# Characters whose order differs between UTF-8 and UTF-16, and neighbours of the separator.
names = st.text(alphabet="aB!~é\uffee\U0001f4e6", min_size=1, max_size=3)
stock = st.dictionaries(st.tuples(names, names), st.integers(-3, 3), max_size=40)
# Enough rows that a partition which was left behind has some before the others' places.
much_stock = st.dictionaries(st.tuples(names, names), st.integers(-3, 3), min_size=15, max_size=40)
groups = st.lists(st.integers(0, 2), min_size=PARTITIONS, max_size=PARTITIONS)
away = st.sets(st.integers(0, PARTITIONS - 1), max_size=PARTITIONS - 1)
few = patch.multiple(merging, MAX_EXAMINED=3, FIRST_CHUNK=1, LAST_CHUNK=2)


@few
@given(stock=stock, limit=st.integers(1, 7), below=st.none() | st.integers(-3, 3), data=st.data())
async def test_pages_put_together_are_the_list_in_utf8_order(
    stock: dict[RowKey, int], limit: int, below: int | None, data: st.DataObject
) -> None:
    shelf = a_shelf()
    for (sku, location), on_hand in stock.items():
        shelf.put(sku, location, adjusted=on_hand)
    gathering, query, found = a_split(shelf), f"limit={limit}", list[RowKey]()
    if below is not None:
        query += f"&on_hand_below={below}"

    cursor: str | None = ""
    while cursor is not None:
        gathering.groups = data.draw(groups)
        page = await a_page(gathering, query + (f"&cursor={cursor}" if cursor else ""))
        assert len(page["items"]) <= limit
        found += keys(page["items"])
        cursor = page["next_cursor"]

    wanted = [key for key, on_hand in stock.items() if below is None or on_hand < below]
    assert found == sorted(wanted, key=lambda key: (key[0].encode(), key[1].encode()))


@few
@given(stock=much_stock, more=stock, limit=st.integers(1, 7), data=st.data())
async def test_no_row_is_lost_or_comes_twice_while_rows_change_and_partitions_come_and_go(
    stock: dict[RowKey, int], more: dict[RowKey, int], limit: int, data: st.DataObject
) -> None:
    shelf = a_shelf()
    for (sku, location), on_hand in stock.items():
        shelf.put(sku, location, adjusted=on_hand)
    gathering, found, cursor = a_split(shelf), list[RowKey](), ""
    arriving = list(more.items())

    for turn in range(1000):
        gathering.groups = data.draw(groups)
        gathering.away = data.draw(away) if turn < 6 else ()
        page = await a_page(
            gathering, f"limit={limit}&partial=true" + (f"&cursor={cursor}" if cursor else "")
        )
        if page == "/problems/partitions-unavailable":
            continue  # nothing is left but what is away: the same cursor again, later
        assert set(page["missing_partitions"]) <= set(gathering.away)
        got = keys(page["items"])
        assert got == sorted(got)
        found += got
        cursor = page["next_cursor"]
        if cursor is None:
            assert not page["missing_partitions"]
            break
        for (sku, location), on_hand in arriving[:3]:
            shelf.put(sku, location, adjusted=on_hand)
        arriving = arriving[3:]

    assert len(found) == len(set(found))
    assert set(stock) <= set(found) <= set(stock) | set(more)


async def test_an_incomplete_list_is_refused_unless_asked_for() -> None:
    gathering = a_split(a_shelf())
    gathering.away = (1, 3)

    refused = await a_page(gathering, "")
    partial = await a_page(gathering, "partial=true")

    assert refused == "/problems/partitions-unavailable"
    assert partial["missing_partitions"] == [1, 3]
    assert partial["next_cursor"] is not None


async def test_a_list_of_nothing_at_all_is_refused_also_when_partial() -> None:
    gathering = a_split(a_shelf())
    gathering.away = range(PARTITIONS)

    assert await a_page(gathering, "partial=true") == "/problems/partitions-unavailable"


async def test_a_row_beyond_the_lowest_frontier_waits_for_the_next_page() -> None:
    early = Source([], ("m", "x"))
    late = Source([_row("a"), _row("z")], None)

    async with Lane().turn() as pacer:
        page, reached = await merge([early, late], 10, pacer)

    assert [row.sku for row in page] == ["a"]
    assert reached == ("m", "x")


async def test_a_page_says_how_fresh_its_worst_part_is() -> None:
    shelf = a_shelf()
    shelf.advance(2, 5, lag=9)

    page = await a_page(a_split(shelf), "")

    assert page["freshness"]["lag_events"] == 9
    assert page["freshness"]["partition"] == 2
    assert sorted(page["positions"].split(",")) == [
        "sales-0@0",
        "sales-1@0",
        "sales-2@4",
        "sales-3@0",
    ]
    assert await a_page(a_split(shelf), "max_lag_events=8") == "/problems/too-stale"


def test_of_parts_equally_far_behind_the_worst_is_the_one_that_a_broker_told_of_longest_ago() -> (
    None
):
    old, new = (
        FreshnessBody(Role.ACTIVE, "http://me", at, "sales-0@1", 5, rfc3339(at))
        for at in (1_000, 2_000)
    )

    assert _worst([new, old]) == _worst([old, new]) == old


class Planned(Router):
    """Asks these, in this order, for whatever partition."""

    def attempts(self, partition: int, asked: Asked, patience: Patience) -> Attempts:
        targets = [Holder(url, Role.ACTIVE, 1, leaving=False) for url in ("first", "second")]
        return Attempts(partition, targets, patience.hedge_s, time.monotonic() + 30, waits=False)


@pytest.mark.parametrize("first", ["fails", "knows half"])
async def test_the_next_worker_is_asked_once_when_the_first_is_slow_and_then_of_no_use(
    first: str,
) -> None:
    gathering = a_split(a_shelf())
    roster, admission = gathering.router._roster, gathering.router.admission
    router = Planned(gathering.table, roster, Peers(), admission)
    asked: list[str] = []
    second_asked, first_done = asyncio.Event(), asyncio.Event()

    async def ask(target: Target, partitions: Sequence[int]) -> Part[str]:
        assert target is not None
        asked.append(target.url)
        if target.url == "second":
            second_asked.set()
            await first_done.wait()
            return Part("all", None, "", {})
        await second_asked.wait()
        # The next turn of the loop is the one in which somebody could be asked again.
        asyncio.get_running_loop().call_later(0.05, first_done.set)
        if first == "fails":
            raise PeerFailed("gone")
        return Part("half", None, "", {partitions[0]: NotReady("not here", 1)})

    parts, refused = await Spread(router, ANYTHING, Patience(30, 0.01), [0, 1], ask).gather()

    assert asked == ["first", "second"]
    assert ([part.found for part in parts], refused) == (["all"], {})


async def test_a_partition_that_leaves_during_a_scan_ends_the_page_not_the_list() -> None:
    shelf = Shelf(1)
    shelf.hold([0], sales=1)
    for number in range(100):
        shelf.put(f"{number:03d}", "x", adjusted=1)
    taken = 0
    async with Lane().turn() as pacer:
        scan = merging.Scan(shelf, 0, START, Filters(), pacer)
        while (await scan.head()) is not None:
            scan.take()
            taken += 1
            if taken == 10:
                shelf.drop(0)

    assert taken == 32
    assert scan.frontier == ("031", "x")
    assert not scan.is_spent()


@given(places=st.lists(st.none() | st.just(START) | st.tuples(names, names), min_size=1))
def test_a_cursor_survives_its_way_through_the_client(places: list[LastGiven]) -> None:
    filters = Filters(location="store-1")
    token = cursors.token_of(filters, places)

    if token is None:
        assert set(places) == {None}
    else:
        assert token.replace("-", "").replace("_", "").isalnum()
        assert cursors.places_of(token, filters, len(places)) == places


@pytest.mark.parametrize("token", ["x", "W10", "é", "WzEsW11d", "WzEsW1tudWxsLFs5XV1dXQ"])
def test_what_is_no_cursor_is_a_400(token: str) -> None:
    with pytest.raises(BadRequest):
        cursors.places_of(token, Filters(), 4)


def test_a_cursor_of_another_list_is_a_400() -> None:
    token = cursors.token_of(Filters(location="a"), [("k", "l")])

    with pytest.raises(BadRequest, match="other filters"):
        cursors.places_of(token, Filters(location="b"), 1)


def _row(sku: str) -> RowBody:
    return row_body(sku, "x", Row())
