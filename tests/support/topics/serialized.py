"""Avro and Protobuf values as the official serializers write them, and a bridge's way to facts."""

import io
import json
import uuid
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
from confluent_kafka.schema_registry import (
    header_schema_id_serializer,
)
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf import descriptor_pb2, timestamp_pb2, wrappers_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from agents.learning import Learning
from agents.translating import Translated, Translator
from app.bridge.registry import Schemas
from app.config import Settings
from core.records import Headers
from domain.rules.held import CURRENT
from importers.frames.maps import ForeignMap, read_map
from tests.support.topics.registries import Registry

SALE = "inventory.sale.completed.v1"


def a_map(encoding: str, frame: str = "confluent", top: str = "", **paths: str) -> ForeignMap:
    places = {"sku": "value.sku", "location": "value.shop", "quantity": "value.n"} | paths
    lines = "\n".join(f"{field} = '{path}'" for field, path in places.items())
    text = f'frame = "{frame}"\nencoding = "{encoding}"\n{top}\n[constants]\ntype = "{SALE}"\n'
    only = '[only]\n"value.op" = ["c"]\n' if frame == "debezium" else ""
    return read_map(f"{text}[paths]\n{lines}\n{only}", "orders", CURRENT.events)


class Reading:
    """A bridge's way from bytes to facts, without Kafka."""

    def __init__(self, by: ForeignMap, kept: Path | None = None, **settings: str) -> None:
        assert by.book is not None
        names = {f"ONHAND_BRIDGE_{name.upper()}": value for name, value in settings.items()}
        self.source = Schemas(Settings.from_env(names), by.book.encoding, kept)
        self.learning = Learning(by.book, self.source)
        self._translator = Translator("orders", by, 12)

    async def translated(self, value: bytes, headers: Headers = ()) -> Translated:
        record = (41, 1_795_000_000_000, None, value, headers)
        try:
            await self.learning.learn([record])
        finally:
            await self.learning.stop()
        return self._translator.translate(3, [record])

    async def event(self, value: bytes, headers: Headers = ()) -> Any:
        found = await self.translated(value, headers)
        assert found.letters == []
        (fact,) = found.facts
        return json.loads(fact.value)

    async def refused(self, value: bytes, headers: Headers = ()) -> str:
        (letter,) = (await self.translated(value, headers)).letters
        assert letter.reason == "not_mapped"
        return letter.detail


LINE = {
    "type": "record",
    "name": "Line",
    "fields": [
        {"name": "sku", "type": "string"},
        {"name": "shop", "type": "string"},
        {"name": "n", "type": "int"},
    ],
}


def serialized(
    registry: Registry, schema: Any, value: Any, in_header: bool = False, **more: Any
) -> tuple[bytes, Headers]:
    """By the official Avro serializer."""
    conf: dict[str, Any] = {}
    if in_header:
        conf["schema.id.serializer"] = header_schema_id_serializer
    given = more.get("official") or json.dumps(schema)
    headers: list[tuple[str, Any]] = []
    context = SerializationContext("orders", MessageField.VALUE, headers)
    raw = AvroSerializer(registry.client, given, conf=conf)(value, context)
    assert raw is not None
    return raw, headers


RICH = {
    "type": "record",
    "name": "Rich",
    "namespace": "shop",
    "fields": [
        {"name": "no", "type": {"type": "string", "logicalType": "uuid"}},
        {
            "name": "n",
            "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2},
        },
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "local", "type": {"type": "long", "logicalType": "local-timestamp-millis"}},
        {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["SOLD", "BACK"]}},
        {
            "name": "article",
            "type": [
                "null",
                "string",
                {
                    "type": "record",
                    "name": "Article",
                    "fields": [{"name": "number", "type": "string"}],
                },
            ],
        },
        {"name": "tags", "type": {"type": "map", "values": "string"}},
        {"name": "shops", "type": {"type": "array", "items": "string"}},
        {"name": "raw", "type": "bytes"},
        {
            "name": "ref",
            "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 0},
        },
    ],
}
RICHLY = {
    "no": uuid.UUID("5f1d9c1e-0d3b-4a5e-9b7e-0c8b7a6d5e4f"),
    "n": Decimal("3.00"),
    "at": datetime(2026, 11, 18, 11, 6, 40, 123, UTC),
    "local": datetime(2026, 11, 18, 11, 6, 40),  # noqa: DTZ001 - it has none
    "kind": "SOLD",
    "article": {"number": "A-7"},
    "tags": {"till.no": "17"},
    "shops": ["s-1", "s-2"],
    "raw": b"\x00\x01",
    "ref": Decimal(90210),
}
RICH_PATHS = {
    "id": "value.no",
    "sku": "value.article.number",
    "location": "value.shops.1",
    "time": "value.at",
    "actor": 'value.tags."till.no"',
    "reason": "value.kind",
    "reference": "value.ref",
}


def a_file(name: str, package: str = "shop") -> descriptor_pb2.FileDescriptorProto:
    return descriptor_pb2.FileDescriptorProto(name=name, package=package, syntax="proto3")


def order_file() -> descriptor_pb2.FileDescriptorProto:
    """A header, and in it an order with every kind of field; the second message of its file."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = a_file("order.proto")
    file.dependency.extend(
        ["google/protobuf/timestamp.proto", "google/protobuf/wrappers.proto", "money.proto"]
    )
    file.message_type.add(name="Header")
    order = file.message_type.add(name="Batch").nested_type.add(name="Order")
    kind = file.enum_type.add(name="Kind")
    kind.value.add(name="SOLD", number=0)
    kind.value.add(name="BACK", number=1)

    def add(name: str, number: int, of: Any, type_name: str | None = None, **more: Any) -> None:
        label = more.pop("label", kinds.LABEL_OPTIONAL)
        order.field.add(name=name, number=number, label=label, type=of, type_name=type_name, **more)

    entry = order.nested_type.add(name="TagsEntry")
    entry.options.map_entry = True
    for number, name in enumerate(("key", "value"), 1):
        entry.field.add(name=name, number=number, label=1, type=kinds.TYPE_STRING)
    order.oneof_decl.add(name="article")
    add("sku", 1, kinds.TYPE_STRING, oneof_index=0)
    add("ean", 2, kinds.TYPE_INT64, oneof_index=0)
    add("shop", 3, kinds.TYPE_MESSAGE, ".google.protobuf.StringValue")
    add("n", 4, kinds.TYPE_SINT64)
    add("at", 5, kinds.TYPE_MESSAGE, ".google.protobuf.Timestamp")
    add("kind", 6, kinds.TYPE_ENUM, ".shop.Kind")
    add("tags", 7, kinds.TYPE_MESSAGE, ".shop.Batch.Order.TagsEntry", label=kinds.LABEL_REPEATED)
    add("shops", 8, kinds.TYPE_STRING, label=kinds.LABEL_REPEATED)
    add("price", 9, kinds.TYPE_MESSAGE, ".shop.Money")
    return file


def money_file() -> descriptor_pb2.FileDescriptorProto:
    file = a_file("money.proto")
    money = file.message_type.add(name="Money")
    money.field.add(
        name="cents", number=1, label=1, type=descriptor_pb2.FieldDescriptorProto.TYPE_INT32
    )
    return file


def order_class() -> Any:
    pool = DescriptorPool()
    for module in (timestamp_pb2, wrappers_pb2):
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    for file in (money_file(), order_file()):
        pool.AddSerializedFile(file.SerializeToString())
    return GetMessageClass(pool.FindMessageTypeByName("shop.Batch.Order"))


ORDER = order_class()
NUMBER = b"\0\0\0\0\x07"


def rich_bytes() -> bytes:
    raw = io.BytesIO()
    fastavro.schemaless_writer(raw, RICH, RICHLY)
    return raw.getvalue()


def an_order(**fields: Any) -> Any:
    given: dict[str, Any] = {
        "sku": "A",
        "shop": {"value": "s"},
        "n": 2,
        "at": {"seconds": 1_795_000_000, "nanos": 123_456_789},
        "tags": {"till.no": "17"},
        "shops": ["s-1", "s-2"],
        "price": {"cents": 5},
    }
    return ORDER(**{name: value for name, value in (given | fields).items() if value is not None})


def proto_serialized(
    registry: Registry, message: Any, in_header: bool = False
) -> tuple[bytes, Headers]:
    """By the official Protobuf serializer."""
    conf: dict[str, Any] = {"use.deprecated.format": False}
    if in_header:
        conf["schema.id.serializer"] = header_schema_id_serializer
    headers: list[tuple[str, Any]] = []
    context = SerializationContext("orders", MessageField.VALUE, headers)
    raw = ProtobufSerializer(type(message), registry.client, conf)(message, context)
    assert raw is not None
    return raw, headers
