"""A chain of hashes over every record of a topic-partition: whoever changes one is found out.

It runs over the log and not over what was applied: the same log gives the same heads under any
rules, in any ledger, however often it is built again. What stands for a record that is too
large (`core.records.TooLarge`) is chained in its place: its size and hash.
"""

import struct
from collections.abc import Iterable
from hashlib import sha256
from typing import Final

from core.records import Headers, Record

#: Stands for a key, a value or a header's content that is not there; no length is below 0.
_NONE: Final = -1
_HEAD: Final = struct.Struct(">qqi")
_NUMBER: Final = struct.Struct(">i")
_NO_HEADERS: Final = _NUMBER.pack(0)


def start_of(role: str, partition: int) -> bytes:
    """The head before the first record; another one for each topic-partition."""
    return sha256(f"onhand chain 1\x00{role}\x00{partition}".encode()).digest()


def linked(head: bytes, record: Record) -> bytes:
    """The head after one more record: 32 bytes."""
    return linked_all(head, (record,))


def linked_all(head: bytes, records: Iterable[Record]) -> bytes:
    """The head after these records: 32 bytes.

    Each part is written behind its length, so that no two records look the same.
    """
    for offset, time_ms, key, value, headers in records:
        head = sha256(
            b"%b%b%b%b%b%b"
            % (
                head,
                _HEAD.pack(offset, time_ms, _NONE if key is None else len(key)),
                key or b"",
                _NUMBER.pack(_NONE if value is None else len(value)),
                value or b"",
                _told(headers) if headers else _NO_HEADERS,
            )
        ).digest()
    return head


def _told(headers: Headers) -> bytes:
    parts = [_NUMBER.pack(len(headers))]
    for name, content in headers:
        named = name.encode(errors="surrogateescape")
        parts += [_NUMBER.pack(len(named)), named]
        parts += [_NUMBER.pack(_NONE if content is None else len(content)), content or b""]
    return b"".join(parts)
