"""The way in: a record is decoded by the types that are known, or refused with the reason.

Addresses (`missing_key`, `key_mismatch`, `misrouted`) and duplicates (`id_conflict`) are
checked by the fold, after these: what is refused for its address is otherwise sound, so that
it can be sent again to the right one.

Two readers, one answer. `msgspec` reads the usual event in half a microsecond. What it
does not take, `examine` reads again with care: it finds the reason, or accepts what msgspec
is too strict for (2.0 as a quantity, leap seconds, lone surrogates in unknown fields). And
what msgspec takes too easily, `_is_plain` sends back. `examine` alone is the definition.

An event comes in structured or in binary mode (`domain/modes.py`), and is the same event in
both: nothing here or behind remembers which.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Union, cast

import msgspec
from msgspec.structs import fields

from core.records import Headers
from core.refusals import Refused
from domain.checks import (
    MAX_DEPTH,
    MAX_ID_CHARS,
    Kind,
    Moment,
    bound_of_depth,
    check_names,
    examine,
    is_utf8,
)
from domain.events import Adjustment, StockEvent
from domain.modes import (
    CONTENT_TYPE,
    SPECVERSION,
    Media,
    are_structured,
    is_binary,
    is_structured,
    media_of,
)

# What the fast reader raises for a value that is not for it: None is a TypeError, invalid
# UTF-8 a UnicodeDecodeError. `examine` then decides, so nothing is decided in silence here.
_NOT_FAST = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, TypeError)
# What msgspec reads in its own way: see `_is_plain`.
_BARE_OFFSET = re.compile(rb':\d\d(?:\.\d+)?[+-]\d{4}"')
_ESCAPED = re.compile(rb"\\u00(?:[23]|00)")  # digits and signs in disguise, and U+0000

_read_times = msgspec.json.Decoder(list[Moment]).decode
_NOT_QUICK = (*_NOT_FAST, ValueError, KeyError, AttributeError)


class Reader:
    """Reads records by the types that are known to it.

    Args:
        events: by name; the order says nothing.
    """

    def __init__(self, events: Mapping[str, type[StockEvent]]) -> None:
        self.events = events
        union: Any = Union[tuple(events.values())]  # noqa: UP007  # of a list that is not written here
        self._union = union
        self._fast = msgspec.json.Decoder(union).decode
        self._kinds = {
            name: Kind(signed=_data_of(event) is Adjustment, opposite=event.opposite)
            for name, event in events.items()
        }
        self._readers: dict[bytes | None, tuple[Any, Any]] = {
            name.encode(): (event, msgspec.json.Decoder(_data_of(event)).decode)
            for name, event in events.items()
        }

    def decode(self, value: bytes | None, headers: Headers = ()) -> StockEvent | Refused:
        """Read one record with every check of `domain/checks.py`. Never raises."""
        event = self.decode_batch([value], [headers])[0]
        if isinstance(event, Refused):
            return event
        return check_names(event.data.sku, event.data.location) or event

    def decode_batch(
        self, values: Sequence[bytes | None], headers: Sequence[Headers]
    ) -> list[StockEvent | Refused]:
        """Read many records; as `decode` on each, but for the characters of names.

        The fold knows most rows already and calls `check_names` only for those it does not.
        """
        if are_structured(headers):
            return self._structured(values)
        events = self._binary(values, headers)
        if events is not None:
            return cast("list[StockEvent | Refused]", events)
        return [self._either(*each) for each in zip(values, headers, strict=True)]

    def exact(self, value: bytes | None, headers: Headers = ()) -> StockEvent | Refused:
        """Read one record by the rules, step by step."""
        checked = examine(value, headers, self._kinds)
        if isinstance(checked, Refused):
            return checked
        event: StockEvent = msgspec.convert(checked, self._union)
        return event

    def _structured(self, values: Sequence[bytes | None]) -> list[StockEvent | Refused]:
        decoded: list[StockEvent | Refused] = []
        rest, is_plain = iter(values), True
        while len(decoded) < len(values):
            try:
                # extend() keeps what came before an exception, and `rest` goes on behind it.
                decoded.extend(map(self._fast, rest))  # type: ignore[arg-type]  # None: _NOT_FAST
            except _NOT_FAST:
                decoded.append(self.exact(values[len(decoded)]))
                is_plain = False
        if is_plain and _are_plain(cast("list[bytes]", values), cast("list[StockEvent]", decoded)):
            return decoded
        for i, value in enumerate(values):
            event = decoded[i]
            if value and not isinstance(event, Refused) and not _is_plain(value, event):
                decoded[i] = self.exact(value)
        return decoded

    def _binary(
        self, values: Sequence[bytes | None], headers: Sequence[Headers]
    ) -> list[StockEvent] | None:
        """Read events in binary mode at once if all are usual ones and their headers alike."""
        columns: dict[str, Sequence[bytes | None]] = {}
        try:
            names = [name for name, _ in headers[0]]
            # The columns first: where one record has a header more, it is they that raise.
            for column, name in zip(zip(*headers, strict=True), names, strict=True):
                columns[name] = values_of = [value for its, value in column if its == name]
                if len(values_of) < len(headers):
                    return None
            joined = b"".join(cast("Sequence[bytes]", values))
            read = [self._readers[kind] for kind in columns["ce_type"]]
            idents, sources = _quick_ids(columns["ce_id"]), _quick_ids(columns["ce_source"])
            times = _quick_times(columns.get("ce_time"), len(values))
            if (
                {*columns[SPECVERSION]} != {b"1.0"}
                or {media_of(kind) for kind in {*columns.get(CONTENT_TYPE, (None,))}}
                != {Media.JSON}
                or not (_are_short(values, joined) or all(map(_is_plain_value, values)))
            ):
                return None
            return [
                kind(specversion="1.0", id=ident, source=source, time=time, data=data(value))
                for (kind, data), ident, source, time, value in zip(
                    read, idents, sources, times, values, strict=True
                )
            ]
        except _NOT_QUICK:
            return None

    def _either(self, value: bytes | None, headers: Headers) -> StockEvent | Refused:
        """Read one record among others of other modes or looks."""
        fields = dict(headers)
        if is_structured(fields):
            return self._structured([value])[0]
        if is_binary(fields):
            events = self._binary([value], [list(fields.items())])
            if events is not None:
                return events[0]
        return self.exact(value, headers)


def _data_of(event: type[StockEvent]) -> Any:
    return next(field.type for field in fields(event) if field.name == "data")


def _are_plain(values: list[bytes], events: list[StockEvent]) -> bool:
    """Tell the same as `_is_plain` of all at once, where it is easy to see."""
    joined = b"".join(values)
    return (
        _are_short(values, joined)
        and b'+0000"' not in joined
        and b'-0000"' not in joined
        and not [e for e in events if e.time is not None and e.time.tzinfo is not UTC]
    )


def _is_plain(value: bytes, event: StockEvent) -> bool:
    """Tell whether the fast reader's word on what it accepted can be trusted.

    It skips unknown fields without looking at their UTF-8, the depth it can take depends
    on the caller's stack, it takes offsets without colon, and U+0000 in texts.
    """
    return _is_plain_value(value) and not (event.time and _BARE_OFFSET.search(value))


def _is_plain_value(value: bytes | None) -> bool:
    return (
        value is not None
        and is_utf8(value)
        and bound_of_depth(value) <= MAX_DEPTH
        and not _ESCAPED.search(value)
    )


def _quick_ids(ids: Sequence[bytes | None]) -> list[str]:
    """Read ids or sources.

    Raises:
        ValueError, TypeError: one of them is not a usual one.
    """
    joined = b"".join(cast("Sequence[bytes]", ids))
    lengths = {*map(len, cast("Sequence[bytes]", ids))}
    if b"\x00" in joined or 0 in lengths or max(lengths) > MAX_ID_CHARS:
        raise ValueError("not usual ids")
    return list(map(bytes.decode, cast("Sequence[bytes]", ids)))


def _quick_times(times: Sequence[bytes | None] | None, count: int) -> Sequence[datetime | None]:
    """Read times, as the fast reader would read each.

    Raises:
        ValueError, TypeError, msgspec.MsgspecError: one of them is not a usual one.
    """
    if times is None:
        return [None] * count
    joined = b'["%b"]' % b'","'.join(cast("Sequence[bytes]", times))
    # Without a plus and with no dash but the two of each date none has an offset.
    is_utc = b"+" not in joined and joined.count(b"-") <= 2 * count
    if (
        b"\\" in joined
        or joined.count(b'"') != 2 * count
        or not (is_utc or _BARE_OFFSET.search(joined) is None)
    ):
        raise ValueError("not usual times")
    return _read_times(joined)


def _are_short(values: Sequence[bytes | None], joined: bytes) -> bool:
    """Tell whether nothing in these values, side by side, is read by msgspec in its own way."""
    lengths = map(len, cast("Sequence[bytes]", values))
    return joined.isascii() and b"\\" not in joined and max(lengths, default=0) <= 2 * MAX_DEPTH
