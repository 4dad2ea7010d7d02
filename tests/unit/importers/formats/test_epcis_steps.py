"""What each business step of the core vocabulary does to stock: all of them, by name."""

from __future__ import annotations

from decimal import Decimal

import pytest

from importers.documents.port import LevelLine, MovedLine, Movement, OtherLine
from tests.unit.importers.formats import writing
from tests.unit.importers.formats.writing import DEPOT, STORE, epcis_json, event

#: Movement, sign and reason.
MOVING = {
    "receiving": (Movement.RECEIVED, 1, None),
    "shipping": (Movement.DISPATCHED, 1, None),
    "retail_selling": (Movement.SOLD, 1, None),
    "destroying": (Movement.ADJUSTED, -1, "destroying"),
    "decommissioning": (Movement.ADJUSTED, -1, "decommissioning"),
    "void_shipping": (Movement.ADJUSTED, 1, "correction"),
}
COUNTING = ("stock_taking", "cycle_counting")
STANDING = [
    *("accepting", "arriving", "collecting", "commissioning", "creating_class_instance"),
    *("departing", "encoding", "entering_exiting", "holding", "inspecting", "installing"),
    *("killing", "loading", "packing", "picking", "removing", "repairing", "replacing"),
    *("reserving", "sensor_reporting", "staging_outbound", "stocking", "storing"),
    *("transporting", "unloading", "unpacking"),
]


def line_of(step: str, **fields: object) -> object:
    places = {"readPoint": {"id": STORE}, "bizLocation": {"id": DEPOT}}
    told = event(bizStep=step, **{**places, **fields})
    (line,) = writing.lines(writing.read(epcis_json(told), "epcis-json"))
    return line


@pytest.mark.parametrize("step", MOVING)
def test_a_step_that_moves_has_its_movement_sign_and_reason(step: str) -> None:
    line = line_of(step)

    assert isinstance(line, MovedLine)
    movement, sign, reason = MOVING[step]
    assert (line.movement, line.quantity, line.reason) == (movement, Decimal(sign), reason)


@pytest.mark.parametrize("step", COUNTING)
def test_a_step_that_counts_is_a_level_where_the_goods_are(step: str) -> None:
    line = line_of(step)

    assert isinstance(line, LevelLine)
    assert line.place.code == writing.DEPOT_GLN


@pytest.mark.parametrize("step", STANDING)
@pytest.mark.parametrize("action", ["ADD", "OBSERVE"])
def test_a_step_that_moves_nothing_is_not_for_stock_whatever_is_done(
    step: str, action: str
) -> None:
    line = line_of(step, action=action)

    assert isinstance(line, OtherLine)
    assert f"The business step {step} brings nothing" in line.rule


@pytest.mark.parametrize("step", ["receiving", "retail_selling", "packing", None])
def test_an_association_moves_nothing_whatever_its_step(step: str) -> None:
    line = line_of(step, type="AssociationEvent", epcList=None, parentID=writing.SSCC)

    assert isinstance(line, OtherLine)
    assert "ties things together" in line.rule
