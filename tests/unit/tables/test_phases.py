"""What a feed is at, and whether a partition's store may be read."""

import itertools

import pytest

from core.stages import Stage
from tables.home.feed import Feed, IllegalPhase, Phase
from tables.home.memory import MemoryStore
from tables.home.store import Local, NoStore, StoreDamaged
from tables.partition import Partition
from tables.ports import Log

PEEKING, LOADING, WHOLE = Phase


def a_store(next_offset: int) -> MemoryStore:
    store = MemoryStore()
    if next_offset:
        store.write({}, (), Local(next_offset, next_offset - 1, "one"))
    return store


def a_feed(next_offset: int = 5, *, whole: bool = False, end: int = 40) -> Feed:
    return Feed(0, a_store(next_offset), whole, Log("one", 0, end))


@pytest.mark.parametrize(
    ("next_offset", "whole", "end", "phase"),
    [
        (0, False, 40, PEEKING),  # whether it may be rebuilt from this changelog comes first
        (0, True, 40, PEEKING),  # an empty store says nothing of what is in it
        (0, False, 0, LOADING),
        (0, True, 0, WHOLE),
        (5, False, 40, LOADING),
        (5, True, 40, WHOLE),
    ],
)
async def test_a_feed_begins_where_its_store_and_the_changelog_say(
    next_offset: int, whole: bool, end: int, phase: Phase
) -> None:
    assert a_feed(next_offset, whole=whole, end=end).phase is phase


async def test_a_feed_goes_from_peeking_to_loading_to_whole_and_back_to_loading_alone() -> None:
    legal = {(PEEKING, LOADING), (LOADING, WHOLE), (WHOLE, LOADING)}
    for before, after in itertools.product(Phase, repeat=2):
        feed = a_feed()
        feed.phase = before
        if (before, after) in legal:
            feed.become(after)
            assert feed.phase is after
        else:
            with pytest.raises(IllegalPhase, match=f"{before} -> {after}"):
                feed.become(after)
            assert feed.phase is before


async def test_what_may_be_read_follows_from_who_feeds_the_store_or_last_did() -> None:
    p = Partition(0, a_store(5))
    assert not p.readable()  # as it was found: how old it is nobody has looked

    p.feed = a_feed()
    assert not p.readable()
    p.feed.become(WHOLE)
    assert p.readable()
    assert p.unfed() is not None
    assert p.readable()  # as whoever fed it last left it
    assert p.unfed() is None

    p.feed = a_feed(whole=True)
    p.feed.become(LOADING)  # it met compaction
    assert not p.readable()
    p.unfed()
    assert not p.readable()


async def test_a_store_that_was_given_up_or_closed_is_not_read() -> None:
    p = Partition(0, a_store(5))
    p.move(Stage.RESTORING)
    p.left_whole = True
    p.offsets, p.position = {"sales": 3}, "sales-0@2"

    p.lose(NoStore(StoreDamaged("it is damaged"), None))
    assert not p.readable()
    assert (p.offsets, p.position) == ({}, "")

    whole = Partition(0, a_store(5))
    whole.left_whole = True
    whole.close()
    assert not whole.readable()
