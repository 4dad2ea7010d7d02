"""Of two workers with one address the later one ends; a ghost ends nobody."""

import msgspec
import pytest

from web.cluster.heartbeats import Heartbeat, WorkerState
from web.cluster.roster import AddressTaken, AddressWatch

ME = Heartbeat(1, 1, "", "http://a:1", "me", 1)
OTHER = msgspec.structs.replace(ME, instance="other")


def hear(*beats: Heartbeat) -> None:
    address = AddressWatch(ME)
    for beat in beats:
        address.hear(beat)


def test_the_one_who_came_later_ends_when_the_other_beats_twice_after_it() -> None:
    with pytest.raises(AddressTaken, match="give each worker an ONHAND_URL of its own"):
        hear(OTHER, ME, OTHER, ME, OTHER)


@pytest.mark.parametrize(
    "beats",
    [
        [OTHER, OTHER, OTHER, ME, ME, ME],  # it was killed before
        [OTHER, ME, OTHER, ME, ME],  # one was on its way
        [ME, OTHER, ME, OTHER, OTHER, OTHER],  # it came later: it has to end
        [OTHER, ME, *[msgspec.structs.replace(OTHER, state=WorkerState.LEAVING)] * 3],
        [OTHER, ME, *[msgspec.structs.replace(OTHER, url="http://a:2")] * 3],
    ],
)
def test_nobody_ends_for_a_ghost_a_leaver_a_later_one_or_another_address(
    beats: list[Heartbeat],
) -> None:
    hear(*beats)
