"""The client's own hash is Kafka's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.partitioning import murmur2, partition_for
from onhand_client.partitioning import hash_of, partition_of


# From the tests of Apache Kafka's Utils.murmur2, with its signed numbers.
@pytest.mark.parametrize(
    ("key", "signed"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
        (b"", 275646681),
    ],
)
def test_the_hash_is_that_of_javas_client(key: bytes, signed: int) -> None:
    assert hash_of(key) == signed % 2**32


@given(st.text(max_size=40).filter(lambda text: text.isprintable()), st.integers(1, 1000))
def test_a_sku_is_sought_where_the_house_keeps_it(sku: str, count: int) -> None:
    assert hash_of(sku.encode()) == murmur2(sku.encode())
    assert partition_of(sku, count) == partition_for(sku.encode(), count)


def test_the_key_that_the_documents_name_is_in_partition_8() -> None:
    assert partition_of("SKU-000042", 12) == 8
