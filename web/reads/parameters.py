"""The query parameters of reads: which there are, what they may say, and how they are told."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from core.positions import read_position
from domain.names import MAX_NAME_CHARS, fault_of, fault_of_part
from web.cluster.admission import MAX_WAIT_S
from web.http.parameters import SOME_TEXT, TEXT, Parameter, boolean, checked, number

ROOT = "/v1/inventory"
#: Of a page of a list that is not JSON (`web/reads/stored.py`). Another form has another number.
STORED_ROWS = "application/vnd.onhand.stored-rows.1+msgpack"
DEFAULT_LIMIT = 100
_INT64 = 2**63

#: A SKU or location in the document. Which characters are none of a name's is a long table
#: (domain/characters.py); those that come by mistake are in the pattern.
NAME = {
    "type": "string",
    "minLength": 1,
    "maxLength": MAX_NAME_CHARS,
    "pattern": r"^[^\u0000-\u001f\u007f-\u009f]+$",
}


def any_id(raw: str) -> str:
    """A SKU or a location."""
    return checked(raw, fault_of(raw))


def _prefix(raw: str) -> str:
    return checked(raw, fault_of_part(raw))


READ: Mapping[str, Parameter] = {
    "min_position": Parameter(read_position, TEXT, "Wait until this position has been handled."),
    "wait_ms": number(0, int(MAX_WAIT_S * 1000), "How long to wait for it; 1,000 by default."),
    "version": number(1, 999_999, "The rows of this version, also while it is staged: a preview."),
    "max_lag_events": number(0, _INT64 - 1, "Refuse an answer that lags by more."),
}
LOOKUP = {
    "partial": Parameter(
        boolean, {"type": "boolean"}, "Take an answer that names what is missing."
    ),
    **READ,
}
LIST = {
    "location": Parameter(any_id, NAME, "Only rows at this location."),
    "sku_prefix": Parameter(_prefix, TEXT, "Only SKUs that begin so: the cheap filter."),
    "on_hand_below": number(-_INT64, _INT64 - 1, "Only rows with less on hand."),
    "on_hand_above": number(-_INT64, _INT64 - 1, "Only rows with more on hand."),
    "limit": number(1, 1000, "Rows on a page; fewer may come with a cursor."),
    "cursor": Parameter(str, SOME_TEXT, "`next_cursor` of the page before."),
    **LOOKUP,
}


class Filters(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which rows a list holds."""

    location: str | None = None
    sku_prefix: str = ""
    on_hand_below: int | None = None
    on_hand_above: int | None = None
