"""Rows of the past are told in the fields of rows of now."""

import msgspec

from domain.rows import Row
from ledger.history import At
from web.history.bodies import PastBody
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
