"""A foreign record made into facts, by a map; or why it is none. Never raises."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final, TypeAlias
from uuid import UUID

import msgspec

from core.records import Record, TooLarge
from importers.frames.maps import ForeignMap, TimeFormat, Tombstones
from importers.frames.places import NOTHING, NotMapped, Places, PointInTime, Steps, json_of, spelt

#: Reasons of the bridge's own; all others are those of the rules.
NOT_MAPPED: Final = "not_mapped"
_NULL_VALUE: Final = "null_value"
_TOO_LARGE: Final = "too_large"
#: Lines of one record; each is a fact, and all of them are one transaction.
MAX_LINES: Final = 1000
_WHOLE = re.compile(r"\s*([+-]?[0-9]{1,19})(?:\.0*)?\s*")
_UNITS: Final = {
    TimeFormat.SECONDS: 1,
    TimeFormat.MILLISECONDS: 1_000,
    TimeFormat.MICROSECONDS: 1_000_000,
    TimeFormat.NANOSECONDS: 1_000_000_000,
}
_DIGITS: Final = {1: 0, 1_000: 3, 1_000_000: 6, 1_000_000_000: 9}
#: The one type with a sign, and what the others do to the stock.
_SIGNED: Final = "inventory.stock.adjusted.v1"
_ADDING: Final = ("inventory.shipment.received.v1", "inventory.sale.returned.v1")
_TAKING: Final = ("inventory.shipment.dispatched.v1", "inventory.sale.completed.v1")
_WORD_FIELDS: Final = ("reason", "reference", "actor")
#: A decimal with more is no name of anything.
_MOST_DIGITS: Final = 128
#: What is no text.
_AS_FOUND: Final = ("quantity", "time")


class Unmade(msgspec.Struct, frozen=True):
    """A record that is no fact, and is to be kept for a person; `detail` is one ASCII sentence."""

    reason: str
    detail: str


class Left(msgspec.Struct, frozen=True):
    """A record that is not for stock, by the map's own word."""

    why: str


#: A CloudEvent, to be written as JSON.
EventFields: TypeAlias = dict[str, Any]
Outcome: TypeAlias = list[EventFields] | Left | Unmade


def facts_of(record: Record, topic: str, partition: int, by: ForeignMap) -> Outcome:
    """Make what a record says into CloudEvents, not yet checked by the rules.

    Args:
        record: as it came.
        topic: where it stood.
        partition: of the topic.
        by: the map.

    Returns:
        At least one event; or why the record is not for stock; or why it cannot be read.
    """
    offset, _, key, value, headers = record
    if isinstance(value, TooLarge):
        return Unmade(_TOO_LARGE, "The record has more than 1,048,576 bytes.")
    if value is None:
        if by.tombstones is Tombstones.SKIP:
            return Left("a tombstone")
        return Unmade(_NULL_VALUE, "The record has no value.")
    try:
        inside = by.unframe(value, headers)
        if inside is None and by.tombstones is Tombstones.SKIP:
            return Left("a tombstone")
        places = Places(inside, key, headers)
        made = list(_made(places, f"{topic}-{partition}@{offset}", by))
    except NotMapped as why:
        return Unmade(NOT_MAPPED, str(why).encode("ascii", "backslashreplace").decode())
    return made or Left("not wanted by [only]")


def _made(places: Places, position: str, by: ForeignMap) -> Iterator[EventFields]:
    if not _is_wanted(places, by.only, NOTHING, of_line=False):
        return
    if by.each is None:
        yield _fact(places, position, by, NOTHING, "")
        return
    lines = places.at(by.each)
    if isinstance(lines, str):
        lines = json_of(lines, f"The text at {spelt(by.each)}")
    if not isinstance(lines, list | tuple):
        raise NotMapped(f"{spelt(by.each)} is no list.")
    if len(lines) > MAX_LINES:
        raise NotMapped(f"{spelt(by.each)} has more than {MAX_LINES:,} lines.")
    for number, line in enumerate(lines, 1):
        if _is_wanted(places, by.only, line, of_line=True):
            yield _fact(places, position, by, line, f"#{number}")


def _is_wanted(
    places: Places, only: tuple[tuple[Steps, frozenset[str]], ...], line: Any, of_line: bool
) -> bool:
    """By the conditions on the record, or by those on a line of it."""
    for steps, words in only:
        if (steps[0] == "each") is of_line:
            found = places.at(steps, line)
            if found is NOTHING or _word(found) not in words:
                return False
    return True


def _word(found: Any) -> str:
    """A value as maps write it in quotes."""
    if found is None or isinstance(found, bool):
        return {None: "null", True: "true", False: "false"}[found]
    return str(found)


def _fact(places: Places, position: str, by: ForeignMap, line: Any, suffix: str) -> EventFields:
    at, words, said = places.at, by.words, dict(by.constants)
    for name, steps in by.paths.items():
        found = at(steps, line)
        if name in _AS_FOUND or (type(found) is str and name not in words):  # nearly always
            said[name] = found
        else:
            said[name] = _text(found, name, by, needed=name not in _WORD_FIELDS)
    kind, quantity = said["type"], _quantity(said["quantity"], by)
    if by.negative_type is not None and quantity < 0 and kind != _SIGNED:
        kind, quantity = _opposite(kind, quantity, by.negative_type)
    id_ = position + suffix
    if "id" in said:
        # One id of the whole record is not one of each line.
        id_ = said["id"] if by.paths["id"][0] == "each" else f"{said['id']}{suffix}"
    event: EventFields = {
        "specversion": "1.0",
        "id": id_,
        "source": said.get("source", f"bridge/{by.name}"),
        "type": kind,
    }
    if "time" in said and (time := _time(said["time"], by)) is not None:
        event["time"] = time
    data = {"sku": said["sku"], "location": said["location"], "quantity": quantity}
    for name in _WORD_FIELDS:
        if (word := said.get(name)) is not None:
            data[name] = word
    event["data"] = data
    return event


def _opposite(kind: str, quantity: int | float, meant: str) -> tuple[str, int | float]:
    """What a quantity below 0 is: it must do to the stock what its own type would undo."""
    if meant == _SIGNED:
        return meant, quantity if kind in _ADDING else -quantity
    if meant != kind and any(kind in same and meant in same for same in (_ADDING, _TAKING)):
        raise NotMapped(
            f"The quantity of {kind} is below 0, and negative_type, {meant}, would count it the "
            "wrong way round."
        )
    return meant, -quantity


def _text(found: Any, name: str, by: ForeignMap, needed: bool) -> str | None:
    if type(found) is str and name not in by.words:
        return found
    if found is None or found is NOTHING:
        if needed:
            raise NotMapped(f"{_called(name, by)} is not there.")
        return None
    if isinstance(found, Decimal) and _is_short(found) and found == found.to_integral_value():
        found = int(found)  # a column of numbers without digits behind the point
    if isinstance(found, bool | float | bytes) or not isinstance(found, str | int | UUID):
        raise NotMapped(f"{_called(name, by)} is no text.")
    text = str(found)
    words = by.words.get(name)
    if words is None:
        return text
    if text not in words:
        raise NotMapped(
            f"{_called(name, by)} is {_shown(text)}, a word that [words.{name}] does not have."
        )
    return words[text]


def _is_short(found: Decimal) -> bool:
    """No NaN or infinity, and nothing like 1E+1000000, which is a text of a million digits."""
    return found.is_finite() and abs(found.adjusted()) < _MOST_DIGITS


def _quantity(found: Any, by: ForeignMap) -> int | float:
    if found is None or found is NOTHING:
        raise NotMapped(f"{_called('quantity', by)} is not there.")
    if isinstance(found, bool):
        raise NotMapped(f"{_called('quantity', by)} is no number.")
    if isinstance(found, int | float):
        return found
    if isinstance(found, Decimal):
        found = f"{found:f}"  # never 2E+1
    if isinstance(found, str) and (whole := _WHOLE.fullmatch(found)):
        return int(whole[1])
    shown = _shown(found) if isinstance(found, str) else "something else"
    raise NotMapped(f"{_called('quantity', by)} is {shown}, no whole number.")


def _time(found: Any, by: ForeignMap) -> str | None:
    if found is None or found is NOTHING:
        return None
    if isinstance(found, PointInTime):
        return str(found)
    if isinstance(found, datetime):
        if found.tzinfo is None:
            raise NotMapped(f"{_called('time', by)} is of a clock whose zone nobody knows.")
        return found.isoformat().replace("+00:00", "Z")
    unit = _UNITS.get(by.time_format)
    if unit is None:
        if isinstance(found, str):
            return found
        raise NotMapped(
            f"{_called('time', by)} is no text: set time_format to s, ms, us or ns for a number."
        )
    whole = _WHOLE.fullmatch(str(found)) if isinstance(found, int | str) else None
    if whole is None or isinstance(found, bool):
        raise NotMapped(f"{_called('time', by)} is no whole number of {by.time_format}.")
    seconds, rest = divmod(int(whole[1]), unit)
    try:
        text = _second(seconds)
    except (OverflowError, ValueError, OSError):
        raise NotMapped(f"{_called('time', by)} is of no year from 1 to 9999.") from None
    part = f".{rest:0{_DIGITS[unit]}d}" if unit > 1 else ""
    return f"{text}{part}Z"


@lru_cache(maxsize=4096)  # neighbours come from the same second
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat()


def _called(name: str, by: ForeignMap) -> str:
    steps = by.paths.get(name)
    return f"The {name}" if steps is None else f"{spelt(steps)}, the {name},"


def _shown(text: str) -> str:
    return ascii(text if len(text) <= 60 else text[:57] + "...")
