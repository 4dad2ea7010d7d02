"""A body of several parts (multipart/form-data, RFC 7578), whole in memory and of a bounded size.

Not aiohttp's reader: it hands over pieces of 8 KiB, each a stay on the loop, where here a search
in C does, and each part is copied once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from email.message import Message
from email.parser import HeaderParser
from typing import Final

from msgspec import Struct

FORM_DATA: Final = "multipart/form-data"
_MAX_HEAD_BYTES: Final = 8192
_MAX_BOUNDARY_CHARS: Final = 70
_AS_IT_IS: Final = ("", "binary", "8bit", "7bit")


class FormPart(Struct, frozen=True):
    """One part; file: the name that it came with, without folders, or empty."""

    data: bytes
    file: str


def form_parts(body: bytes, content_type: str, known: Collection[str]) -> dict[str, FormPart]:
    """The parts of a body by name.

    Args:
        body: as it came.
        content_type: the header.
        known: names of parts that may be there, each once.

    Raises:
        ValueError: it cannot be read so; one sentence.
    """
    boundary = _header("Content-Type", content_type).get_param("boundary", failobj="")
    if not (isinstance(boundary, str) and 1 <= len(boundary) <= _MAX_BOUNDARY_CHARS):
        raise ValueError("Content-Type names no boundary of parts.")
    between = b"\r\n--" + boundary.encode(errors="replace")
    found: dict[str, FormPart] = {}
    for start, end in _pieces(body, between):
        if body.startswith(b"--", start):
            return found
        # It begins with the end of the boundary's line, and may have no line at all.
        head_end = body.find(b"\r\n\r\n", start, min(end, start + _MAX_HEAD_BYTES))
        if head_end < 0 or not body.startswith(b"\r\n", start):
            raise ValueError("A part has no head that can be read.")
        name, part = _part(body[start + 2 : head_end], body[head_end + 4 : end])
        if name not in known:
            raise ValueError(f"There is no part {name[:50]!a}; known are {', '.join(known)}.")
        if name in found:
            raise ValueError(f"The part {name} is given twice.")
        found[name] = part
    raise ValueError("The body ends before its parts do.")


def _pieces(body: bytes, between: bytes) -> Iterator[tuple[int, int]]:
    """Where each begins, behind a boundary, and where the next boundary or the body ends it."""
    # The first one may stand at the very beginning, without a line before it.
    at = -2 if body.startswith(between[2:]) else body.find(between)
    while at != -1:
        start = at + len(between)
        at = body.find(between, start)
        yield start, len(body) if at == -1 else at


def _part(head: bytes, data: bytes) -> tuple[str, FormPart]:
    try:
        headers = HeaderParser().parsestr(head.decode())
    except UnicodeDecodeError:
        raise ValueError("The head of a part is not UTF-8.") from None
    if headers.get("Content-Transfer-Encoding", "").strip().lower() not in _AS_IT_IS:
        raise ValueError("A part is encoded for mail: send it as it is.")
    name = headers.get_param("name", header="content-disposition", failobj="")
    if not isinstance(name, str) or not name:
        raise ValueError("A part has no name: its Content-Disposition says it.")
    # Some browsers of old, and some programs, send the whole path.
    file = (headers.get_filename("") or "").replace("\\", "/").rpartition("/")[2]
    return name, FormPart(data, file)


def _header(name: str, value: str) -> Message:
    message = Message()
    message[name] = value.replace("\r", " ").replace("\n", " ")
    return message
