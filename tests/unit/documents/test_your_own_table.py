"""docs/your-own-table.md: its projection, as it stands there, counts, and ends on no record."""

import contextlib
import io
import re
import sys
from types import ModuleType
from typing import Any

import pytest

from core.records import Address, Headers
from dev.workers import ROOT

PAGE = (ROOT / "docs/your-own-table.md").read_text()
HERE = Address("sales", "sales", 0, 1)
NOW_MS = 1_764_000_000_000
SALE = (
    '{"specversion":"1.0","source":"till-42","id":"1","type":"inventory.sale.completed.v1",'
    '"time":"2026-11-27T17:05:00Z",'
    '"data":{"sku":"SKU-000042","location":"store-042","quantity":3}}'
)


def block(pattern: str) -> str:
    found = re.search(pattern, PAGE, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Any:
    module = ModuleType("sales_per_hour")
    exec(block(r"<<'PROGRAM'\n(.*?)^PROGRAM$"), module.__dict__)
    monkeypatch.setitem(sys.modules, "sales_per_hour", module)
    return module


def read(
    program: Any, value: str, time_ms: int = NOW_MS, headers: Headers = ()
) -> tuple[list[bytes], list[int], list[str]]:
    record = (0, time_ms, b"SKU-000042", value.encode(), headers)
    found = program.BY_LOCATION.columns(HERE, [record])
    reasons = [str(letter.reason) for letter in found.refused]
    return list(found.keys), found.events["amount"].tolist(), reasons


@pytest.mark.parametrize(
    ("what", "amount"), [("sale.completed", 3), ("sale.returned", -3)], ids=["sold", "returned"]
)
def test_a_sale_counts_in_its_hour_and_a_return_takes_it_back(
    program: Any, what: str, amount: int
) -> None:
    found = read(program, SALE.replace("sale.completed", what))

    assert found == ([b"store-042\0" + b"2026-11-27T17"], [amount], [])


def test_a_sale_in_binary_mode_is_one_too(program: Any) -> None:
    head = {"specversion": "1.0", "source": "till-42", "id": "1", "time": "2026-11-27T17:05:00Z"}
    named = {**head, "type": "inventory.sale.completed.v1"}
    headers = [(f"ce_{name}", text.encode()) for name, text in named.items()]
    headers.append(("content-type", b"application/json"))

    keys, amounts, _ = read(
        program, '{"sku":"SKU-000042","location":"store-042","quantity":3}', headers=headers
    )

    assert (keys, amounts) == ([b"store-042\0" + b"2026-11-27T17"], [3])


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (":3}", f":{10**30}}}", "bad_data"),
        (":3}", ":-3}", "bad_data"),
        ("store-042", r"store\u0000-042", "bad_data"),
        # Without a zone it would be another hour on each machine.
        ("17:05:00Z", "17:05:00", "bad_time"),
        ("2026-11-27T17:05:00Z", "0001-01-01T00:00:00+14:00", "bad_time"),
        ("2026-11-27T17:05:00Z", "9999-12-31T23:59:59-14:00", "bad_time"),
        ("sale.completed", "shipment.received", "no_sale"),
        ("{", "", "not_json"),
    ],
)
def test_whatever_stands_in_the_log_is_a_dead_letter_and_never_the_end_of_the_worker(
    program: Any, old: str, new: str, reason: str
) -> None:
    assert old in SALE

    assert read(program, SALE.replace(old, new, 1)) == ([], [], [reason])


@pytest.mark.parametrize("time_ms", [2**63 - 1, -(2**63), 253_402_300_800_000])
def test_so_is_a_sale_without_a_time_that_was_recorded_in_no_year(
    program: Any, time_ms: int
) -> None:
    timeless = SALE.replace('"time":"2026-11-27T17:05:00Z",', "")

    assert read(program, timeless, time_ms) == ([], [], ["bad_time"])


def test_the_projection_is_tested_as_the_page_says(program: Any) -> None:
    said = io.StringIO()

    with contextlib.redirect_stdout(said):
        exec(block(r"^```python\n(from core\.fold.*?)^```$"), {})

    assert said.getvalue() == PAGE.rpartition("```text\n")[2].partition("```")[0]
