"""Avro values by the schema that wrote them. The only file that knows fastavro."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any, Final

import fastavro

from importers.frames.numbered import Numbered, ReadValue, WriterSchema
from importers.frames.places import NotMapped

#: A record of one field is written as that field: so any schema can be read as a record,
#: which carries the named types of its imports with it.
_ONLY: Final = "_"


def avro_reader(schema: WriterSchema) -> ReadValue:
    """How to read values of this schema.

    Records become objects, enums texts, unions what is inside; decimals Decimal, timestamps
    datetime. A value must end where its schema does.

    Raises:
        NotMapped: it is no schema; the text is the end of a sentence.
    """
    named: dict[str, Any] = {}
    try:
        _add_imports(schema, named, set())
        field = {"name": _ONLY, "type": json.loads(schema.text)}
        parsed = fastavro.parse_schema(
            {"type": "record", "name": "_onhand", "fields": [field]}, named_schemas=named
        )
    except Exception as error:  # of another program's text: whatever the library says
        raise NotMapped(f"cannot be used ({type(error).__name__}: {error})") from None

    def read(framed: Numbered) -> Any:
        source = BytesIO(framed.value)
        try:
            found = fastavro.schemaless_reader(source, parsed, None)
        except Exception as error:  # EOFError, IndexError, OverflowError, struct.error …
            raise NotMapped(
                f"The value does not fit its schema ({type(error).__name__}: {error})."
            ) from None
        if (rest := len(framed.value) - source.tell()) != 0:
            raise NotMapped(f"The value has {rest} bytes more than its schema says.")
        return found[_ONLY]  # type: ignore[call-overload,index]  # a record

    return read


def _add_imports(schema: WriterSchema, named: dict[str, Any], seen: set[str]) -> None:
    """Those that an import needs itself first, and each once."""
    for one in schema.imports:
        _add_imports(one, named, seen)
        if one.text not in seen:
            seen.add(one.text)
            fastavro.parse_schema(json.loads(one.text), named_schemas=named)
