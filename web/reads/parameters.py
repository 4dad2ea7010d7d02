"""What a read asks for: path, query and headers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from core.positions import read_position
from domain.names import MAX_NAME_CHARS, fault_of, fault_of_part
from web.cluster.admission import MAX_WAIT_S, Asked
from web.cluster.peers import HOP, PARTITIONS
from web.http.parameters import (
    TEXT,
    BadRequest,
    Parameter,
    boolean,
    checked,
    number,
    part_of,
    wrong,
)

ROOT = "/v1/inventory"
DEFAULT_LIMIT = 100
_INT64 = 2**63

#: A SKU or location in the document.
NAME = {"type": "string", "minLength": 1, "maxLength": MAX_NAME_CHARS}


# ---- the path


def key_of(path: str) -> tuple[str, ...] | None:
    """SKU, or SKU and location, from a path under `ROOT`; None if the path has another shape.

    Raises:
        BadRequest: the shape is right and a part can be no id.
    """
    parts = path[len(ROOT) + 1 :].split("/")
    if not path.startswith(ROOT + "/") or len(parts) > 2:
        return None
    ids, faults = [], []
    for name, raw in zip(("sku", "location"), parts, strict=False):
        try:
            ids.append(_id(part_of(raw)))
        except ValueError as error:
            faults.append(wrong(name, str(error)))
    if faults:
        raise BadRequest(*faults)
    return tuple(ids)


# ---- the query


def _id(raw: str) -> str:
    return checked(raw, fault_of(raw))


def _prefix(raw: str) -> str:
    return checked(raw, fault_of_part(raw))


READ: Mapping[str, Parameter] = {
    "min_position": Parameter(read_position, TEXT, "Wait until this position has been handled."),
    "wait_ms": number(0, int(MAX_WAIT_S * 1000), "How long to wait for it; 1,000 by default."),
    "max_lag_events": number(0, _INT64 - 1, "Refuse an answer that lags by more."),
}
LOOKUP = {
    "partial": Parameter(
        boolean, {"type": "boolean"}, "Take an answer that names what is missing."
    ),
    **READ,
}
LIST = {
    "location": Parameter(_id, NAME, "Only rows at this location."),
    "sku_prefix": Parameter(_prefix, TEXT, "Only SKUs that begin so: the cheap filter."),
    "on_hand_below": number(-_INT64, _INT64 - 1, "Only rows with less on hand."),
    "on_hand_above": number(-_INT64, _INT64 - 1, "Only rows with more on hand."),
    "limit": number(1, 1000, "Rows on a page; fewer may come with a cursor."),
    "cursor": Parameter(str, TEXT, "`next_cursor` of the page before."),
    **LOOKUP,
}


class Filters(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which rows a list holds."""

    location: str | None = None
    sku_prefix: str = ""
    on_hand_below: int | None = None
    on_hand_above: int | None = None


def asked_of(values: Mapping[str, Any], headers: Mapping[str, str]) -> Asked:
    """What the caller demands of any answer."""
    return Asked(
        values.get("min_position", {}),
        values.get("wait_ms", 1000) / 1000,
        values.get("max_lag_events"),
        HOP in headers,
    )


def filters_of(values: Mapping[str, Any]) -> Filters:
    """Those of a list."""
    fields: Collection[str] = Filters.__struct_fields__
    return Filters(**{name: values[name] for name in fields if name in values})


def partitions_of(headers: Mapping[str, str], count: int) -> list[int]:
    """Partitions that a list is restricted to by another worker; all without the header.

    Raises:
        BadRequest: not partition numbers.
    """
    raw = headers.get(PARTITIONS)
    if raw is None:
        return list(range(count))
    try:
        numbers = sorted({int(part) for part in raw.split(",")})
    except ValueError:
        numbers = [-1]
    if not 0 <= numbers[0] <= numbers[-1] < count:
        raise BadRequest(wrong(PARTITIONS, f"must be numbers from 0 to {count - 1}"))
    return numbers
