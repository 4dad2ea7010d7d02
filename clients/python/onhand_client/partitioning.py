"""Which partition a SKU belongs to: murmur2 of its UTF-8, as Kafka's Java client has it."""

from functools import lru_cache

_M = 0x5BD1E995
_SEED = 0x9747B28C
_BITS = 0xFFFFFFFF


def hash_of(key: bytes) -> int:
    """Kafka's murmur2, as an unsigned number of 32 bits."""
    rest = len(key) % 4
    body = len(key) - rest
    state = _SEED ^ len(key)
    for at in range(0, body, 4):
        word = int.from_bytes(key[at : at + 4], "little") * _M & _BITS
        word = (word ^ word >> 24) * _M & _BITS
        state = (state * _M & _BITS) ^ word
    if rest:
        state = (state ^ int.from_bytes(key[body:], "little")) * _M & _BITS
    state = (state ^ state >> 13) * _M & _BITS
    return state ^ state >> 15


@lru_cache(maxsize=16_384)
def partition_of(sku: str, count: int) -> int:
    """The partition, 0 to `count` - 1, that holds every row of this SKU.

    Raises:
        UnicodeEncodeError: half a surrogate pair stands in the SKU.
    """
    # Java clears the sign bit; it does not take the absolute value.
    return (hash_of(sku.encode()) & 0x7FFFFFFF) % count
