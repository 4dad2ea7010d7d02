"""Protobuf values by the schema that wrote them. The only file that knows Google's library.

A registry gives the schema as a descriptor (`format=serialized`), so no `.proto` is compiled.
Only what a map's paths ask for is looked at: a message is a place with fields.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from google.protobuf import (
    any_pb2,
    descriptor_pb2,
    duration_pb2,
    empty_pb2,
    field_mask_pb2,
    json_format,
    struct_pb2,
    timestamp_pb2,
    wrappers_pb2,
)
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from importers.frames.numbered import Numbered, ReadValue, WriterSchema
from importers.frames.places import NOTHING, FieldsOf, NotMapped, PointInTime

_MOST_INDEXES: Final = 100
#: Of a number, in groups of seven.
_MOST_BITS: Final = 70
_WITH_THE_LIBRARY: Final = {
    module.DESCRIPTOR.name: module.DESCRIPTOR.serialized_pb
    for module in (
        any_pb2, descriptor_pb2, duration_pb2, empty_pb2, field_mask_pb2, struct_pb2,
        timestamp_pb2, wrappers_pb2,
    )
}  # fmt: skip
#: Decimals that registries take as known; both are small, and neither comes with the library.
_DECIMALS: Final = {
    "confluent/type/decimal.proto": (
        ("value", "BYTES"),
        ("precision", "UINT32"),
        ("scale", "INT32"),
    ),
    "google/type/decimal.proto": (("value", "STRING"),),
}
_FILE = descriptor_pb2.FileDescriptorProto


def protobuf_reader(schema: WriterSchema) -> ReadValue:
    """How to read values of this schema: which message, is said before each value.

    Raises:
        NotMapped: it is no schema; the text is the end of a sentence.
    """
    pool = DescriptorPool()
    try:
        top = _add(pool, schema, "onhand.proto")
    except NotMapped:
        raise
    except Exception as error:  # of another program's schema: whatever the library says
        raise NotMapped(f"cannot be used ({type(error).__name__}: {error})") from None
    classes: dict[tuple[int, ...], Any] = {}

    def read(framed: Numbered) -> Any:
        if framed.more is None:
            path, start = _indexes(framed.value)
            raw = framed.value[start:]
        else:
            path, raw = _indexes(framed.more)[0], framed.value
        message = classes.get(path)
        if message is None:
            message = classes[path] = GetMessageClass(_message_at(top, path))
        try:
            return MessageFields(message.FromString(raw))
        except Exception as error:  # DecodeError, or RecursionError
            raise NotMapped(f"The value does not fit its schema ({error}).") from None

    return read


def of_descriptor_set(raw: bytes) -> WriterSchema:
    """What `protoc --include_imports --descriptor_set_out` writes: the file itself is the last.

    Raises:
        NotMapped: it is something else; the text is the end of a sentence.
    """
    try:
        files = list(descriptor_pb2.FileDescriptorSet.FromString(raw).file)
    except Exception as error:  # DecodeError
        raise NotMapped(f"is no file of protoc's --descriptor_set_out ({error})") from None
    if not files:
        raise NotMapped("is an empty file")
    made: dict[str, WriterSchema] = {}
    for file in files:
        imports = tuple(made[name] for name in file.dependency if name in made)
        text = base64.b64encode(file.SerializeToString()).decode()
        made[file.name] = WriterSchema("PROTOBUF", text, file.name, imports)
    return made[files[-1].name]


def _add(pool: DescriptorPool, schema: WriterSchema, name: str) -> Any:
    """Add a file behind those that it imports; what the pool has already stays."""
    if schema.kind != "PROTOBUF":
        raise NotMapped(f"imports {name}, which is of {schema.kind}")
    try:
        file = _FILE.FromString(base64.b64decode(schema.text, validate=True))
    except Exception:
        raise NotMapped(
            "came as a text: the registry has to give Protobuf as a descriptor (format=serialized)"
        ) from None
    given = {one.name: one for one in schema.imports}
    needed = []
    for path in file.dependency:
        if path in given:
            _add_once(pool, path, lambda path=path: _add(pool, given[path], path))  # type: ignore[misc]
        elif path in _WITH_THE_LIBRARY:
            raw = _WITH_THE_LIBRARY[path]
            _add_once(pool, path, lambda raw=raw: pool.AddSerializedFile(raw))  # type: ignore[misc]
        elif path in _DECIMALS:
            _add_once(pool, path, lambda path=path: pool.AddSerializedFile(_decimal(path)))  # type: ignore[misc]
        elif path.startswith("confluent/"):
            continue  # confluent/meta.proto and the like: words for people, in options
        else:
            raise NotMapped(f"imports {path}, which nobody gave")
        needed.append(path)
    del file.dependency[:], file.public_dependency[:], file.weak_dependency[:]
    file.dependency.extend(needed)
    file.name = name
    pool.AddSerializedFile(file.SerializeToString())
    return pool.FindFileByName(name)


def _add_once(pool: DescriptorPool, path: str, add: Callable[[], Any]) -> None:
    try:
        pool.FindFileByName(path)
    except KeyError:
        add()


def _decimal(path: str) -> bytes:
    file = _FILE(name=path, package=path.rpartition("/")[0].replace("/", "."), syntax="proto3")
    message = file.message_type.add(name="Decimal")
    for number, (name, kind) in enumerate(_DECIMALS[path], 1):
        kinds = descriptor_pb2.FieldDescriptorProto
        message.field.add(
            name=name,
            number=number,
            label=kinds.LABEL_OPTIONAL,
            type=getattr(kinds, f"TYPE_{kind}"),
        )
    return bytes(file.SerializeToString())


def _indexes(raw: bytes) -> tuple[tuple[int, ...], int]:
    """Which message of its file, by place, then by place inside that; and where that ends."""
    numbers = _zigzags(raw)
    count, end = next(numbers, (-1, 0))
    if not 0 <= count <= _MOST_INDEXES:
        raise NotMapped("Which message of its schema the value is cannot be read.")
    found = []
    for _ in range(count):
        index, end = next(numbers, (-1, 0))
        if index < 0:
            raise NotMapped("Which message of its schema the value is cannot be read.")
        found.append(index)
    return tuple(found) or (0,), end


def _zigzags(raw: bytes) -> Iterator[tuple[int, int]]:
    """Whole numbers, each with where it ends."""
    value = shift = 0
    for end, byte in enumerate(raw, 1):
        value |= (byte & 0x7F) << shift
        shift += 7
        if shift > _MOST_BITS:  # else what is broken makes a number of a megabyte, bit by bit
            return
        if not byte & 0x80:
            yield (value >> 1) ^ -(value & 1), end
            value = shift = 0


def _message_at(file: Any, path: tuple[int, ...]) -> Any:
    """By place in the file, as it was written."""
    proto = _FILE()
    file.CopyToProto(proto)
    name, inside = proto.package, proto.message_type
    try:
        for index in path:
            name = f"{name}.{inside[index].name}" if name else inside[index].name
            inside = inside[index].nested_type
    except IndexError:
        places = ".".join(map(str, path))
        raise NotMapped(f"The value is message {places} of its schema, which has none.") from None
    return file.pool.FindMessageTypeByName(name)


class MessageFields(FieldsOf):
    """A message as a place: its fields by their names in the schema."""

    __slots__ = ("_message",)

    def __init__(self, message: Any) -> None:
        self._message = message

    def get(self, name: str, default: Any = NOTHING) -> Any:
        """What a field holds; None where a field that can be absent is; or `default`."""
        message = self._message
        field = message.DESCRIPTOR.fields_by_name.get(name)
        if field is None:
            return default
        value = getattr(message, name)
        if field.is_repeated:
            inside = field.message_type
            if inside is not None and inside.GetOptions().map_entry:
                of = inside.fields_by_name["value"]
                # A message map makes what is asked for: so each is asked by its own keys.
                return {_key(key): _plain(value[key], of) for key in value}
            return [_plain(one, field) for one in value]
        if field.has_presence and not message.HasField(name) and not field.has_default_value:
            return None
        return _plain(value, field)


def _key(key: Any) -> str:
    return str(key).lower() if isinstance(key, bool) else str(key)


def _plain(value: Any, field: Any) -> Any:
    """A value as JSON has it; decimals as Decimal, and timestamps as what they mean."""
    if field.enum_type is not None:
        named = field.enum_type.values_by_number.get(value)
        return value if named is None else named.name
    if field.message_type is None:
        return value
    meant = _MEANT.get(field.message_type.full_name)
    if meant is None:
        return MessageFields(value)
    try:
        return meant(value)
    except (ValueError, OverflowError, InvalidOperation) as error:
        raise NotMapped(f"{field.name} is no {field.message_type.full_name} ({error}).") from None


def _unscaled(value: Any) -> Decimal:
    return Decimal(int.from_bytes(value.value, "big", signed=True)).scaleb(-value.scale)


_MEANT: Final[dict[str, Callable[[Any], Any]]] = {
    "google.protobuf.Timestamp": lambda value: PointInTime(value.ToJsonString()),
    "google.protobuf.Struct": json_format.MessageToDict,
    "google.protobuf.Value": json_format.MessageToDict,
    "google.protobuf.ListValue": json_format.MessageToDict,
    "google.type.Decimal": lambda value: Decimal(value.value),
    "confluent.type.Decimal": _unscaled,
} | {
    f"google.protobuf.{name}Value": lambda value: value.value
    for name in ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes")
}
