"""The fields of an EPCIS event that are read, by the names of version 2.0."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import msgspec

KINDS: Final = (
    *("ObjectEvent", "AggregationEvent", "TransactionEvent", "TransformationEvent"),
    *("QuantityEvent", "AssociationEvent"),
)


class Identified(msgspec.Struct, frozen=True):
    """What has an id, and nothing else that is of interest: a place, an error declaration."""

    id: str | None = None


class Quantity(msgspec.Struct, frozen=True, rename={"epc_class": "epcClass"}):
    """An element of a quantity list; without a quantity it is not known how much."""

    epc_class: str
    quantity: Decimal | None = None
    uom: str | None = None


class Transfer(msgspec.Struct, frozen=True):
    """A source or a destination, of which only those of type location are places."""

    type: str | None = None
    source: str | None = None
    destination: str | None = None


class Transaction(msgspec.Struct, frozen=True, rename={"id": "bizTransaction"}):
    """An order, a despatch advice or the like that an event belongs to."""

    id: str
    type: str | None = None


class Dispositions(msgspec.Struct, frozen=True):
    """States that last; they count where an event is known by what it says."""

    set: list[str] = []
    unset: list[str] = []


class EpcisEvent(msgspec.Struct, frozen=True, rename="camel"):
    """The fields that are read, by the names of EPCIS 2.0."""

    type: str
    event_time: str
    event_time_zone_offset: str | None = None
    event_id: str | None = msgspec.field(default=None, name="eventID")
    error_declaration: Identified | None = None
    action: str | None = None
    biz_step: str | None = None
    disposition: str | None = None
    persistent_disposition: Dispositions | None = None
    read_point: Identified | None = None
    biz_location: Identified | None = None
    epc_list: list[str] = []
    quantity_list: list[Quantity] = []
    parent_id: str | None = msgspec.field(default=None, name="parentID")
    child_epcs: list[str] = msgspec.field(default=[], name="childEPCs")
    child_quantity_list: list[Quantity] = []
    input_epc_list: list[str] = msgspec.field(default=[], name="inputEPCList")
    input_quantity_list: list[Quantity] = []
    output_epc_list: list[str] = msgspec.field(default=[], name="outputEPCList")
    output_quantity_list: list[Quantity] = []
    transformation_id: str | None = msgspec.field(default=None, name="transformationID")
    epc_class: str | None = None
    quantity: Decimal | None = None
    biz_transaction_list: list[Transaction] = []
    source_list: list[Transfer] = []
    destination_list: list[Transfer] = []
