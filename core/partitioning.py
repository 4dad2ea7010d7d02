"""The only hasher of keys: which partition a SKU belongs to.

Kafka's Java client, kcat and librdkafka's `murmur2_random` agree on murmur2. A
producer with another partitioner writes to other partitions; the fold refuses its
records as `misrouted`, so the error is seen and no row gets a second home.
"""

from collections.abc import Collection
from typing import Final

_M = 0x5BD1E995
_SEED = 0x9747B28C
_MASK = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """Hash like Java's `org.apache.kafka.common.utils.Utils.murmur2`.

    Returns:
        The 32 bits as an unsigned number; Java shows the same bits signed.
    """
    length = len(data)
    h = _SEED ^ length
    whole = length & ~3
    for i in range(0, whole, 4):
        k = (int.from_bytes(data[i : i + 4], "little") * _M) & _MASK
        h = ((h * _M) & _MASK) ^ (((k ^ (k >> 24)) * _M) & _MASK)
    if whole < length:
        h = ((h ^ int.from_bytes(data[whole:], "little")) * _M) & _MASK
    h = ((h ^ (h >> 13)) * _M) & _MASK
    return h ^ (h >> 15)


class _Hashes(dict[bytes, int]):
    """Hashes of keys that came lately: Python takes 3 us for one, and keys come again."""

    MOST: Final = 2**15

    def __missing__(self, key: bytes) -> int:
        if len(self) >= self.MOST:
            self.clear()
        # Java's `toPositive` clears the sign bit; it does not take the absolute value.
        self[key] = positive = murmur2(key) & 0x7FFFFFFF
        return positive


_hashes = _Hashes()


def partition_for(key: bytes, count: int) -> int:
    """Return the partition, 0 to `count` - 1, of a record with this key."""
    return _hashes[key] % count


def are_of(partition: int, keys: Collection[bytes], count: int) -> bool:
    """Tell whether `partition_for` says this partition for each of them."""
    return {positive % count for positive in map(_hashes.__getitem__, keys)} <= {partition}
