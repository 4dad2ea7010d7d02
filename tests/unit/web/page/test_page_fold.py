"""The page adds facts up by itself: its sums are the worker's, for whatever happened to a row."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from playwright._impl._driver import compute_driver_executable

from core.partitioning import partition_for
from dev.workers import ROOT
from domain.events import SaleVoided, StockEvent
from domain.rules.held import HELD
from tests.support.inputs.builders import (
    LOCATION,
    RECORDED_MS,
    SKU,
    Owner,
    a_dispatch,
    a_receipt,
    a_return,
    a_sale,
    an_adjustment,
    at,
)
from web.http.times import rfc3339
from web.reads.replies import row_body

STORIES = 60
SAYS = """
import { NOTHING, apply, differences } from %r;
let text = "";
for await (const piece of process.stdin) text += piece;
const differs = ({ facts, told }) => differences(facts.reduce(apply, NOTHING), told);
console.log(JSON.stringify(JSON.parse(text).map(differs)));
"""
CROSS = """
import { cross } from %r;
let text = "";
for await (const piece of process.stdin) text += piece;
console.log(JSON.stringify(JSON.parse(text).map(([a, b]) => cross(a, b))));
"""
PLACES = """
import { partitionOf } from %r;
let text = "";
for await (const piece of process.stdin) text += piece;
console.log(JSON.stringify(JSON.parse(text).map(([sku, count]) => partitionOf(sku, count))));
"""
#: Of ids, sources, SKUs: what is one byte in no encoding, a character outside the first plane.
NAMES = ["4711-1", "tür-3", "日本", "a b", "😀", "x" * 300]


def voided(**fields: Any) -> StockEvent:
    sale = a_sale(**fields)
    return SaleVoided(specversion="1.0", id=sale.id, source=sale.source, data=sale.data)


def told_by_javascript(stories: list[dict[str, Any]]) -> list[list[str]]:
    """In which numbers the page's fold is not as the row that is told."""
    found: list[list[str]] = run_javascript(SAYS, stories)
    return found


def run_javascript(says: str, about: object, beside: str = "fold.js") -> Any:
    """What a program makes of a JSON text, with a file of the page beside it."""
    node, _ = compute_driver_executable()  # comes with the browser's driver
    file = ROOT.joinpath("web/page/static", beside).as_uri()
    done = subprocess.run(
        [node, "--input-type=module", "-e", says % file],
        input=json.dumps(about), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def a_story(chance: random.Random, rules: int) -> dict[str, Any]:
    """Facts of one row as a timeline tells them, and the row as the worker's fold has it."""
    makers: list[Callable[..., StockEvent]] = [
        a_receipt, a_dispatch, a_sale, a_return, an_adjustment, *([voided] if rules > 2 else []),
    ]  # fmt: skip
    owner = Owner(rules=HELD[rules])
    facts: list[dict[str, Any]] = []
    on_hand = 0
    for offset in range(chance.randint(1, 40)):
        make = chance.choice(makers)
        fields: dict[str, Any] = {"quantity": chance.choice([1, 2, 10**9])}
        if make is an_adjustment:
            fields = {"quantity": chance.choice([-3, 0, 5, -(10**9)])}
        if make is a_return:
            fields["reason"] = chance.choice(["damaged", None, "wrong size"])
        name = chance.choice(NAMES) + str(chance.randint(0, 9))
        event = make(id=name, source=chance.choice(NAMES), **fields)
        # Times of different topics need not rise with what comes.
        recorded = RECORDED_MS + chance.randint(0, 10**7)
        role = type(event).role
        before, repeated, refused = owner.row(event), owner.duplicates, len(owner.refusals)
        owner.fold([at(offset, event, recorded_ms=recorded)], role)
        outcome = "applied"
        if owner.duplicates > repeated:
            outcome = "repeated"
        elif len(owner.refusals) > refused:
            outcome = "refused"
        change = owner.row(event).on_hand - before.on_hand
        on_hand += change
        facts.append(
            {
                "outcome": outcome, "type": type(event).__struct_config__.tag,
                "quantity": event.data.quantity, "reason": event.data.reason, "change": change,
                "balance": on_hand, "source": event.source, "id": event.id,
                "recorded_at": rfc3339(recorded),
            }
        )  # fmt: skip
    row = owner.row(a_sale())
    return {"facts": facts, "told": msgspec.to_builtins(row_body(SKU, LOCATION, row))}


@pytest.mark.parametrize("rules", sorted(HELD))
def test_the_page_s_fold_is_the_worker_s(rules: int) -> None:
    chance = random.Random(rules)
    stories = [a_story(chance, rules) for _ in range(STORIES)]
    assert {fact["outcome"] for story in stories for fact in story["facts"]} >= {
        "applied",
        "repeated",
        "refused",
    }
    assert any(story["told"].get("damaged") for story in stories) is (rules > 2)

    assert told_by_javascript(stories) == [[]] * STORIES


def test_a_row_that_is_another_one_is_told_by_each_of_its_numbers() -> None:
    story = a_story(random.Random(7), 2)
    told = story["told"]
    wrong: list[dict[str, Any]] = []
    names = ["on_hand", "received", "dispatched", "sold", "returned", "adjusted", "events"]
    for name in names:
        wrong.append({"facts": story["facts"], "told": told | {name: told[name] + 1}})
    wrong.append({"facts": story["facts"], "told": told | {"damaged": 1}})
    wrong.append({"facts": story["facts"], "told": told | {"checksum": "0" * 16}})
    wrong.append({"facts": story["facts"], "told": told | {"updated_at": rfc3339(1)}})

    found = told_by_javascript(wrong)

    assert found == [[name] for name in (*names, "damaged", "checksum", "updated_at")]


def test_two_positions_cross_where_each_is_ahead_of_the_other_in_some_topic() -> None:
    crossing = [
        ("sales-3@5,shipments-3@3", "sales-3@4,shipments-3@4"),
        ("sales-3@5", "shipments-3@0"),
        ("my-sales-3@10,x-3@9,control@7", "my-sales-3@9,x-3@10,control@7"),
    ]
    not_crossing = [
        ("sales-3@5,shipments-3@3", "sales-3@5,shipments-3@3"),
        ("sales-3@5,shipments-3@3", "sales-3@4,shipments-3@3"),
        ("sales-3@5", "sales-3@5,shipments-3@3"),
        ("sales-3@5,control@9", "sales-3@6,control@7"),
        ("", "sales-3@6"),
    ]
    both = crossing + not_crossing
    turned = [(b, a) for a, b in both]

    expected = [True] * len(crossing) + [False] * len(not_crossing)
    assert run_javascript(CROSS, both + turned) == expected * 2


def test_the_page_finds_a_sku_in_the_partition_in_which_the_workers_count_it() -> None:
    chance = random.Random(11)
    skus = [chance.choice(NAMES)[:length] for length in range(1, 10) for _ in range(20)]
    skus += [f"SKU-{n:06}" for n in range(300)]
    asked = [(sku, count) for sku in skus for count in (1, 3, 12, 48)]

    found = run_javascript(PLACES, asked, "whose.js")

    assert found == [partition_for(sku.encode(), count) for sku, count in asked]
    assert len({*found}) == 48
