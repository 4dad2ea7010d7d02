"""What a release fixes for those after it, as plain data: see `tests/unit/upgrades/test_frozen.py`.

`forms` are written by one build and read by another: they stay as they are, byte for byte.
`surface` is what people and programs name: it may gain, and loses nothing.
"""

import uuid
from typing import Any

import click
import msgspec

from agents.marks import Mark, mark_key
from app import topics
from app.commands import cli
from app.config import PREFIX, Settings
from app.replay import mark_of
from app.resending import content_of
from core.positions import format_position, with_epoch
from core.refusals import DeadLetter
from core.versions import VersionBegun, VersionChange, Versions, to_bytes
from core.window import Window
from domain.events import Refusal
from domain.rows import Row, as_stored, row_key
from tables.home.changelog import Meta, letter_record
from tables.keys import META_KEY
from tests.unit.web.metrics_at_rest import metrics_at_rest
from web.cluster.freshness import FRESHNESS_HEADERS
from web.cluster.heartbeats import Claim, Heartbeat, HeldUp, bytes_of
from web.cluster.peers import hop_headers, through_door
from web.http.problems import Problem
from web.openapi.document import document
from web.reads.replies import etag
from web.writes.lines import TYPE_OF_PATH, derived_id

SHOP = Settings(name="shop", topic_prefix="eu.", version=7, replication=3)
ROW = Row(10, 1, 3, 2, -1, 6, 0xFEDCBA9876543210, 1_795_000_000_000)


def forms() -> dict[str, Any]:
    """Bytes and names that builds hand to each other."""
    return {
        "topics": {
            topic.name: [topic.partitions, topic.config["cleanup.policy"]]
            for topic in topics.desired(SHOP)
        },
        "groups": [SHOP.group, SHOP.ledger_group, SHOP.bridge_group("tills")],
        "transactional ids": [SHOP.transactional_id(3), SHOP.bridge_transactional_id("tills", 3)],
        "row": [_text(row_key("Käse", "store-007")), [_text(row) for row in _rows()]],
        "meta": [_text(META_KEY), _text(msgspec.json.encode(_META))],
        "window": _window(),
        "heartbeat": _text(bytes_of(_BEAT)),
        "versions": _text(to_bytes(_VERSIONS)),
        "bridge mark": [_text(mark_key("tills", 3)), _text(msgspec.json.encode(_MARK))],
        "replayed": _text(
            mark_of("eu.sales-3@17", content_of("sales", b"Tee", b"{}", [("a", b""), ("b", None)]))
        ),
        "dead letter": _dead_letter(),
        "ids from Idempotency-Key": [
            derived_id("till-17", "delivery 4711", type_, "Käse", "store-007", rank)
            for type_ in TYPE_OF_PATH.values()
            for rank in (0, 1)
        ],
        "between workers": [
            hop_headers(7).splitlines(),
            through_door("GET", "http://10.0.0.7:6066", "/v1/x", 7, 5, "", b"")
            .decode()
            .splitlines(),
        ],
        "etag": etag(7, ROW),
        "position": with_epoch(format_position({("eu.sales", 3): 17, ("eu.shipments", 3): 4}), 5),
    }


def surface() -> dict[str, list[str]]:
    """Names that somebody outside has written down, sorted."""
    found = {
        "settings": [PREFIX + name.upper() for name in Settings.__struct_fields__],
        "commands": list(_commands(cli, "onhand")),
        "metrics": [
            f"{name}{sorted(labels)}" for name, labels in metrics_at_rest().items()
        ],
        "problems": list(Problem),
        "refusals": list(Refusal),
        "headers": list(FRESHNESS_HEADERS),
        "http": list(_calls(document("", ""))),
    }  # fmt: skip
    return {what: sorted(map(str, names)) for what, names in found.items()}


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode()


def _rows() -> list[bytes]:
    return [*as_stored([msgspec.structs.astuple(row) for row in (ROW, Row(), Row(sold=1))])]


def _window() -> list[list[str]]:
    window = Window("eu.sales", 100)
    window.judge([5, 8], [2**56 - 1, 7], [2**32 - 1, 9])
    taken = window.take(9)
    return [[key.hex(), value.hex()] for key, value in taken.segments]


def _dead_letter() -> list[Any]:
    letter = DeadLetter(
        "eu.sales", 3, 17, 1_795_000_000_000, b"Tee", b"{}", [("a", b"")], "bad_data", "no quantity"
    )
    key, value, headers = letter_record(letter, ())
    return [_text(key), _text(value), [[name, _text(content)] for name, content in headers]]


def _commands(command: click.Command, name: str) -> Any:
    for parameter in command.params:
        options = [text for text in parameter.opts if text.startswith("--")]
        yield from (f"{name} {option}" for option in options)
    yield name
    for word, each in getattr(command, "commands", {}).items():
        yield from _commands(each, f"{name} {word}")


def _calls(whole: dict[str, Any]) -> Any:
    for path, methods in whole["paths"].items():
        for method, call in methods.items():
            what = f"{method.upper()} {path}"
            yield from (f"{what} ?{its['name']}" for its in call.get("parameters", ()))
            yield from (f"{what} -> {status}" for status in call["responses"])
    for schema, its in whole["components"]["schemas"].items():
        yield from (f"{schema}.{field}" for field in its.get("properties", ()))


_INCARNATION = str(uuid.UUID(int=7))
_META = Meta(
    positions={"eu.sales": 18},
    fingerprints={"eu.sales": (1_795_000_000_000, 4711)},
    counts={"eu.sales": (15, 2, 1)},
    window=100_000,
    rules=2,
    incarnation=_INCARNATION,
    last={"eu.sales": (17, 1_795_000_000_000, 4711)},
    topic_ids={"eu.sales": _INCARNATION},
    previous=3,
)
_MARK = Mark("tills", _INCARNATION, 18)
_BEAT = Heartbeat(
    version=7,
    rules=2,
    build="0.1.0",
    url="http://10.0.0.7:6066",
    instance="a1",
    sequence=3,
    claims=(
        Claim(
            partition=3,
            state="active",
            role="active",
            epoch=2,
            handled=23,
            position="eu.sales-3@17",
            lag_events=1,
            as_of_ms=1_795_000_000_000,
            standby_lag_records=4,
            restore_done=5,
            restore_total=6,
            held_up=(HeldUp("eu.sales", 18, "transaction", 1_795_000_000_000),),
            stopped_because="A sentence.",
        ),
    ),
    window=100_000,
    epoch=5,
    kind="ledger",
)
_VERSIONS = Versions(
    epoch=5,
    change=VersionChange.PROMOTE,
    active=7,
    previous=6,
    staged=8,
    retired=(1, 2),
    versions={"7": VersionBegun(2, 100_000)},
    positions="eu.sales-3@17",
    by="ann@10.0.0.7",
    at="2026-11-23T10:00:00.123Z",
    note="why",
    forced=("lag",),
    retiring=(2,),
)
