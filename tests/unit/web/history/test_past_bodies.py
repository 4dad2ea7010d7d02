"""Rows of the past are told in the fields of rows of now."""

import msgspec

from domain.rows import Row
from ledger.history import At, Entry
from web.feed.answering import told_fact
from web.history.bodies import PastBody
from web.history.found import told_time
from web.history.telling import past_row, past_sku

HISTORY = PastBody("http://ledger", "sales-0@1", None, None, None)
AT = At("SKU-1", "store-1", Row(received=5, sold=7, events=2, checksum=3, updated_at=1), "")


def test_a_row_and_a_sku_of_the_past_have_what_those_of_now_have() -> None:
    row = msgspec.to_builtins(past_row(AT, HISTORY))
    sku = msgspec.to_builtins(past_sku("SKU-1", [AT, AT], HISTORY))

    assert (row["on_hand"], row["checksum"], row["history"]["position"]) == (
        *(-2, "0000000000000003", "sales-0@1"),
    )
    assert (sku["on_hand"], sku["events"], len(sku["items"])) == (-4, 4, 2)


def test_a_line_of_the_ledger_is_told_alike_to_who_follows_and_to_who_asks_what_became_of_it() -> (
    None
):
    applied = Entry(
        topic=1, part=3, offset=9, log_at=5_000, recorded_at=5_000, occurred_at=4_000, outcome=0,
        repeat_of=None, kind=2, quantity=2, sku="SKU-1", location="store-1", source="till",
        id="7", reference="bon", reason=None, actor="ann", field=2, amount=2,
    )  # fmt: skip
    repeated = applied._replace(outcome=1, repeat_of=4)
    refused = applied._replace(
        outcome=2, kind=None, quantity=None, sku=None, location=None,
        refused=("unknown_type", "it is of no type that is known"),
    )  # fmt: skip
    for entry in (applied, repeated, refused):
        followed = msgspec.to_builtins(told_fact(entry, {1: "sales"}))
        asked = msgspec.to_builtins(told_time(entry, {1: "sales"}))

        if "refused" in followed:
            followed["reason"] = followed.pop("refused")
        assert asked == {name: followed[name] for name in asked}
        assert followed.keys() - asked.keys() <= {
            *("source", "id", "occurred_at", "change", "reference", "actor"),
        }
