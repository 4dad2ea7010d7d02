"""Where a bridge's schemas come from, and what becomes of values that they do not fit."""

import base64
import io
import json
import uuid
from pathlib import Path

import fastavro
import pytest
from google.protobuf import descriptor_pb2, timestamp_pb2, wrappers_pb2
from hypothesis import given
from hypothesis import strategies as st

from agents.learning import RegistryAway
from agents.translating import Translator
from importers.frames.maps import ForeignMap
from importers.frames.numbered import Encoding, Numbered, WriterSchema
from importers.frames.places import NotMapped
from tests.support.topics.registries import Registry, serving
from tests.support.topics.serialized import (
    LINE,
    NUMBER,
    RICH,
    RICH_PATHS,
    Reading,
    a_map,
    an_order,
    money_file,
    order_file,
    rich_bytes,
    serialized,
)


async def test_a_schema_is_asked_for_once_and_kept_on_the_disk(
    registry: Registry, tmp_path: Path
) -> None:
    written = serialized(registry, LINE, {"sku": "A", "shop": "s", "n": 2})
    first = Reading(a_map("avro"), tmp_path, registry=registry.url)
    for _ in range(3):
        await first.event(*written)
    assert len(registry.asked) == 1

    registry.answers = 500, b"{}"
    again = Reading(a_map("avro"), tmp_path, registry=registry.url)
    assert (await again.event(*written))["data"]["sku"] == "A"

    for file in list(tmp_path.rglob("*.json")):  # noqa: ASYNC240 - a test
        file.write_bytes(b"{")
    with pytest.raises(RegistryAway, match="answers 500"):
        await Reading(a_map("avro"), tmp_path, registry=registry.url).event(*written)


async def test_a_folder_does_for_those_who_have_no_registry(tmp_path: Path) -> None:
    (tmp_path / "7.avsc").write_text(json.dumps(LINE))
    raw = io.BytesIO()
    fastavro.schemaless_writer(raw, LINE, {"sku": "A", "shop": "s", "n": 2})
    reading = Reading(a_map("avro"), schemas=str(tmp_path))

    event = await reading.event(b"\0\0\0\0\x07" + raw.getvalue())
    assert event["data"]["quantity"] == 2
    told = await reading.refused(b"\0\0\0\0\x08" + raw.getvalue())
    assert told == f"Its schema 8 has no file 8.avsc in {tmp_path}."

    files = descriptor_pb2.FileDescriptorSet()
    for module in (timestamp_pb2, wrappers_pb2):
        module.DESCRIPTOR.CopyToProto(files.file.add())
    files.file.extend([money_file(), order_file()])
    guid = uuid.uuid4()
    (tmp_path / f"{guid}.desc").write_bytes(files.SerializeToString())
    message = b"\x01" + guid.bytes + b"\x04\x02\x00" + an_order().SerializeToString()
    event = await Reading(a_map("protobuf"), schemas=str(tmp_path)).event(message)
    assert event["data"]["quantity"] == 2


async def test_a_schema_that_the_registry_does_not_know_is_a_reason_and_asked_for_later(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 0.0
    monkeypatch.setattr("agents.learning.monotonic", lambda: now_s)
    reading = Reading(a_map("avro"), registry=registry.url)
    number = registry.next_number
    value = b"\0" + number.to_bytes(4, "big") + b"\x02A\x02s\x04"

    assert await reading.refused(value) == f"Its schema {number} is not known to the registry."
    registry.register("late", {"schema": json.dumps({**LINE, "doc": "comes late"})})
    assert await reading.refused(value) == f"Its schema {number} is not known to the registry."
    now_s = 61.0
    assert (await reading.event(value))["data"]["sku"] == "A"


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (500, b"", r"answers 500 at http.*/schemas/ids/7: look at the registry's log\."),
        (404, b"<html>", r"answers 404 at .*: see that ONHAND_BRIDGE_REGISTRY is the address of"),
        (404, b'{"error_code": 404}', "answers 404 at "),
        (200, b"hello", r"answers with what is no schema .*: see that ONHAND_BRIDGE_REGISTRY is"),
        (301, b"", "answers 301 at "),
        (200, b'{"schema": "' + b"x" * 5_000_000 + b'"}', "answers with more than 4,194,304 bytes"),
    ],
)
async def test_a_registry_that_does_not_say_is_away_and_nothing_is_refused_for_it(
    registry: Registry, status: int, body: bytes, told: str
) -> None:
    registry.answers = status, body
    reading = Reading(a_map("avro"), registry=registry.url)

    with pytest.raises(RegistryAway, match=told):
        await reading.translated(b"\0\0\0\0\x07x")
    assert reading.learning.is_away


async def test_a_registry_that_asks_for_a_user_is_told_one(registry: Registry) -> None:
    written = serialized(registry, LINE, {"sku": "A", "shop": "s", "n": 2})
    registry.user = "bridge:söcret"

    with pytest.raises(RegistryAway, match="set ONHAND_BRIDGE_REGISTRY_USER and"):
        await Reading(a_map("avro"), registry=registry.url).event(*written)
    known = {"registry_user": "bridge", "registry_password": "söcret"}
    event = await Reading(a_map("avro"), None, registry=registry.url, **known).event(*written)
    assert event["data"]["sku"] == "A"


async def test_a_registry_that_nobody_runs_is_away() -> None:
    with serving(Registry()) as gone:
        pass

    with pytest.raises(RegistryAway, match=f"does not answer at {gone.url}/schemas/ids/7 "):
        await Reading(a_map("avro"), registry=gone.url).translated(b"\0\0\0\0\x07x")


async def test_a_schema_of_another_kind_than_the_map_says_is_told(registry: Registry) -> None:
    written = serialized(registry, LINE, {"sku": "A", "shop": "s", "n": 2})

    told = await Reading(a_map("protobuf"), registry=registry.url).refused(*written)

    number = int.from_bytes(written[0][1:5], "big")
    assert told == f"Its schema {number} is of AVRO, and the map says protobuf."


@pytest.mark.parametrize("schema", ["{", '"nothing"', '{"type":"record"}'])
async def test_a_schema_that_cannot_be_used_is_told(registry: Registry, schema: str) -> None:
    number = registry.register("orders-value", {"schema": schema})["id"]

    told = await Reading(a_map("avro"), registry=registry.url).refused(
        b"\0" + number.to_bytes(4, "big")
    )

    assert told.startswith(f"Its schema {number} cannot be used (")


async def test_protobuf_that_comes_as_a_text_is_told(registry: Registry) -> None:
    text = {"schemaType": "PROTOBUF", "schema": 'syntax = "proto3";'}
    number = registry.register("orders-value", text)["id"]

    told = await Reading(a_map("protobuf"), registry=registry.url).refused(
        b"\0" + number.to_bytes(4, "big") + b"\0"
    )

    assert told == (
        f"Its schema {number} came as a text: the registry has to give Protobuf as a descriptor "
        "(format=serialized)."
    )


AVRO = a_map("avro", **RICH_PATHS)
PROTO = a_map("protobuf")


def filled(by: ForeignMap) -> Translator:
    assert by.book is not None
    if by.book.encoding is Encoding.AVRO:
        schema = WriterSchema("AVRO", json.dumps(RICH))
    else:
        texts = [
            base64.b64encode(file.SerializeToString()).decode()
            for file in (money_file(), order_file())
        ]
        money = WriterSchema("PROTOBUF", texts[0], "money.proto")
        schema = WriterSchema("PROTOBUF", texts[1], "", (money,))
    by.book.add(NUMBER, schema, 0.0)
    return Translator("orders", by, 12)


TRANSLATORS = [
    (filled(AVRO), rich_bytes()),
    (filled(PROTO), b"\x04\x02\x00" + an_order().SerializeToString()),
]


@given(
    st.sampled_from(TRANSLATORS),
    st.integers(0, 300),
    st.integers(0, 300),
    st.binary(max_size=12),
)
def test_whatever_stands_behind_a_number_is_facts_or_a_reason(
    of: tuple[Translator, bytes], start: int, end: int, other: bytes
) -> None:
    translator, good = of
    value = NUMBER + good[:start] + other + good[end:]

    found = translator.translate(0, [(0, 0, None, value, ())])

    for letter in found.letters:
        assert letter.detail.isascii()
    assert len(found.facts) + len(found.letters) == 1


@pytest.mark.parametrize(
    "raw", [b"", b"\x00x", b"\x80", b"\x02", b"\x02\x0a", b"\x01", b"\xff" * 9]
)
def test_a_message_that_its_schema_does_not_have_is_told(raw: bytes) -> None:
    with pytest.raises(NotMapped):
        PROTO.unframe(NUMBER + raw, ())


def test_a_value_with_more_bytes_than_its_schema_says_is_refused() -> None:
    with pytest.raises(NotMapped, match="The value has 2 bytes more than its schema says"):
        AVRO.unframe(NUMBER + rich_bytes() + b"xx", ())


def test_a_number_in_a_header_may_be_cut_off() -> None:
    with pytest.raises(NotMapped, match="has no schema's number"):
        AVRO.unframe(b"x", [("__value_schema_id", b"\x01short")])
    assert Numbered(b"", None, b"").more is None
