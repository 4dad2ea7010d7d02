"""Places in a foreign record: `value.after.sku`, `key`, `headers.id`, `each.quantity`."""

from __future__ import annotations

import re
from enum import Enum
from typing import Any, Final, TypeAlias

import msgspec

from core.records import Headers

#: Where a path begins, then one name after the other.
Steps: TypeAlias = tuple[str, ...]
ROOTS: Final = ("value", "key", "headers", "each")
_STEP = re.compile(r'"([^"]+)"(?:\.|\Z)|([^."\s][^."]*)(?:\.|\Z)')

_BAD_TEXT: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError)
_read = msgspec.json.Decoder().decode


class NotMapped(Exception):
    """A record cannot be made into facts; its text is one sentence for a person."""


class PointInTime(str):
    """A point in time as RFC 3339 text, from a value that can be nothing else."""

    __slots__ = ()


class FieldsOf:
    """What has fields and is no object of JSON."""

    __slots__ = ()

    def get(self, name: str, default: Any = None) -> Any:
        """What stands under a name, or `default`."""
        raise NotImplementedError


class Nothing(Enum):
    """What stands at a place where nothing stands; `null` is None."""

    THERE = 0


#: At hand: an enum's member takes long to be looked up.
NOTHING: Final = Nothing.THERE


def steps_of(text: str) -> Steps:
    """Split a path at its dots; a name with dots stands in double quotes.

    Raises:
        ValueError: a sentence's end that says what a path looks like.
    """
    steps: list[str] = []
    at = 0
    while at < len(text):
        found = _STEP.match(text, at)
        if found is None:
            break
        steps.append(found[1] or found[2])
        at = found.end()
    if at < len(text) or not steps or text.endswith(".") or steps[0] not in ROOTS:
        raise ValueError("use a path that begins with value, key, headers or each")
    if steps == ["headers"]:
        raise ValueError("use headers. and the name of one")
    return tuple(steps)


def spelt(steps: Steps) -> str:
    """The path as a map has it."""
    return ".".join(f'"{step}"' if "." in step else step for step in steps)


def json_of(text: bytes | str, what: str) -> Any:
    """JSON as msgspec reads it.

    Raises:
        NotMapped: it is none.
    """
    try:
        return _read(text)
    except _BAD_TEXT as error:
        raise NotMapped(f"{what} is not JSON: {_one_line(error)}.") from None


def text_of(raw: bytes, what: str) -> str:
    """Bytes as UTF-8.

    Raises:
        NotMapped: they are not.
    """
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise NotMapped(f"{what} is not UTF-8.") from None


class Places:
    """One record, looked up by paths. A text that a path goes into is read as JSON, once.

    Args:
        value: unframed.
        key: as it came; read as JSON where a path goes into it.
        headers: as they came; of one name the last counts.
    """

    def __init__(self, value: Any, key: bytes | None, headers: Headers) -> None:
        self._value, self._key, self._headers = value, key, headers
        self._texts: dict[str, Any] = {}

    def at(self, steps: Steps, each: Any = NOTHING) -> Any:
        """What stands there, or `NOTHING`.

        Args:
            steps: the path.
            each: the line that `each` means.

        Raises:
            NotMapped: a text on the way is no JSON, or bytes are no text.
        """
        root = steps[0]
        rest = steps[1:]
        if root == "value":
            node = self._value
        elif root == "each":
            node = each
        elif root == "key":
            node = None if self._key is None else text_of(self._key, "The key")
        else:
            node, rest = self._header(steps[1]), steps[2:]
        for step in rest:
            # Nearly always.
            node = node.get(step, NOTHING) if type(node) is dict else self._into(node, step, steps)
        return node

    def _into(self, node: Any, step: str, steps: Steps) -> Any:
        if isinstance(node, str):
            text = node
            if (node := self._texts.get(text, NOTHING)) is NOTHING:
                node = self._texts[text] = json_of(text, f"The text on the way to {spelt(steps)}")
        if isinstance(node, dict | FieldsOf):
            return node.get(step, NOTHING)
        if isinstance(node, list) and step.isdecimal():
            return node[int(step)] if len(step) < 10 and int(step) < len(node) else NOTHING
        return NOTHING

    def _header(self, name: str) -> Any:
        found: Any = NOTHING
        for header, raw in self._headers:
            if header == name:
                found = raw
        return text_of(found, f"The header {name}") if isinstance(found, bytes) else found


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return ascii(text[:120])[1:-1] or type(error).__name__
