"""What a broker takes must be readable, or refused by itself, or said to be damaged."""

import hashlib
import tracemalloc
from collections.abc import Sequence
from itertools import chain, pairwise
from typing import Any

import pytest

import wire.batches
from core.records import MAX_RECORD_BYTES, Address, Record, TooLarge
from domain.columns import columns
from domain.events import Refusal
from domain.rules.held import CURRENT
from tests.support.inputs.builders import a_sale
from tests.support.topics import rawlog
from tests.support.topics.rawlog import (
    GZIP,
    LZ4,
    NONE,
    SNAPPY,
    ZSTD,
    Raw,
    a_batch,
    an_old_message,
    framed,
)
from wire.batches import PIECE_RECORDS, Packed, Unreadable, aborts, next_batch, pieces, slowly
from wire.packing import AnyHeaders, is_escaped

CODECS = [NONE, GZIP, SNAPPY, LZ4, ZSTD]
ADDRESS = Address("sales", "sales", 0, 1)
STRANGE = b"\xff\xfe na\xefve"


def read(data: bytes, start: int = 0, **limits: Any) -> list[Record]:
    return list(chain.from_iterable(pieces(data, start, **limits)))


def a_value(number: int, size: int = 0) -> bytes:
    import msgspec

    event = msgspec.to_builtins(a_sale(id=str(number)))
    return msgspec.json.encode({**event, "pad": "x" * size})


def some(count: int) -> list[Raw]:
    return [Raw(b"k%d" % n, a_value(n), [(b"h", b"%d" % n)]) for n in range(count)]


def the_same(found: Sequence[Record], sent: Sequence[Raw]) -> bool:
    def raw(record: Record) -> Raw:
        named = [(name.encode(errors="surrogateescape"), its) for name, its in record[4]]
        return Raw(record[2], record[3], named)

    return [raw(each) for each in found] == [
        each._replace(headers=[*each.headers]) for each in sent
    ]


@pytest.mark.parametrize("codec", CODECS)
def test_a_header_name_of_any_bytes_is_kept_and_harms_no_record(codec: int) -> None:
    sent = some(1_200)
    sent[700] = sent[700]._replace(headers=[(STRANGE, b"\x00\xff"), (b"", None)])

    found = read(a_batch(sent, codec))

    assert the_same(found, sent)
    assert [record[0] for record in found] == list(range(1_200))


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("start", [0, 3, 699])
def test_pieces_are_the_same_records_however_they_are_cut(codec: int, start: int) -> None:
    sent = some(700)
    cuts = [0, 1, 2, 5, 400, 700]
    data = b"".join(a_batch(sent[a:b], codec, base=a) for a, b in pairwise(cuts))

    cut = list(pieces(data, start))

    assert the_same(list(chain.from_iterable(cut)), sent[start:])
    assert max(map(len, cut)) <= PIECE_RECORDS
    assert read(a_batch(sent, codec), start) == read(data, start)


@pytest.mark.parametrize("codec", CODECS)
def test_the_slow_reader_reads_what_the_quick_one_does(
    codec: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = some(300)
    sent[3] = Raw(None, None)
    sent[4] = Raw(b"", b"", [(b"a", b""), (b"a", None)])
    quick = read(a_batch(sent, codec, base=50))
    monkeypatch.setattr(wire.batches, "_quickly", lambda batch: None)
    monkeypatch.setattr(wire.batches, "_RATIOS", (2**40,) * 8)  # none is small

    found = read(a_batch(sent, codec, base=50))

    assert [(*r[:4], [*r[4]]) for r in found] == [(*r[:4], [*r[4]]) for r in quick]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("neighbours", [0, 1, 40])
@pytest.mark.parametrize("above", [0, 1])
def test_a_record_is_too_large_by_itself_whoever_came_with_it(
    codec: int, neighbours: int, above: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire.batches, "WHOLE_BYTES", 3 * 2**20)  # else none is read slowly
    names = [(b"h" * 200, b"v")] * 1_000
    large = Raw(b"SKU-1", b"x", names)
    rest = MAX_RECORD_BYTES - sum(len(n) + len(v or b"") + 2 for n, v in names) - len(b"SKU-1")
    large = large._replace(value=b"x" * (rest + above))
    other = Raw(b"SKU-2", b"y" * 100_000)
    sent = [other] * neighbours + [large] + [other] * neighbours

    found = read(a_batch(sent, codec))

    assert len(found) == len(sent)
    value = found[neighbours][3]
    assert isinstance(value, TooLarge) == bool(above)
    if above:
        content = b"SKU-1" + b"x" * (rest + above)
        assert value == f"{len(content)} {hashlib.sha256(content).hexdigest()}".encode()
        (letter,) = columns(ADDRESS, found[neighbours : neighbours + 1], CURRENT).refused
        assert (letter.reason, letter.key, letter.value) == (Refusal.TOO_LARGE, None, value)
    rest_found = [record for n, record in enumerate(found) if n != neighbours]
    assert all(record[3] == b"y" * 100_000 for record in rest_found)


@pytest.mark.parametrize("codec", [GZIP, LZ4, ZSTD])
@pytest.mark.parametrize("records", [1, 64])
def test_what_unpacks_to_much_is_read_in_little_memory(codec: int, records: int) -> None:
    whole = 64 * 2**20
    sent = [Raw(b"k", bytes(whole // records - 50))] * records
    data = a_batch(sent, codec)
    assert len(data) < 2**20
    del sent
    tracemalloc.start()
    try:
        found, most = 0, 0
        for piece in pieces(data, 0):
            found += len(piece)
            most = max(most, sum(len(record[3] or b"") for record in piece))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert found == records
    assert most <= 4 * 2**20
    assert peak < whole / 2  # the old reader took three times the whole


@pytest.mark.parametrize("codec", CODECS)
def test_small_batches_that_unpack_to_much_make_no_large_piece(codec: int) -> None:
    one = a_batch([Raw(b"k", bytes(200_000))], codec)
    data = b"".join(n.to_bytes(8) + one[8:] for n in range(300))  # its checksum holds no offset

    cut = list(pieces(data, 0))

    assert [record[0] for piece in cut for record in piece] == list(range(300))
    assert max(sum(len(record[3] or b"") for record in piece) for piece in cut) < 34 * 2**20


@pytest.mark.parametrize("magic", [0, 1])
@pytest.mark.parametrize("codec", [NONE, GZIP, SNAPPY, LZ4])
def test_old_formats_are_read(magic: int, codec: int) -> None:
    if codec == NONE:
        data = b"".join(an_old_message(b"k%d" % n, b"v", offset=7 + n, magic=magic) for n in (0, 1))
    else:
        inside = b"".join(
            an_old_message(b"k%d" % n, b"v", offset=n if magic else 7 + n, magic=magic)
            for n in (0, 1)
        )
        wrapped = rawlog.packed(codec, inside)
        data = an_old_message(None, wrapped, offset=8, magic=magic, codec=codec)

    time_ms = 5 if magic else -1
    assert read(data) == [(7, time_ms, b"k0", b"v", ()), (8, time_ms, b"k1", b"v", ())]
    assert read(data, 8) == [(8, time_ms, b"k1", b"v", ())]


def test_a_record_of_an_old_format_may_be_too_large_too() -> None:
    large = an_old_message(b"k", b"x" * MAX_RECORD_BYTES, offset=0, magic=1)
    small = an_old_message(b"k", b"v", offset=1, magic=1)
    data = an_old_message(None, rawlog.packed(GZIP, large + small), offset=1, magic=1, codec=GZIP)

    found = read(data)

    assert [record[0] for record in found] == [0, 1]
    assert isinstance(found[0][3], TooLarge)
    assert found[0][3].startswith(b"%d " % (MAX_RECORD_BYTES + 1))


def test_a_time_of_minus_one_is_a_time() -> None:
    found = read(a_batch(some(2), time_ms=-1))

    assert columns(ADDRESS, found, CURRENT).first == (0, -1)


def test_an_empty_batch_holds_nothing_and_is_passed_over() -> None:
    data = framed(b"", 0) + a_batch(some(2), base=1)

    assert [record[0] for record in read(data)] == [1, 2]


SOUND = a_batch(some(3))
DAMAGED = a_batch(some(3), base=3)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (DAMAGED[:-1] + bytes([DAMAGED[-1] ^ 1]), "fails its checksum"),
        (DAMAGED[:22] + b"\x20" + DAMAGED[23:], "fails its checksum"),
        (framed(b"", 0, base=3, magic=3), "format 3 is not known"),
        (framed(b"abc", 1, base=3, attributes=5), "codec 5 is not known"),
        (framed(b"abcdef", 1, base=3, attributes=ZSTD), "cannot be unpacked"),
        (framed(b"abcdef", 1, base=3, attributes=LZ4), "cannot be unpacked"),
        (framed(b"abcdef", 1, base=3, attributes=GZIP), "not gzip"),
        (framed(b"\x7fbcdef", 1, base=3, attributes=SNAPPY), "not snappy"),
        (framed(rawlog.body(some(2)), 1, base=3), "more records than it says"),
        (framed(rawlog.body(some(1)), 2, base=3), "cut short"),
        (framed(b"\x06\x00\x00\x00", 1, base=3), "damaged"),
        (DAMAGED[:-9], "cut short"),
        (DAMAGED[:8] + b"\x00\x00\x00\x05" + DAMAGED[12:], "says that it has 5 bytes"),
        (b"\x00", "cut short"),
    ],
)
def test_what_cannot_be_read_is_said_after_what_can(data: bytes, why: str) -> None:
    found: list[Record] = []
    with pytest.raises(Unreadable, match=why):
        found.extend(chain.from_iterable(pieces(SOUND + data, 0)))

    assert [record[0] for record in found][:3] == [0, 1, 2]


def a_marker(kind: int | None, producer_id: int = 9) -> Packed:
    records = [] if kind is None else [Raw(b"\x00\x00" + kind.to_bytes(2), b"\x00" * 6)]
    raw = framed(
        rawlog.body(records), len(records), attributes=rawlog.CONTROL | rawlog.TRANSACTIONAL,
        producer_id=producer_id,
    )  # fmt: skip
    found = next_batch(raw, 0)
    assert found is not None
    assert found.is_control
    return found


@pytest.mark.parametrize(("kind", "expected"), [(0, True), (1, False), (7, False), (None, True)])
def test_a_marker_of_any_kind_or_none_is_understood(kind: int | None, expected: bool) -> None:
    assert aborts(a_marker(kind)) == expected


def test_a_record_with_strange_names_is_written_as_it_came() -> None:
    sent = some(3)
    sent[1] = sent[1]._replace(headers=[(STRANGE, b"1"), (STRANGE, None)])
    records = read(a_batch(sent))
    assert [is_escaped(record[4][0][0]) for record in records] == [False, True, False]
    built = AnyHeaders(2**20)
    for n, (_, time_ms, key, value, headers) in enumerate(records):
        assert built.append(n, time_ms, key, value, headers) == n
    built.set_producer_state(1, 2, 3)

    assert the_same(read(bytes(built.build())), sent)


def test_a_batch_with_strange_names_is_closed_at_its_limit() -> None:
    built = AnyHeaders(1_000)

    assert built.append(0, 1, None, b"x" * 2_000, []) == 0  # the first one always goes in
    assert built.append(1, 1, None, b"x", []) is None
    (batch,) = read(bytes(built.build()))
    assert batch[3] == b"x" * 2_000


def test_the_changelog_takes_no_record_larger_than_any_of_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wire.batches, "_LARGEST_KEPT", 1_000)
    batch = next_batch(a_batch([Raw(b"k", b"x" * 2_000)]), 0)
    assert batch is not None

    with pytest.raises(Unreadable, match="more than 16 MiB"):
        list(slowly(batch, 0))
