"""The short way to a row gives the same answer as the long one, or leaves it alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping

import pytest
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st

from core.stages import Role
from tests.support.inside.desk import Desk
from web.cluster.heartbeats import Claim, Heartbeat

SKU, LOCATION = "SKU-1", "store-7"
PATH = f"/v1/inventory/{SKU}/{LOCATION}"


class QuickDesk(Desk):
    """One that has a row, and is asked the short way."""

    def __init__(self, role: Role = Role.ACTIVE) -> None:
        super().__init__()
        self.shelf.hold(range(4), role, sales=10)
        self.shelf.put(SKU, LOCATION, received=5, events=1, checksum=7, updated_at=1764000000123)
        self.partition = self.shelf.partition_of(SKU)

    def quick(self, target: str = PATH, *lines: str) -> tuple[Mapping[str, str], bytes] | None:
        answer = self.queries.quick(a_head(target, *lines))
        if answer is None:
            return None
        head, _, body = answer.partition(b"\r\n\r\n")
        status, *headers = head.decode().split("\r\n")
        assert status == "HTTP/1.1 200 OK"
        return dict(line.split(": ", 1) for line in headers), body


def a_head(target: str = PATH, *lines: str, method: str = "GET") -> bytes:
    return "\r\n".join((f"{method} {target} HTTP/1.1", "Host: here", *lines, "", "")).encode()


@given(
    sku=st.from_regex(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}", fullmatch=True),
    sums=st.fixed_dictionaries(
        {
            "received": st.integers(0, 2**63),
            "sold": st.integers(0, 2**63),
            "adjusted": st.integers(-(2**63), 2**63),
            "events": st.integers(0, 2**40),
            "checksum": st.integers(0, 2**64 - 1),
            "updated_at": st.integers(0, 4102444800000),
        }
    ),
)
def test_both_ways_give_the_same_bytes(sku: str, sums: dict[str, int]) -> None:
    desk = QuickDesk()
    desk.shelf.put(sku, LOCATION, **sums)
    path = f"/v1/inventory/{sku}/{LOCATION}"

    quick = desk.quick(path)
    slow = asyncio.run(desk.queries.answer(make_mocked_request("GET", path)))

    assert quick is not None
    headers, body = quick
    assert isinstance(slow.body, bytes)  # type: ignore[attr-defined]  # a Response
    assert body == slow.body  # type: ignore[attr-defined]
    assert int(headers["Content-Length"]) == len(body)
    assert {k: v for k, v in headers.items() if k not in ("Date", "Content-Length")} == dict(
        slow.headers
    )
    assert desk.counted == [("active", "found")] * 2


@pytest.mark.parametrize(
    "line",
    [
        "User-Agent: curl/8.1 (x; y)",
        "ACCEPT: */*",
        "accept-encoding: gzip, deflate",
        "Connection: keep-alive",
        "Onhand-Hop: 1",
        "Onhand-Version: 1",
        "X-Request-Id: 7",
    ],
)
def test_what_every_client_sends_is_taken(line: str) -> None:
    assert QuickDesk().quick(PATH, line) is not None


@pytest.mark.parametrize(
    "line",
    [
        'If-None-Match: W/"x"',
        "Connection: close",
        "Connection: Upgrade",
        "Content-Length: 0",
        "Content-Length: 5",
        "Transfer-Encoding: chunked",
        "Expect: 100-continue",
        "Upgrade: h2c",
        "Onhand-Version: 2",
        "Onhand-Partitions: 1",
        "Range: bytes=0-1",
        "X-New: 1",
        "Host : here",
        " folded: 1",
        "User-Agent: caf\u00e9",
        "User-Agent: a\x00b",
        "no colon",
    ],
)
def test_what_could_change_the_answer_goes_the_long_way(line: str) -> None:
    assert QuickDesk().quick(PATH, line) is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        a_head()[:-1],
        a_head() + a_head(),
        a_head() + b"x",
        a_head(method="HEAD"),
        a_head(method="POST"),
        a_head(method="get"),
        a_head().replace(b"HTTP/1.1", b"HTTP/1.0"),
        a_head("/v1/inventory/SKU-1"),
        a_head("/v1/inventory/SKU-1/"),
        a_head("/v1/inventory//store-7"),
        a_head("/v1/inventory/SKU%2D1/store-7"),
        a_head("/v1/inventory/../store-7"),
        a_head("/v1/inventory/SKU-1/.."),
        a_head("/v1/inventory/SKU-1/store-7/x"),
        a_head(PATH + "?"),
        a_head(PATH + "?color=red"),
        a_head(PATH + "?version=2"),
        a_head(PATH + "?%76ersion=2"),
        a_head(PATH + "?max%5Flag_events=1"),
        a_head(PATH + "?max_lag_events=%31"),
        a_head(PATH + "&max_lag_events=1"),
        a_head(PATH + "?max_lag_events=-1"),
        a_head(PATH + "?max_lag_events=1&max_lag_events=2"),
        a_head(PATH + "?min_position=sales-0@1&wait_ms=1?max_lag_events=1"),
        a_head(PATH + "?min_position=sales-0@1&wait_ms=10001"),
        a_head(PATH + "?min_position=sales-0@1&wait_ms=1&wait_ms=2"),
        a_head("/v1/inventory/" + "x" * 129 + "/store-7"),
        a_head("/v1/inventory/nothing/store-7"),
        a_head(PATH, "User-Agent: " + "x" * 5000),
    ],
)
def test_all_but_one_whole_plain_request_for_a_row_goes_the_long_way(data: bytes) -> None:
    assert QuickDesk().queries.quick(data) is None


def test_a_partition_that_somebody_else_owns_goes_the_long_way_unless_by_a_hop() -> None:
    desk = QuickDesk(Role.STANDBY)
    claim = Claim(partition=desk.partition, state="active", role=Role.ACTIVE, handled=10)
    other = Heartbeat(1, 1, "", "http://owner", "owner", 1, claims=(claim,))
    desk.roster.hear(other, 1_000_000)

    assert desk.quick() is None
    by_a_hop = desk.quick(PATH, "Onhand-Hop: 1")
    assert by_a_hop is not None
    assert by_a_hop[0]["Onhand-Role"] == "standby"


@pytest.mark.parametrize(("lag", "most", "is_here"), [(3, 3, True), (4, 3, False), (0, 0, False)])
def test_a_standby_answers_by_itself_who_takes_an_answer_as_far_behind_as_it_is(
    lag: int, most: int, is_here: bool
) -> None:
    desk = QuickDesk(Role.STANDBY)
    desk.shelf.hold(range(4), Role.STANDBY, sales=10, lag=lag)
    claim = Claim(partition=desk.partition, state="active", role=Role.ACTIVE, handled=10 + lag)
    owner = Heartbeat(1, 1, "", "http://owner", "owner", 1, claims=(claim,))
    desk.roster.hear(owner, 1_000_000)

    answer = desk.quick(f"{PATH}?max_lag_events={most}")

    assert (answer is not None) is is_here
    if answer is not None:
        assert (answer[0]["Onhand-Role"], answer[0]["Onhand-Lag-Events"]) == ("standby", str(lag))


def test_a_partition_that_loads_goes_the_long_way() -> None:
    desk = QuickDesk()
    desk.shelf.load(desk.partition)

    assert desk.quick() is None
    assert desk.quick(PATH, "Onhand-Hop: 1") is None


def test_a_position_that_is_reached_is_answered_and_one_that_is_not_goes_the_long_way() -> None:
    desk = QuickDesk()
    at = f"?min_position=sales-{desk.partition}@{{}}&wait_ms=100"

    assert desk.quick(PATH + at.format(9)) is not None
    assert desk.quick(PATH + at.format(10)) is None
    desk.shelf.advance(desk.partition, 11)
    assert desk.quick(PATH + at.format(10)) is not None


def test_an_answer_older_than_one_given_before_goes_the_long_way() -> None:
    desk = QuickDesk()
    assert desk.quick() is not None

    desk.shelf.advance(desk.partition, 9)

    assert desk.quick() is None


def test_freshness_is_that_of_the_moment() -> None:
    desk = QuickDesk()
    first = desk.quick()
    desk.shelf.advance(desk.partition, 11, lag=3)
    second = desk.quick()

    assert first is not None
    assert second is not None
    assert first[0]["Onhand-Position"] == f"sales-{desk.partition}@9"
    assert second[0]["Onhand-Position"] == f"sales-{desk.partition}@10"
    assert json.loads(second[1])["freshness"]["lag_events"] == 3
