"""What /asyncapi.json says of topics: all of them, as they are made, and as records really are."""

import base64
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import UNSET

from app import topics
from app.channels.document import topics_document
from app.channels.facts import message_name
from app.config import Settings
from app.loading.remembered import (
    DocumentNote,
    RevokedMark,
    note_key,
    packed_key,
    revoked_key,
)
from core.refusals import DeadLetter
from domain.fates import Ending
from domain.rules.held import NEWEST
from importers.documents.containers import Packing
from importers.documents.port import ForeignName, PackedGoods
from tables.home.changelog import MAX_DEAD_LETTER_BYTES, letter_record
from tests.support.judges.asyncapi_check import TopicContract
from tests.support.judges.frozen import SHOP, forms
from web.feed.asked import FOLLOWED, Event, Form, ToldFactBody
from web.feed.pages import line_of_stream
from web.feed.rows import ResetBody, ResetReason, ToldRowBody

TESTS = Path(__file__).parents[2]
SCHEMAS = TESTS.parent / "schemas"
DOCUMENT = topics_document(SHOP, "0.2.0")
PLAIN = Settings()
CONTRACT = TopicContract(topics_document(PLAIN, "0.2.0"))
#: Of what is refused, that which no schema can tell by looking at one record's texts.
BEYOND_A_SCHEMA = {
    "a time that is none",  # of the right shape: 30 February, second 60
    "a lone surrogate in a name",
    "not JSON",  # a BOM, NaN, too deep: JSON to a parser that lets it pass
    "binary mode, a source that is not UTF-8",
    "data_base64: no JSON inside",
    "data_base64: nothing",
    "no name: not NFC",
}
OF_ADDRESS_OR_HISTORY = {"id_conflict", "key_mismatch", "misrouted"}


def within(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for each in value.values() if isinstance(value, dict) else value:
        if isinstance(each, dict | list):
            yield from within(each)


def at(pointer: str) -> Any:
    found: Any = DOCUMENT
    for step in pointer.removeprefix("#/").split("/"):
        found = found[step]
    return found


def test_every_topic_is_told_as_it_is_created() -> None:
    told = {
        one["address"]: one["bindings"]["kafka"]
        for one in DOCUMENT["channels"].values()
        if "bindings" in one
    }
    made = {topic.name: topic for topic in topics.desired(SHOP)}

    assert told.keys() == made.keys()
    for name, topic in made.items():
        assert told[name]["partitions"] == topic.partitions
        its = {
            setting: ",".join(value) if isinstance(value, list) else str(value)
            for setting, value in told[name]["topicConfiguration"].items()
        }
        assert its == topic.config


def test_every_reference_leads_somewhere_and_nothing_is_left_over() -> None:
    references = {one["$ref"] for one in within(DOCUMENT) if isinstance(one.get("$ref"), str)}
    for reference in references:
        assert isinstance(at(reference), dict), reference
    for kind in ("schemas", "messages"):
        for name in DOCUMENT["components"][kind]:
            assert f"#/components/{kind}/{name}" in references


def test_operations_name_messages_of_their_own_topic() -> None:
    for operation in DOCUMENT["operations"].values():
        channel = operation["channel"]["$ref"]
        assert operation["messages"]
        for message in operation["messages"]:
            assert message["$ref"].startswith(f"{channel}/messages/")
    received = [
        operation["channel"]["$ref"]
        for operation in DOCUMENT["operations"].values()
        if operation["action"] == "receive"
    ]
    assert received == [f"#/channels/{role}" for role in SHOP.source_topics]


def test_events_are_told_as_their_published_schemas_say() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    for type_, event in NEWEST.events.items():
        name = message_name(type_)
        told = json.loads(json.dumps(schemas[name[0].upper() + name[1:]]))
        data = told["properties"]["data"]["$ref"].rpartition("/")[2]
        told["properties"]["data"] = schemas[data]
        text = json.dumps(told).replace("#/components/schemas/Name", "#/$defs/name")
        published = json.loads((SCHEMAS / f"{type_}.schema.json").read_text(encoding="utf-8"))

        assert published["$defs"]["name"] == schemas["Name"]
        assert published == published | json.loads(text)
        assert name in DOCUMENT["channels"][event.role]["messages"]


def _bytes(text: str | dict[str, str] | None) -> bytes | None:
    if isinstance(text, dict):
        return base64.b64decode(text["base64"])
    return None if text is None else text.encode()


def test_each_accepted_record_is_one_message_and_what_a_schema_can_refuse_is_none() -> None:
    golden = TESTS / f"golden/events-v{NEWEST.number}.jsonl"
    lines = golden.read_text(encoding="utf-8").splitlines()
    seen = set()
    for line in map(json.loads, lines[:-1]):
        headers = [(name, _bytes(content)) for name, content in line.get("headers", ())]
        key, value = _bytes(line["key"]), _bytes(line["value"])
        found = CONTRACT.message_of(line["topic"], key, value, headers)

        refused = line["decision"].get("refused")
        if refused is None:
            # Unless its content type says that the value is all of the event.
            is_binary = "ce_specversion" in dict(headers) and "specversion" not in line["value"]
            type_ = dict(headers)["ce_type"] if is_binary else json.loads(value or b"")["type"]
            name = message_name(
                type_ if isinstance(type_, str) else type_.decode(), binary=is_binary
            )
            assert found == name, line["note"]
            seen.add(name)
        elif refused not in OF_ADDRESS_OR_HISTORY and line["note"] not in BEYOND_A_SCHEMA:
            assert found is None, line["note"]
    assert seen > {*map(message_name, NEWEST.events)}


def test_a_record_without_a_key_is_no_message() -> None:
    message = DOCUMENT["components"]["messages"]["saleCompletedV1"]["examples"][0]
    value = json.dumps(message["payload"]).encode()

    assert CONTRACT.message_of("sales", b"SKU-000042", value) == "saleCompletedV1"
    assert CONTRACT.message_of("sales", None, value) is None
    assert CONTRACT.message_of("shipments", b"SKU-000042", value) is None


def test_every_example_is_the_message_that_it_is_an_example_of() -> None:
    contract = TopicContract(DOCUMENT)
    shown = 0
    for channel in DOCUMENT["channels"].values():
        for name in channel["messages"]:
            for example in DOCUMENT["components"]["messages"][name].get("examples", ()):
                value = json.dumps(example["payload"]).encode()
                headers = [(n, v.encode()) for n, v in example.get("headers", {}).items()]
                key = b"A\x00B" if name == "row" else b"SKU-000042"
                assert contract.message_of(channel["address"], key, value, headers) == name
                shown += 1
    assert shown == 2 * len(NEWEST.events) + 1 + 2 * len(Event)


def test_what_onhand_writes_is_what_the_document_tells_of_it() -> None:
    contract, found = TopicContract(DOCUMENT), forms()

    def told(topic: str, key: str | None, value: str | None) -> str | None:
        return contract.message_of(
            topic, None if key is None else key.encode(), None if value is None else value.encode()
        )

    key, rows = found["row"]
    assert {told(SHOP.changelog_topic, key, row) for row in rows} == {"row"}
    assert told(SHOP.changelog_topic, *found["meta"]) == "own"
    ((segment, content),) = found["window"]
    own = bytes.fromhex(segment), bytes.fromhex(content)
    assert contract.message_of(SHOP.changelog_topic, *own) == "own"
    assert contract.message_of(SHOP.changelog_topic, own[0], None) == "own"
    assert told(SHOP.control_topic, "version", found["versions"]) == "versions"
    assert told(SHOP.members_topic, None, found["heartbeat"]) == "heartbeat"
    assert told(SHOP.documents_topic, *found["bridge mark"]) == "bridgeMark"
    for note in (
        {"to": "sales-3", "reason": "misrouted", "version": 7},
        {"to": "bridge", "version": 7},
    ):
        assert told(SHOP.replayed_topic, found["replayed"], json.dumps(note)) == "replayed"
    note_value = msgspec.json.encode(DocumentNote(3, 2, "d", "sales.csv", "5" * 64, True))
    loaded = contract.message_of(SHOP.documents_topic, note_key("file:sales.csv"), note_value)
    assert loaded == "documentNote"
    mark_value = msgspec.json.encode(RevokedMark("epcis:1", 2, True))
    taken = contract.message_of(SHOP.documents_topic, revoked_key("epcis:1"), mark_value)
    assert taken == "revokedMark"
    held = PackedGoods(ForeignName("gtin", "09521234123453"), "KGM", Decimal("2.5"))
    packing = Packing("0" * 18, 1, is_in=True, things=("/00/1",), goods=(held,))
    key = packed_key(packing.container, "epcis:1", "packing")
    found_there = contract.message_of(SHOP.documents_topic, key, msgspec.json.encode(packing))
    assert found_there == "packing"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"<sale/>", "not_json"),
        (None, "null_value"),
        (b"9" * (MAX_DEAD_LETTER_BYTES + 1), "not_json"),
        (b"2000000 " + b"5" * 64, "too_large"),
    ],
)
def test_a_dead_letter_of_any_size_is_what_the_document_tells(
    value: bytes | None, reason: str
) -> None:
    headers = [("odd", None), ("ce_id", b"\xff")]
    letter = DeadLetter("eu.sales", 3, 17, 1_795_000_000_000, b"Tee", value, headers, reason, "x")

    key, kept, all_headers = letter_record(letter, ())

    topic = SHOP.dlq_topic
    assert TopicContract(DOCUMENT).message_of(topic, key, kept, all_headers) == "deadLetter"
    assert TopicContract(DOCUMENT).message_of(topic, key, kept, all_headers[:-1]) is None


def test_who_may_connect_is_told_and_no_secret() -> None:
    settings = Settings(
        kafka="a:1,b:2",
        kafka_security_protocol="SASL_SSL",
        kafka_sasl_mechanism="SCRAM-SHA-512",
        kafka_sasl_username="ann-5",
        kafka_sasl_password="geheim-5",
    )

    document = topics_document(settings, "0.2.0")

    assert [(one["host"], one["protocol"]) for one in document["servers"].values()] == [
        ("a:1", "kafka-secure"),
        ("b:2", "kafka-secure"),
        ("127.0.0.1:6066", "http"),
    ]
    assert document["components"]["securitySchemes"] == {"sasl": {"type": "scramSha512"}}
    assert "geheim-5" not in json.dumps(document)
    assert "ann-5" not in json.dumps(document)
    assert "securitySchemes" not in DOCUMENT["components"]


# ---- the feed

_APPLIED = ToldFactBody("sales-3@7", "2026-11-23T10:00:00.123Z", Ending.APPLIED, -2, sku="Käse")
_REFUSED = ToldFactBody(
    "sales-3@8", "2026-11-23T10:00:00.124Z", Ending.REFUSED, 0, refused="not_json", detail="x"
)
_ROW = ToldRowBody(
    "Käse", "here", 7, 7, 0, 0, 0, 0, 1, "0" * 16, "2026-11-23T10:00:00.123Z", 3, "sales-3@7"
)


@pytest.mark.parametrize(("form", "ending"), [(Form.EVENTS, "Event"), (Form.LINES, "Line")])
def test_what_a_stream_tells_is_one_message_of_the_feed_each(form: Form, ending: str) -> None:
    problem = {"type": "/problems/not-ready", "title": "a", "status": 503, "detail": "b"}
    stream = b"retry: 1000\n\n:\n\n" if form is Form.EVENTS else b""
    for event, data in (
        (Event.POSITION, {}),
        (Event.FACT, _APPLIED),
        (Event.FACT, _REFUSED),
        (Event.WAITING, problem),
        (Event.PROBLEM, problem),
    ):
        stream += line_of_stream(form, event, "sales-3@7,log@5", msgspec.json.encode(data))
    stream += line_of_stream(form, Event.ROW, UNSET, msgspec.json.encode(_ROW))
    reset = ResetBody([3], ResetReason.BEHIND)
    stream += line_of_stream(form, Event.RESET, "row-3@7,rows@5", msgspec.json.encode(reset))

    names = ["position", "fact", "fact", "waiting", "problem", "row", "reset"]
    assert CONTRACT.told(stream, form) == [f"{name}{ending}" for name in names]
    for wrong in (
        line_of_stream(form, "gift", "sales-3@7", b"{}"),
        line_of_stream(form, Event.POSITION, "sales-3@7", b'{"sku":"A"}'),
        line_of_stream(form, Event.FACT, "sales-3@7", b'{"position":"sales-3@7"}'),
        line_of_stream(form, Event.PROBLEM, "sales-3@7", b"{}"),
        line_of_stream(form, Event.RESET, UNSET, msgspec.json.encode(reset)),
        line_of_stream(form, Event.ROW, "sales-3@7", msgspec.json.encode(_ROW)),
    ):
        assert CONTRACT.told(wrong, form) == [None], wrong


def test_a_reader_who_has_nothing_yet_is_told_where_he_is_too() -> None:
    line = line_of_stream(Form.LINES, Event.POSITION, "", b"{}")

    assert CONTRACT.told(line, Form.LINES) == ["positionLine"]
    assert msgspec.json.decode(line) == {"id": "", "event": "position", "data": {}}
    assert line_of_stream(Form.EVENTS, Event.POSITION, "", b"{}").startswith(b"id: \n")


def test_the_feed_is_asked_for_as_it_reads_questions_and_at_a_worker() -> None:
    operations = [
        one
        for one in DOCUMENT["operations"].values()
        if one["channel"]["$ref"] == "#/channels/changes"
    ]
    assert len(operations) == 2
    for operation in operations:
        assert operation["bindings"]["http"]["query"]["properties"].keys() == FOLLOWED.keys()
    for name, channel in DOCUMENT["channels"].items():
        servers = [at(server["$ref"])["protocol"] for server in channel["servers"]]
        assert servers == (["http"] if name == "changes" else ["kafka"])


def test_the_feed_asks_for_a_token_where_there_are_tokens_and_the_brokers_do_not() -> None:
    settings = Settings(tokens="tokens.json", tls_cert="cert.pem", url="https://stock.example")

    document = topics_document(settings, "0.2.0")

    kafka, worker = document["servers"].values()
    assert (worker["host"], worker["protocol"]) == ("stock.example", "https")
    (needed,) = worker["security"]
    assert document["components"]["securitySchemes"].keys() == {"token"}
    assert needed["$ref"].endswith("/token")
    assert "security" not in kafka
    assert "security" not in DOCUMENT["servers"]["worker"]
