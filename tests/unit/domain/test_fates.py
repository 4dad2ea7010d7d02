"""What a window says afterwards of any record is what the fold decided, or that it cannot say."""

from collections.abc import Iterator, Sequence
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import window as module
from core.window import IDENTITY_BITS, Seen, Verdict, Window
from domain.fates import Ending, fate_of

IDENTITIES = (0, 1, 1 << 42, (1 << IDENTITY_BITS) - 1)
Event = tuple[int, int, int]  # offset, identity, content
EVENTS = st.tuples(st.integers(1, 4), st.sampled_from(IDENTITIES), st.sampled_from([0, 1]))


@pytest.fixture(autouse=True)
def _everything_happens_with_few_entries() -> Iterator[None]:
    with patch.multiple(module, _TAIL_ENTRIES=3, BLOCK_ENTRIES=8, MAX_PARTS=3):
        yield


class Owner:
    """A window as an owner has it: folded ahead of what is committed, now and then restarted."""

    def __init__(self, size: int) -> None:
        self.window, self.size, self.committed = Window("sales", size), size, 0
        self.segments: dict[bytes, bytes] = {}
        self.decided: dict[int, tuple[Ending, int | None]] = {}
        self.log: list[Event] = []
        self._accepted: dict[int, int] = {}

    def fold(self, events: Sequence[Event]) -> None:
        verdicts = self.window.judge(*([e[i] for e in events] for i in range(3)))
        for i, event in enumerate(events):
            offset, identity, _ = event
            self.log.append(event)
            match verdicts.get(i):
                case None:
                    self.decided[offset] = Ending.APPLIED, None
                    self._accepted[identity] = offset
                case Verdict.REPEATED:
                    self.decided[offset] = Ending.REPEATED, self._accepted[identity]
                case Verdict.CONFLICT:
                    self.decided[offset] = Ending.REFUSED, None

    def commit(self, next_offset: int) -> None:
        taken = self.window.take(next_offset)
        self.segments = {k: v for k, v in self.segments.items() if k not in taken.expired}
        self.segments |= dict(taken.segments)
        self.committed = next_offset

    def restart(self) -> None:
        self.window = Window.load("sales", self.size, self.segments.items(), self.committed)

    def seen(self, *identities: int) -> Seen:
        entries = [e for e in self.window.entries_of(identities) if e[2] < self.committed]
        return Seen(self.committed, self.window.since, self.size, entries)


@given(
    steps=st.lists(st.tuples(st.lists(EVENTS, max_size=8), st.sampled_from("-cr")), max_size=14),
    size=st.integers(0, 12),
    start=st.sampled_from([0, 7, 2**40]),
)
def test_no_fate_ever_differs_from_what_the_fold_decided(
    steps: list[tuple[list[Event], str]], size: int, start: int
) -> None:
    owner, offset = Owner(size), start
    for events, then in steps:
        piece = []
        for gap, identity, content in events:
            piece.append((offset, identity, content))
            offset += gap
        owner.fold(piece)
        if then in "cr":
            owner.commit(offset)
        if then == "r":
            owner.restart()

        everyone = owner.seen(*IDENTITIES)
        for at, identity, content in owner.log:
            if then == "-" and at >= owner.committed:
                assert fate_of(everyone, at, identity, content).outcome is Ending.UNKNOWN
                continue
            told = fate_of(everyone, at, identity, content)
            assert told == fate_of(owner.seen(identity), at, identity, content)
            if told.outcome is Ending.UNKNOWN:
                assert at - size < owner.window.since, "the window still reaches that far"
                assert told.why
            else:
                assert (told.outcome, told.of) == owner.decided[at]


def test_a_record_that_is_folded_but_not_committed_has_no_fate_yet() -> None:
    owner = Owner(100)
    owner.fold([(0, 1, 7)])
    assert fate_of(owner.seen(1), 0, 1, 7).outcome is Ending.UNKNOWN

    owner.commit(1)
    assert fate_of(owner.seen(1), 0, 1, 7).outcome is Ending.APPLIED


def test_what_has_left_the_window_is_unknown_and_not_called_refused() -> None:
    owner = Owner(4)
    for offset in range(20):
        owner.fold([(offset, offset, 7)])
    owner.commit(20)

    assert fate_of(owner.seen(0), 0, 0, 7).outcome is Ending.UNKNOWN


def test_another_record_at_that_place_is_never_called_applied() -> None:
    owner = Owner(100)
    owner.fold([(0, 1, 7)])
    owner.commit(1)

    assert fate_of(owner.seen(1), 0, 1, 8).outcome is Ending.UNKNOWN


def test_a_conflict_carries_the_reason_that_the_dead_letter_has() -> None:
    owner = Owner(100)
    owner.fold([(0, 1, 7), (1, 1, 8)])
    owner.commit(2)

    told = fate_of(owner.seen(1), 1, 1, 8)

    assert told.outcome is Ending.REFUSED
    assert told.refused is not None
    assert told.refused.reason == "id_conflict"


def test_an_entry_further_back_than_w_judges_nothing() -> None:
    seen = Seen(next_offset=100, since=0, size=10, entries=[(1, 7, 5)])

    assert fate_of(seen, 15, 1, 7).of == 5
    assert fate_of(seen, 16, 1, 7).outcome is Ending.UNKNOWN
