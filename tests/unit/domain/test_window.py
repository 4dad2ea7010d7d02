"""The duplicates window against a plain list, through merges, commits and restarts."""

from collections.abc import Iterator, Sequence
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core import window as module
from core.window import _TAIL_ENTRIES as TAIL
from core.window import BLOCK_ENTRIES, IDENTITY_BITS, MAX_WINDOW, Verdict, Window, parse_key

# Some share a bucket of the table, some differ in the top or the lowest bit only.
IDENTITIES = (0, 1, 2, 1 << 42, (1 << 42) + 1, 1 << 55, (1 << IDENTITY_BITS) - 1)
EVENTS = st.tuples(
    st.integers(1, 5).map(lambda gap: gap if gap < 4 else 1),
    st.sampled_from(IDENTITIES),
    st.sampled_from([0, 1, 2**32 - 1]),
)


@pytest.fixture(autouse=True)
def _everything_happens_with_few_entries() -> Iterator[None]:
    with patch.multiple(module, _TAIL_ENTRIES=3, BLOCK_ENTRIES=8, MAX_PARTS=3):
        yield


def by_hand(log: Sequence[tuple[int, int, int]], size: int) -> list[Verdict | None]:
    """The rule as the design words it, over all that was ever accepted."""
    accepted: list[tuple[int, int, int]] = []
    verdicts: list[Verdict | None] = []
    for offset, identity, content in log:
        seen = [c for o, i, c in accepted if i == identity and offset - size <= o < offset]
        if not seen:
            accepted.append((offset, identity, content))
            verdicts.append(None)
        else:
            verdicts.append(Verdict.REPEATED if content in seen else Verdict.CONFLICT)
    return verdicts


class Committed:
    """A window whose segments go to a dict, with all that was ever deleted kept aside."""

    def __init__(self, size: int) -> None:
        self.window = Window("sales", size)
        self.segments: dict[bytes, bytes] = {}
        self.buried: dict[bytes, bytes] = {}
        self.next_offset = 0

    def judge(self, events: Sequence[tuple[int, int, int]]) -> list[Verdict | None]:
        found = self.window.judge(*([e[i] for e in events] for i in range(3)))
        return [found.get(i) for i in range(len(events))]

    def commit(self, next_offset: int) -> None:
        taken = self.window.take(next_offset)
        for key in taken.expired:
            self.buried[key] = self.segments.pop(key)
        for key, value in taken.segments:  # the format: ascending from the key's offset
            distances = np.frombuffer(value, module._STORED)["distance"].tolist()
            assert distances[0] == 0
            assert distances == sorted(set(distances))
            self.segments[key] = value
        self.next_offset = next_offset

    def restart(self, resurrected: Sequence[bytes] = ()) -> None:
        """What was buried may come back, but what is there hides it."""
        segments = {key: self.buried[key] for key in resurrected} | self.segments
        loaded = Window.load(
            "sales", self.window.size, reversed(list(segments.items())), self.next_offset
        )
        self.window, self.segments = loaded, segments


@given(
    steps=st.lists(st.tuples(st.lists(EVENTS, max_size=8), st.sampled_from("-cr")), max_size=14),
    size=st.integers(0, 12),
    start=st.sampled_from([0, 7, 2**31 - 3, 2**40]),
    data=st.data(),
)
def test_no_cut_merge_commit_restart_or_resurrected_segment_changes_a_decision(
    steps: list[tuple[list[tuple[int, int, int]], str]], size: int, start: int, data: st.DataObject
) -> None:
    cut, whole = Committed(size), Window("sales", size)
    log: list[tuple[int, int, int]] = []
    verdicts: list[Verdict | None] = []
    offset = start
    for events, then in steps:
        piece = []
        for gap, identity, content in events:
            piece.append((offset, identity, content))
            offset += gap
        log += piece
        verdicts += cut.judge(piece)
        if then in "cr":
            cut.commit(offset)
        if then == "r":
            buried = sorted(cut.buried.keys() - cut.segments.keys())
            back = data.draw(st.lists(st.sampled_from(buried), unique=True)) if buried else []
            cut.restart(back)

    assert verdicts == by_hand(log, size)
    at_once = whole.judge(*([event[i] for event in log] for i in range(3)))
    assert [at_once.get(i) for i in range(len(log))] == verdicts


def test_an_entry_counts_up_to_w_offsets_back_and_no_further() -> None:
    window = Window("sales", 10)
    window.judge([5], [1], [7])

    assert window.judge([15], [1], [7]) == {0: Verdict.REPEATED}
    assert window.judge([16], [1], [7]) == {}


def test_an_entry_at_the_very_edge_survives_a_merge() -> None:
    window = Window("sales", 8)
    for offset in range(8):  # merges after 3 and 7
        window.judge([offset], [offset], [7])

    assert window.judge([8], [0], [7]) == {0: Verdict.REPEATED}


def test_what_is_not_new_is_not_remembered() -> None:
    window = Window("sales", 10)
    window.judge([0], [1], [7])

    assert window.judge([9, 10], [1, 1], [7, 8]) == {0: Verdict.REPEATED, 1: Verdict.CONFLICT}
    assert window.judge([11], [1], [8]) == {}


def test_an_accepted_event_whose_hashes_are_zero_is_remembered() -> None:
    window = Window("sales", 10)
    window.judge([0], [0], [0])

    assert window.judge([1], [0], [0]) == {0: Verdict.REPEATED}


@given(st.lists(st.integers(1, 6), min_size=1, max_size=40), st.integers(1, 30))
@example([1] * 40, 30)
def test_thin_traffic_leaves_few_segments(group_sizes: list[int], size: int) -> None:
    committed = Committed(size)
    offset = 0
    for count in group_sizes:
        committed.judge([(offset + i, offset + i, 1) for i in range(count)])
        offset += count
        committed.commit(offset)

    # Blocks of 8 that reach into the window, one more at its edge, and the open parts.
    assert len(committed.segments) <= size // 8 + 2 + 3
    assert all(len(value) % 16 == 0 for value in committed.segments.values())


def test_parts_that_came_back_from_the_dead_are_joined_only_once() -> None:
    committed = Committed(100)
    for offset in range(4):  # three parts, then a bigger one in their place
        committed.judge([(offset, offset, 1)])
        committed.commit(offset + 1)
    committed.restart(resurrected=sorted(committed.buried))

    for offset in range(4, 12):
        committed.judge([(offset, offset, 1)])
        committed.commit(offset + 1)

    committed.restart()
    assert committed.judge([(12, n, 1) for n in range(12)]) == [Verdict.REPEATED] * 12
    assert len(committed.segments) <= 6


def test_expired_segments_are_deleted_by_a_later_group() -> None:
    committed = Committed(10)
    committed.judge([(0, 1, 1)])
    committed.commit(1)
    (key,) = committed.segments

    committed.commit(10)
    assert key in committed.segments
    committed.commit(11)
    assert not committed.segments


def test_a_segment_s_key_tells_its_topic_and_first_offset() -> None:
    window = Window("eu.sales-1", 10)
    window.judge([258], [1], [1])

    ((key, value),) = window.take(259).segments

    assert key == b"\x00weu.sales-1\x00" + bytes([0, 0, 0, 0, 0, 0, 1, 2])
    assert parse_key(key) == ("eu.sales-1", 258)
    assert len(value) == 16


def test_segments_of_other_topics_are_left_alone() -> None:
    window = Window("sales", 10)
    window.judge([0], [1], [1])
    segments = window.take(1).segments

    assert Window.load("shipments", 10, segments, 1).judge([1], [1], [1]) == {}


@pytest.mark.parametrize("size", [-1, MAX_WINDOW + 1])
def test_a_window_that_cannot_be_kept_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="duplicates window"):
        Window("sales", size)


def test_a_full_window_takes_at_most_16_bytes_an_id() -> None:
    size = 100_000
    ids = np.random.default_rng(1).integers(0, 2**IDENTITY_BITS, 2 * size).tolist()
    most = 0
    # As in service; the other tests have small ones.
    with patch.multiple(module, _TAIL_ENTRIES=TAIL, BLOCK_ENTRIES=BLOCK_ENTRIES, MAX_PARTS=256):
        window = Window("sales", size)
        for start in range(0, len(ids), 250):
            piece = range(start, start + 250)
            window.judge(piece, ids[start : start + 250], piece)
            window.take(start + 250)
            if start >= size:
                most = max(most, window.nbytes())

    assert most / size <= 16


def test_what_it_held_is_told_later_though_it_has_forgotten_it() -> None:
    window = Window("sales", 4)
    window.judge([0, 1], [1, 2], [7, 8])
    entries_of = window.as_now()

    window.judge([2, 3, 7, 8], [3, 4, 1, 5], [9, 9, 9, 9])  # merged: 0 to 2 are out of reach

    assert entries_of([1, 2, 3]) == [(1, 7, 0), (2, 8, 1)]
    assert window.entries_of([1, 2, 3]) == [(1, 9, 7)]
