"""What tells one event from all others: its eventID, and without one what it says.

The second is not the hash of the core business vocabulary but follows the same rules of what
counts: neither the order of lists, nor the shape of identifiers, nor when the event was recorded
or how its instant is written; but the local clock (eventTimeZoneOffset) and every field that is
not known here do. See docs/decisions/0093-an-epcis-event-without-an-id.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, Final

import msgspec

from importers.documents.epcis.identifiers import canonical
from importers.documents.epcis.model import EpcisEvent, Quantity, Transfer
from importers.documents.values import CannotRead, rfc3339_of

_QUANTITY: Final = frozenset(("epcClass", "quantity", "uom"))
_TRANSFER: Final = frozenset(("type", "source", "destination"))
_ID: Final = frozenset(("id",))
#: Objects within an event, and which of their fields are read.
_INNER: Final = {
    "readPoint": _ID,
    "bizLocation": _ID,
    "quantityList": _QUANTITY,
    "childQuantityList": _QUANTITY,
    "inputQuantityList": _QUANTITY,
    "outputQuantityList": _QUANTITY,
    "bizTransactionList": frozenset(("type", "bizTransaction")),
    "sourceList": _TRANSFER,
    "destinationList": _TRANSFER,
    "persistentDisposition": frozenset(("set", "unset")),
}
_NEVER_COUNT: Final = frozenset(("eventID", "recordTime", "errorDeclaration", "@context"))
_READ: Final = {field.encode_name for field in msgspec.structs.fields(EpcisEvent)} - _INNER.keys()


def known_by(event: EpcisEvent, raw: Mapping[str, Any]) -> str:
    """Return what the event is known by.

    Args:
        event: as it was read.
        raw: the same in the shape of JSON, with all that is not read; asked only where there is
            no eventID.
    """
    return event.event_id or f"sha256:{_digest(msgspec.json.encode(_said(event, raw)))}"


def unread(raw: bytes) -> str:
    """Return what an event that cannot be read is known by."""
    return f"unread:{_digest(raw)}"


def _said(event: EpcisEvent, raw: Mapping[str, Any]) -> list[Any]:
    try:
        time = rfc3339_of(event.event_time)
    except CannotRead:
        time = event.event_time
    lasting = event.persistent_disposition
    return [
        event.type,
        time,
        event.event_time_zone_offset,
        [
            text and canonical(text)
            for text in (
                *(event.parent_id, event.action, event.transformation_id, event.biz_step),
                *(event.disposition, event.epc_class),
                event.read_point and event.read_point.id,
                event.biz_location and event.biz_location.id,
            )
        ],
        event.quantity is not None and _number(event.quantity),
        [
            sorted(map(canonical, epcs))
            for epcs in (
                *(event.epc_list, event.child_epcs, event.input_epc_list, event.output_epc_list),
                lasting.set if lasting else [],
                lasting.unset if lasting else [],
            )
        ],
        [
            sorted(map(_quantity, quantities))
            for quantities in (
                *(event.quantity_list, event.child_quantity_list, event.input_quantity_list),
                event.output_quantity_list,
            )
        ],
        sorted(
            [canonical(one.type or ""), canonical(one.id)] for one in event.biz_transaction_list
        ),
        [_transfers(event.source_list), _transfers(event.destination_list)],
        _ordered(_rest(raw)),
    ]


def _quantity(element: Quantity) -> list[str]:
    amount = "" if element.quantity is None else _number(element.quantity)
    return [canonical(element.epc_class), amount, element.uom or ""]


def _number(number: Decimal) -> str:
    # normalize() makes 1E+2 of 100, always; and never writes a number out in full.
    return str(number.normalize())


def _transfers(transfers: Iterable[Transfer]) -> list[list[str]]:
    return sorted(
        [canonical(one.type or ""), canonical(one.source or one.destination or "")]
        for one in transfers
    )


def _rest(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is not read, also within places and lists."""
    rest: dict[str, Any] = {}
    for key, value in raw.items():
        if key in _READ or key in _NEVER_COUNT:
            continue
        if key in _INNER:
            inner = value if isinstance(value, list) else [value]
            more = [
                left
                for one in inner
                if isinstance(one, dict)
                and (left := {k: v for k, v in one.items() if k not in _INNER[key]})
            ]
            if more:
                rest[key] = more
        else:
            rest[key] = value
    return rest


def _ordered(value: Any) -> Any:
    """Sort what has no order of its own, so that one thing said twice is one text."""
    if isinstance(value, dict):
        return [[key, _ordered(value[key])] for key in sorted(value)]
    if isinstance(value, list):
        return sorted(map(_ordered, value), key=msgspec.json.encode)
    return str(value)


def _digest(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()
