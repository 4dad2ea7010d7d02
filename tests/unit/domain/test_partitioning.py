"""Kafka's own partitioner decides where a SKU lives; ours must agree bit by bit."""

import pytest
from aiokafka.partitioner import DefaultPartitioner
from hypothesis import given
from hypothesis import strategies as st

from core import partitioning
from core.partitioning import are_of, murmur2, partition_for


@pytest.mark.parametrize(
    ("key", "signed"),
    [  # org.apache.kafka.common.utils.UtilsTest.testMurmur2
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_a_key_hashes_as_in_the_java_client(key: bytes, signed: int) -> None:
    assert murmur2(key) == signed % 2**32


@given(st.binary(max_size=300), st.integers(1, 200))
def test_a_key_goes_where_aiokafka_would_send_it(key: bytes, count: int) -> None:
    partitions = list(range(count))

    assert partition_for(key, count) == DefaultPartitioner()(key, partitions, partitions)


def test_the_sign_bit_is_cleared_and_not_negated() -> None:
    assert murmur2(b"foobar") >= 2**31

    assert partition_for(b"foobar", 12) == (-790332482 & 0x7FFFFFFF) % 12


@given(st.sets(st.binary(max_size=5), max_size=4), st.integers(0, 2))
def test_keys_are_of_a_partition_only_if_each_is(keys: set[bytes], partition: int) -> None:
    assert are_of(partition, keys, 3) == all(partition_for(key, 3) == partition for key in keys)


def test_hashes_that_are_forgotten_are_made_again_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    partitioning._hashes.clear()  # what other tests asked for
    monkeypatch.setattr(type(partitioning._hashes), "MOST", 2)
    keys = [b"%d" % n for n in range(10)]

    assert [partition_for(key, 12) for key in keys] == [murmur2(key) % 2**31 % 12 for key in keys]
    assert len(partitioning._hashes) <= 2
