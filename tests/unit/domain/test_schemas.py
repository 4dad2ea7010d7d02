"""What is published in schemas/ stays true, and says what the decoder does."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from core.refusals import Refused
from domain.names import fault_of
from domain.rules.held import NEWEST
from domain.schemas import Schema, breaches, export
from tests.support.inputs.builders import LETTERS, LOCATION, SKU
from tests.unit.domain.names_to_try import BAD, GOOD

PUBLISHED = Path(__file__).parents[3] / "schemas"
SALE, ADJUSTED = "inventory.sale.completed.v1", "inventory.stock.adjusted.v1"
FILES = sorted(f"{name}.schema.json" for name in NEWEST.events)
VALIDATORS = {kind: Draft202012Validator(export()[f"{kind}.schema.json"]) for kind in NEWEST.events}


def published(name: str) -> Schema:
    schema: Schema = json.loads((PUBLISHED / name).read_text(encoding="utf-8"))
    return schema


def test_every_type_is_published_and_nothing_else() -> None:
    assert sorted(path.name for path in PUBLISHED.glob("*.json")) == FILES


@pytest.mark.parametrize("name", FILES)
def test_what_is_published_is_what_the_code_says(name: str) -> None:
    # Otherwise: python -m domain.schemas schemas
    assert published(name) == export()[name]


@pytest.mark.parametrize("name", FILES)
def test_a_published_schema_is_never_broken(name: str) -> None:
    Draft202012Validator.check_schema(published(name))
    assert breaches(published(name), export()[name]) == []


def _drop_a_field(data: Schema) -> None:
    del data["properties"]["actor"]


def _loosen(data: Schema) -> None:
    data["properties"]["quantity"]["maximum"] += 1


def _tighten(data: Schema) -> None:
    data["properties"]["quantity"]["minimum"] += 1


def _require(data: Schema) -> None:
    data["required"].append("actor")


def _forbid_others(data: Schema) -> None:
    data["additionalProperties"] = False


def _forget_a_check(data: Schema) -> None:
    del data["properties"]["location"]["$ref"]


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (_drop_a_field, "$.properties.data.properties.actor"),
        (_loosen, "$.properties.data.properties.quantity.maximum"),
        (_tighten, "$.properties.data.properties.quantity.minimum"),
        (_require, "$.properties.data.required"),
        (_forbid_others, "$.properties.data.additionalProperties"),
        (_forget_a_check, "$.properties.data.properties.location.$ref"),
    ],
)
def test_a_change_that_would_break_a_producer_or_a_replay_is_found(
    change: Callable[[Schema], None], path: str
) -> None:
    current = published(f"{SALE}.schema.json")
    change(current["properties"]["data"])

    (breach,) = breaches(published(f"{SALE}.schema.json"), current)

    assert breach.startswith(path)


def test_an_optional_field_and_better_words_may_be_added() -> None:
    current = published(f"{SALE}.schema.json")
    current["properties"]["data"]["properties"]["currency"] = {"type": "string"}
    current["description"] = "Better words."

    assert breaches(published(f"{SALE}.schema.json"), current) == []


# ---- one rule, two readers

NAMES = st.one_of(
    st.text(LETTERS.encode(errors="ignore").decode(), max_size=4),  # no surrogates
    st.sampled_from(["x" * 128, "x" * 129, "😀" * 128, "😀" * 129, *GOOD, *BAD]),
)
IDS = NAMES | st.sampled_from(["x" * 1024, "x" * 1025, "😀" * 1024, "a\0"])
ODD: st.SearchStrategy[Any] = st.none() | st.booleans() | st.sampled_from([7, [], {}, ""])
QUANTITIES = st.one_of(
    st.integers(-2, 2),
    st.sampled_from([10**9, 10**9 + 1, -(10**9), -(10**9) - 1, 2.0, 2.5, -0.0, 1e9, 1e300]),
)
WORDS = st.none() | st.text(" a\nü\0", max_size=3)
TIMES = st.sampled_from(
    [
        *("2026-11-23T10:00:00Z", "2026-11-23 10:00:00.5+01:00", "2026-11-23t10:00:00z", None),
        *("2026-11-23T10:00:00", "2026-11-23T10:00:00+0100", "2026-11-23", "", "2026-11-23T10:00Z"),
    ]
)


def maybe(draw: st.DrawFn, strategy: st.SearchStrategy[Any]) -> Any:
    """Something odd, one time in eight."""
    return draw(ODD if draw(st.integers(0, 7)) == 0 else strategy)


@st.composite
def events(draw: st.DrawFn) -> dict[str, Any]:
    """Mostly sound events; each field odd or missing now and then."""
    data: dict[str, Any] = {
        "sku": maybe(draw, st.just(SKU) | NAMES),
        "location": maybe(draw, st.just(LOCATION) | NAMES),
        "quantity": maybe(draw, QUANTITIES),
    }
    for word in ("reason", "reference", "actor"):
        if draw(st.booleans()):
            data[word] = maybe(draw, WORDS)
    event: dict[str, Any] = {
        "specversion": maybe(draw, st.just("1.0")),
        "id": maybe(draw, IDS),
        "source": maybe(draw, IDS),
        "type": draw(st.sampled_from(sorted(NEWEST.events))),
        "time": maybe(draw, TIMES),
        "data": maybe(draw, st.just(data)),
    }
    for fields in (event, data):
        if draw(st.integers(0, 7)) == 0:
            del fields[draw(st.sampled_from(sorted(set(fields) - {"type"})))]
    return event


@settings(max_examples=2 * settings().max_examples)
@given(events())
def test_the_schema_and_the_decoder_agree(event: dict[str, Any]) -> None:
    by_schema = VALIDATORS[event["type"]].is_valid(event)

    decoded = NEWEST.decode(json.dumps(event).encode())

    # The form of its names is all of what an event says that a schema cannot ask for.
    if not (isinstance(decoded, Refused) and "NFC" in decoded.detail):
        assert by_schema == (not isinstance(decoded, Refused)), decoded


@pytest.mark.parametrize("name", [*GOOD, *BAD])
def test_the_schema_knows_each_character_of_a_name(name: str) -> None:
    data = {"sku": name, "location": "x", "quantity": 1}
    event = {"specversion": "1.0", "id": "1", "source": "s", "type": SALE, "data": data}

    assert VALIDATORS[SALE].is_valid(event) == ("NFC" in (fault_of(name) or "NFC"))


def test_patterns_mean_the_same_to_python_and_to_ecma() -> None:
    # "$" of Python also matches before a last newline; a rule that relied on it would differ.
    text = json.dumps(export())
    assert not re.search(r"\\\\[dwsb]", text)
    assert VALIDATORS[SALE].is_valid(
        {"specversion": "1.0", "id": "1", "source": "s", "type": SALE}
        | {"data": {"sku": "a", "location": "b", "quantity": 1}}
    )
    assert not VALIDATORS[ADJUSTED].is_valid({"data": {"sku": "a\n"}})
