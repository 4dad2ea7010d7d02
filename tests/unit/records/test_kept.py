"""`/v1/alerts` and `/v1/loads`: of each key the newest record, told as far as the look went."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from aiokafka import TopicPartition

from agents.alerts.told import AlertData, AlertMessage, DeliveryState, ToldAlert
from app.alerts.kept import kept_alerts
from app.config import Settings
from app.loading.kept import kept_loads
from app.loading.pieces import Equation
from app.loading.remembered import DocumentNote, RevokedMark, note_key, revoked_key
from domain.alerts import AlertLevel, AlertRule, AlertRules
from web.records import kept
from web.records.kept import KeptAnswers
from web.records.logs import Logs
from wire.fetch import Stored
from wire.lookback import Budget

SETTINGS = Settings()
RULES = AlertRules([AlertRule("low", 10, 14), AlertRule("out", 1, 0)])
BEGAN_MS = 1_795_600_800_000


class Topic:
    """Records of a topic, in memory; a look at it is what a look at Kafka is."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.records: dict[int, list[Stored]] = {}
        self.looks = 0
        self.reached: dict[TopicPartition, int] = {}

    def add(self, key: bytes, value: bytes | None, at_s: int = 0, partition: int = 0) -> None:
        """One more record, so many seconds after the beginning."""
        there = self.records.setdefault(partition, [])
        at_ms = BEGAN_MS + at_s * 1000
        there.append(Stored(self.name, partition, len(there), at_ms, key, value, []))

    async def beginnings(self, some: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(some, 0)

    async def ends(self, some: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        return {tp: len(self.records.get(tp.partition, [])) for tp in some}

    async def read(
        self, spans: Mapping[TopicPartition, tuple[int, int]], budget: Budget
    ) -> AsyncIterator[Stored]:
        for tp, (start, end) in spans.items():
            for record in self.records[tp.partition][start:end]:
                yield record
            self.reached[tp] = end


class TopicLogs(Logs):
    """Looks at the topics that a test wrote, and at no others."""

    def __init__(self, *topics: Topic) -> None:
        super().__init__({})
        self._topics = {topic.name: topic for topic in topics}

    @asynccontextmanager
    async def look(self, partitions: Collection[TopicPartition]) -> AsyncIterator[Any]:
        """At one topic."""
        (name,) = {tp.topic for tp in partitions}
        self._topics[name].looks += 1
        yield self._topics[name]


class Shop:
    """Both topics, and whoever answers for them."""

    def __init__(self) -> None:
        self.alerts, self.loads = Topic(SETTINGS.alerts_topic), Topic(SETTINGS.documents_topic)
        logs = TopicLogs(self.alerts, self.loads)
        self.kept = KeptAnswers(logs, kept_loads(SETTINGS), lambda role, outcome, seconds: None)
        self.kept.told = kept_alerts(SETTINGS, RULES)

    def told(self, sku: str, state: DeliveryState, at_s: int, **more: Any) -> None:
        """What was told of a SKU by a rule, as it stands from then on."""
        message = {"rule": "low", "told": AlertLevel.RAISED, "seq": 1, **more}
        one = ToldAlert(sku=sku, location="s-1", state=state, id=f"alert_{sku}", **message)
        self.alerts.add(one.key, msgspec.json.encode(one), at_s, len(sku) % 2)

    def noted(self, identity: str, at_s: int = 0, **more: Any) -> None:
        """How far a document is from then on."""
        note = {"lines": 3, "facts": 2, "digest": "d", "sha256": "5" * 64, "is_whole": True, **more}
        one = DocumentNote(file=f"{identity}.csv", **note)
        self.loads.add(note_key(identity), msgspec.json.encode(one), at_s)

    async def ask(self, path: str) -> tuple[int, Any]:
        """Status and body."""
        handlers = {route.path: route.handler for route in self.kept.routes()}
        handler: Any = handlers[path.partition("?")[0]]
        response: web.Response = await handler(make_mocked_request("GET", path))
        assert isinstance(response.body, bytes)
        return response.status, json.loads(response.body)


def body_of(on_hand: int) -> str:
    data = AlertData("low", AlertLevel.RAISED, 1, "B", "s-1", on_hand, 10, 14, 3, "0" * 16, 1)
    return msgspec.json.encode(AlertMessage("inventory.alert.raised", "", data)).decode()


async def test_of_each_row_and_rule_the_newest_message_is_told_newest_first() -> None:
    shop = Shop()
    shop.told("A", DeliveryState.PENDING, 1)
    shop.told("BB", DeliveryState.PENDING, 2, body=body_of(8))
    shop.told("A", DeliveryState.SENT, 3)
    shop.told("A", DeliveryState.DEAD, 4, rule="out", attempts=3, failed="503")
    shop.told("BB", DeliveryState.PENDING, 5, body=body_of(8), attempts=1, next_ms=BEGAN_MS)

    status, told = await shop.ask("/v1/alerts")

    assert status == 200
    assert [(one["sku"], one["rule"], one["state"]) for one in told["items"]] == [
        ("BB", "low", "pending"),
        ("A", "out", "dead"),
        ("A", "low", "sent"),
    ]
    waiting, dead, sent = told["items"]
    assert (waiting["on_hand"], waiting["attempts"], waiting["next_try"]) == (
        8,
        1,
        "2026-11-25T10:00:00.000Z",
    )
    assert (dead["failed"], dead["next_try"]) == ("503", None)
    assert (sent["at"], sent["on_hand"]) == ("2026-11-25T10:00:03.000Z", None)
    assert told["since"] is None
    assert [(rule["name"], rule["below"], rule["above"]) for rule in told["rules"]] == [
        ("low", 10, 14),
        ("out", 1, 0),
    ]


async def test_a_filter_looks_at_what_stands_now_and_not_at_what_was() -> None:
    shop = Shop()
    shop.told("A", DeliveryState.PENDING, 1)
    shop.told("A", DeliveryState.SENT, 2)
    shop.told("BB", DeliveryState.PENDING, 3, told=AlertLevel.CLEARED)

    for query, expected in (
        ("state=pending", ["BB"]),
        ("state=sent", ["A"]),
        ("state=dead", []),
        ("told=raised", ["A"]),
        ("told=cleared&state=pending", ["BB"]),
    ):
        _, told = await shop.ask(f"/v1/alerts?{query}")
        assert [one["sku"] for one in told["items"]] == expected, query


async def test_what_was_left_out_is_said_by_the_time_from_which_on_nothing_is() -> None:
    shop = Shop()
    for n in range(5):
        shop.told(f"SKU-{n}", DeliveryState.SENT, n)

    _, told = await shop.ask("/v1/alerts?limit=2")

    assert [one["sku"] for one in told["items"]] == ["SKU-4", "SKU-3"]
    assert told["since"] == "2026-11-25T10:00:02.001Z"


async def test_what_a_tombstone_took_away_is_not_told() -> None:
    shop = Shop()
    shop.told("A", DeliveryState.SENT, 1)
    (record,) = shop.alerts.records[1]
    assert record.key is not None
    shop.alerts.add(record.key, None, 2, partition=1)

    assert (await shop.ask("/v1/alerts"))[1]["items"] == []


async def test_a_worker_without_rules_says_so_and_asks_nobody() -> None:
    shop = Shop()
    shop.kept.told = None

    status, told = await shop.ask("/v1/alerts")

    assert (status, told["rules"], told["items"], shop.alerts.looks) == (200, [], [], 0)


async def test_what_a_newer_build_wrote_is_named_and_never_left_out_in_silence() -> None:
    shop = Shop()
    shop.told("A", DeliveryState.SENT, 1)
    shop.alerts.add(b"low\0B\0s-1", b'{"state":"elsewhere"}', 2)

    status, told = await shop.ask("/v1/alerts")

    assert (status, told["type"]) == (503, "/problems/log-unavailable")
    assert "onhand-alerts-0@0" in told["detail"]


async def test_a_document_is_told_with_what_became_of_its_lines() -> None:
    shop = Shop()
    sums = Equation(lines=9, facts=4, levels=1, revocations=1, not_for_stock=2, refused=1)
    shop.noted("monday", 1, is_whole=False, lines=2, facts=4, sent={"sales-3": (7, 1)}, sums=sums)
    shop.noted("older build", 2)
    shop.noted(
        "monday", 3, lines=9, facts=4, sent={"sales-3": (7, 3), "sales-4": (1, 1)}, sums=sums
    )
    shop.noted("broken off", 4, is_whole=False)
    shop.loads.add(b"bridge/shop/3", b"{}", 5)

    _, told = await shop.ask("/v1/loads")

    broken, monday, older = told["items"]
    assert (broken["document"], broken["state"]) == ("broken off", "unfinished")
    assert (monday["document"], monday["state"], monday["sent"]) == ("monday", "loaded", 4)
    assert monday["file"] == "monday.csv"
    assert monday["sums"] == {
        "lines": 9, "facts": 4, "levels": 1, "revocations": 1, "not_for_stock": 2, "refused": 1
    }  # fmt: skip
    assert (older["document"], older["sent"], older["sums"]) == ("older build", None, None)
    _, unfinished = await shop.ask("/v1/loads?state=unfinished")
    assert [one["document"] for one in unfinished["items"]] == ["broken off"]


async def test_a_document_that_was_taken_back_names_who_did_it() -> None:
    shop = Shop()
    shop.noted("A")
    shop.noted("B", called="order 7")
    shop.noted("C")
    for name in ("A", "order 7"):
        mark = RevokedMark(f"takes {name} back", 2, True)
        shop.loads.add(revoked_key(name), msgspec.json.encode(mark), 1)

    _, told = await shop.ask("/v1/loads")

    found = {one["document"]: one["taken_back_by"] for one in told["items"]}
    assert found == {"A": "takes A back", "B": "takes order 7 back", "C": None}


async def test_what_is_asked_wrongly_is_said_before_the_log_is_read() -> None:
    shop = Shop()
    for path in (
        "/v1/alerts?state=lost",
        "/v1/alerts?told=x",
        "/v1/loads?limit=0",
        "/v1/loads?x=1",
    ):
        status, told = await shop.ask(path)
        assert (status, told["type"]) == (400, "/problems/invalid-request"), path
    assert (shop.alerts.looks, shop.loads.looks) == (0, 0)


def test_states_are_those_of_who_writes_them() -> None:
    assert set(kept.ALERT_STATES) == {str(state) for state in DeliveryState}
