"""Who posted a fact says nothing of the fact: the same one by another token is a repetition."""

from __future__ import annotations

import json

import pytest

from dev.oracle.stock import Oracle
from dev.oracle.stock import Record as LogRecord
from tests.support.inputs.builders import LOCATION, RECORDED_MS, SKU, Owner, as_json, at
from web.writes.lines import said_by

#: As tills post it, before and after their token was changed, and when none was needed.
POSTED = [as_json(), said_by("till-17", as_json()), said_by("till-17b", as_json())]


def test_a_retry_after_a_token_was_changed_is_counted_once_by_rules_and_oracle() -> None:
    other = said_by("till-17", as_json(data={"sku": SKU, "location": LOCATION, "quantity": 3}))
    log = [*POSTED, other]
    owner, oracle = Owner(), Oracle(partitions=1)

    owner.fold([at(offset, value) for offset, value in enumerate(log)]).commit()
    for offset, value in enumerate(log):
        oracle.feed(LogRecord("sales", 0, offset, RECORDED_MS + offset, SKU.encode(), value))

    assert owner.counts["sales"] == (1, 2, 1)
    assert [letter.reason for letter in owner.letters] == ["id_conflict"]
    assert (oracle.applied["sales"], len(oracle.repeated)) == (1, 2)
    assert [*oracle.refused.values()] == ["id_conflict"]


@pytest.mark.parametrize(
    "event",
    [
        b' {"a":1,"onhandactor":"x","onhandactor":"y"} ',
        b'{"\\u006fnhandactor":"x","n":1.00000000000000000001}',
        b'{"\\ud800":1,"onhandactor":"x"}',
        b'{"onhandactor":{"deep":[1]}}',
    ],
)
def test_whatever_it_said_of_itself_the_last_word_is_the_tokens(event: bytes) -> None:
    said = said_by("till-17", event)

    assert json.loads(said)["onhandactor"] == "till-17"
    assert json.loads(said).get("n") == json.loads(event).get("n")
