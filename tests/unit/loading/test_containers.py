"""A pallet that moves alone moves what was said to be in it: here, or in an earlier document."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from itertools import permutations
from typing import Any

import pytest
from aiokafka import TopicPartition
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.config import Settings
from app.loading import pieces
from app.loading.checking import FileRefused
from app.loading.decisions import revoking
from app.loading.decisions.settling import settle_alone
from app.loading.found.loaded import LoadedFile
from app.loading.given import FileInMemory
from app.loading.opening import GivenParts, opened_by
from app.loading.pieces import Became, NoFact
from app.loading.remembered import NotSentBecause, document_of
from app.loading.sending import send_all
from app.loading.showing import LoadingShown
from tests.support.topics.memorylog import Died, MemoryLog
from tests.unit.importers.formats.writing import (
    CLASS,
    CONTAINER,
    DEPOT,
    DEPOT_GLN,
    PIECE,
    SGTIN,
    SSCC,
    STORE,
    STORE_GLN,
    epcis_json,
    event,
    quantity,
)
from web.access.callers import Caller, Scope

PLACES = f"gln,location\n{STORE_GLN},shop\n{DEPOT_GLN},depot\n".encode()
OUTER = "urn:epc:id:sscc:9521234.1123456789"
WRONG = {"declarationTime": "2026-02-01T00:00:00Z"}
Event = dict[str, Any]
#: The digest of a document without facts.
NOTHING_SAID = hashlib.blake2b(digest_size=16).hexdigest()


def at(hour: int) -> dict[str, str]:
    return {"eventTime": f"2026-01-31T{hour:02}:00:00Z"}


def packed(id_: str, *children: str, count: int = 0, hour: int = 8, **more: Any) -> Event:
    usual: Event = {
        "type": "AggregationEvent", "eventID": f"urn:uuid:{id_}", "action": "ADD",
        "bizStep": "packing", "readPoint": None, "epcList": None, "parentID": SSCC,
        "childEPCs": [f"{SGTIN}{one}" if ":" not in one else one for one in children] or None,
        "childQuantityList": [quantity(CLASS, count)] if count else None,
    }  # fmt: skip
    return event(**usual | at(hour) | more)


def shipped(id_: str, *epcs: str, hour: int = 10, **more: Any) -> Event:
    epcs = epcs or (SSCC,)
    usual = {"eventID": f"urn:uuid:{id_}", "readPoint": {"id": DEPOT}, "epcList": list(epcs)}
    return event(**usual | at(hour) | more)


def received(id_: str, hour: int = 12) -> Event:
    return shipped(id_, hour=hour, bizStep="receiving", readPoint=None, bizLocation={"id": STORE})


class Depot:
    """Loads events into a log; each call is a load of its own, each list a file."""

    def __init__(self, size: int = 3) -> None:
        self.log = MemoryLog(Settings.from_env({}, name="depot"))
        self.size = size

    async def load(self, *files: list[Event], **how: Any) -> list[LoadedFile]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pieces.chunks, "__kwdefaults__", {"size": self.size})
            patch.setattr(revoking, "CHUNK_LINES", self.size)
            self.log.stand_in(patch)
            by = opened_by(GivenParts(places=PLACES))
            checked = [
                by.check(FileInMemory(f"{n}", epcis_json(*some)), lambda _: None, lambda _: None)
                for n, some in enumerate(files)
            ]
            return await send_all(
                *(self.log.settings, by, checked), is_named=False, said=lambda _: None,
                **how,
            )  # fmt: skip

    def facts(self) -> Iterator[Event]:
        for record in self.log.facts():
            yield json.loads(record.value or b"")

    def stock(self) -> dict[str, int]:
        rows = self.log.oracle(10_000).rows()
        return {place: row.on_hand for (_, place), row in rows.items() if row.on_hand}


async def test_a_pallet_that_was_packed_in_an_earlier_document_moves_its_children() -> None:
    depot = Depot()
    await depot.load([packed("1", "1", "2", count=3)])

    (left,) = await depot.load([shipped("2")])
    (came,) = await depot.load([received("3")])

    assert depot.stock() == {"depot": -5, "shop": 5}
    assert [(one.file.equation.facts, one.sent) for one in (left, came)] == [(1, 1), (1, 1)]
    first, _ = depot.facts()
    assert first["id"] == f"epcis:urn:uuid:2#sscc/{CONTAINER}/{PIECE}"
    assert first["time"] == "2026-01-31T10:00:00Z"
    assert (first["type"], first["data"]["sku"]) == ("inventory.shipment.dispatched.v1", PIECE)


async def test_within_a_load_it_does_not_matter_which_comes_first() -> None:
    events = [packed("1", "1"), shipped("2"), received("3"), packed("4", "2", hour=11)]
    for order in permutations(events):
        depot = Depot(size=1)
        await depot.load(list(order))
        assert depot.stock() == {"depot": -1, "shop": 2}
        apart = Depot(size=1)
        await apart.load(*([one] for one in order))
        assert apart.stock() == {"depot": -1, "shop": 2}


async def test_what_nobody_has_packed_stops_the_load_and_says_what_to_do(
    capsys: pytest.CaptureFixture[str],
) -> None:
    depot = Depot()

    (found,) = await depot.load([shipped("1", f"{SGTIN}1", SSCC)])

    assert not depot.log.facts()
    assert "because of containers that are refused (1)" in found.refused
    (closed,) = found.closed
    assert closed.where == "$.epcisBody.eventList[0].epcList[1]"
    assert closed.became is Became.REFUSED
    assert "load the events that packed it first" in closed.sentence
    assert found.file.equation.holds()
    assert (found.file.equation.facts, found.file.equation.refused) == (1, 1)
    for as_json in (True, False):
        LoadingShown(as_json=as_json, is_dry_run=False).loaded([found])
        out, err = capsys.readouterr()
        assert "load the events that packed it first" in (out if as_json else err)
    # Packed, it goes.
    await depot.load([packed("2", "2")])
    await depot.load([shipped("1", f"{SGTIN}1", SSCC)])
    assert depot.stock() == {"depot": -2}


async def test_what_is_left_out_is_left_out_and_the_rest_counts() -> None:
    depot = Depot()

    (found,) = await depot.load([shipped("1", f"{SGTIN}1", SSCC)], leave_out_refused=True)

    assert depot.stock() == {"depot": -1}
    assert len(found.closed) == 1


async def test_pallets_of_cases_are_opened_down_to_the_last() -> None:
    depot = Depot()
    await depot.load([packed("1", "1", "2")])
    await depot.load([packed("2", SSCC, "3", parentID=OUTER)])

    await depot.load([shipped("3", OUTER)])

    assert depot.stock() == {"depot": -3}


async def test_things_that_stand_beside_their_pallet_count_once() -> None:
    depot = Depot(size=1)

    await depot.load(
        [packed("1", "1", "2"), packed("2", SSCC, parentID=OUTER)],
        [shipped("3", OUTER, SSCC, f"{SGTIN}1")],
    )

    assert depot.stock() == {"depot": -2}


async def test_a_packing_that_is_declared_wrong_holds_nothing_before_and_after() -> None:
    for declares_first in (False, True):
        depot = Depot()
        first, last = [packed("1", "1")], [packed("1", "1", errorDeclaration=WRONG)]
        await depot.load(*((last, first) if declares_first else (first, last)))

        (found,) = await depot.load([shipped("2")])
        assert "Nothing says what is in" in found.closed[0].sentence

        await depot.load([packed("3", "1", "2")])
        await depot.load([shipped("2")])
        assert depot.stock() == {"depot": -2}


async def test_a_packing_that_the_same_load_declares_wrong_holds_nothing() -> None:
    for order in permutations([packed("1", "1", errorDeclaration=WRONG), shipped("2")]):
        depot = Depot()
        await depot.load([packed("1", "1")])
        (found,) = await depot.load(list(order))
        assert "Nothing says what is in" in found.closed[0].sentence


async def test_a_shipment_of_a_pallet_that_is_declared_wrong_is_made_up_for() -> None:
    depot = Depot()
    await depot.load([packed("1", "1", "2", count=3), shipped("2")])

    await depot.load([shipped("2", errorDeclaration=WRONG)])

    assert depot.stock() == {}
    assert sum("correction" in str(one["data"].get("reason")) for one in depot.facts()) == 1


def by_an_older_build(depot: Depot, *identities: str) -> None:
    """Of these documents what a build leaves that knows of no containers."""
    topic = depot.log.records[TopicPartition(depot.log.settings.documents_topic, 0)]
    for at, record in enumerate(topic):
        if record is None or record.key is None:
            continue
        if record.key.startswith(b"packed/"):
            topic[at] = None
        elif document_of(record.key) in identities:
            note = {**json.loads(record.value or b""), "digest": NOTHING_SAID}
            topic[at] = record._replace(value=json.dumps(note).encode())


async def test_what_an_older_build_loaded_is_loaded_again_for_what_it_says_of_containers() -> None:
    depot, first = Depot(), [packed("1", "1", "2"), shipped("2")]
    await depot.load(first[:1])
    by_an_older_build(depot, "epcis:urn:uuid:1")
    (found,) = await depot.load([shipped("2")])
    assert "load the events that packed it first" in found.closed[0].sentence

    # In whichever file, what else it says is done.
    (found,) = await depot.load(first)
    assert (found.refused, depot.stock()) == ("", {"depot": -2})
    (again,) = await depot.load(first)
    assert again.because is NotSentBecause.LOADED_BEFORE
    assert len(list(depot.facts())) == 1


async def test_what_an_older_build_sent_of_a_packing_is_not_sent_again_and_can_be_taken_back() -> (
    None
):
    depot, event_ = Depot(), packed("1", "1", bizStep="shipping", readPoint={"id": DEPOT})
    await depot.load([event_])
    (fact,) = depot.facts()
    said = hashlib.blake2b(json.dumps(fact, separators=(",", ":")).encode(), digest_size=16)
    topic = depot.log.records[TopicPartition(depot.log.settings.documents_topic, 0)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"{__name__}.NOTHING_SAID", said.hexdigest())
        by_an_older_build(depot, "epcis:urn:uuid:1")
    assert topic.count(None) == 2

    (found,) = await depot.load([event_])

    assert (found.refused, found.sent, depot.stock()) == ("", 0, {"depot": -1})
    assert topic.count(None) == 3
    await depot.load([{**event_, "errorDeclaration": WRONG}])
    assert depot.stock() == {}


async def test_loaded_again_it_is_refused_though_more_was_packed_since() -> None:
    depot = Depot()
    await depot.load([packed("1", "1"), shipped("2")])
    await depot.load([packed("3", "2", hour=9)])

    (again,) = await depot.load([packed("1", "1"), shipped("2")])

    assert "loaded on" in again.refused
    assert depot.stock() == {"depot": -1}


async def test_killed_at_any_moment_and_loaded_again_each_child_moves_once() -> None:
    events = [
        shipped("1"), packed("2", "1", "2", count=3), shipped("3", f"{SGTIN}9", OUTER),
        packed("4", "4", parentID=OUTER), received("5"),
    ]  # fmt: skip
    whole = Depot(size=1)
    await whole.load(events)
    assert whole.stock() == {"depot": -7, "shop": 5}
    for left in range(whole.log.transactions):
        for is_written in (False, True):
            depot = Depot(size=1)
            depot.log.left, depot.log.is_written = left, is_written
            with pytest.raises(Died):
                await depot.load(events)
            depot.log.left = None
            await depot.load(events)
            assert depot.stock() == whole.stock()
            ids = [one["id"] for one in depot.facts()]
            assert len(ids) == len({*ids})


async def test_an_item_in_it_that_is_not_known_refuses_its_line() -> None:
    depot = Depot()
    case = "urn:epc:id:sgtin:9521234.112345.1"

    (found,) = await depot.load([packed("1", case), shipped("2")])

    (closed,) = found.closed
    assert closed == NoFact(
        closed.where, Became.REFUSED, f"In the container {CONTAINER}: 19521234123450 is a pack, "
        "whose number does not say what is inside: add it to the catalogue (--catalogue), with "
        "its SKU and units.",
    )  # fmt: skip


async def test_a_dry_run_knows_what_the_file_says_and_leaves_the_rest_open() -> None:
    by = opened_by(GivenParts(places=PLACES))
    data = epcis_json(packed("1", "1"), shipped("2"), shipped("3", OUTER))
    file = by.check(FileInMemory("a", data), lambda _: None, lambda _: None)

    settled = await settle_alone(Settings.from_env({}), by, [file], None)

    (open_,) = settled.closed_of(file)
    assert (open_.became, open_.where) == (
        Became.UNDECIDED, "$.epcisBody.eventList[2].epcList[0]",
    )  # fmt: skip
    assert (file.equation.facts, file.equation.refused) == (2, 0)


async def test_who_may_write_for_some_locations_says_of_no_container_what_is_in_it() -> None:
    mine = Caller("id", "till", frozenset([Scope.WRITE]), locations=["depot"])
    depot = Depot()

    (found,) = await depot.load([packed("1", "1")], caller=mine)

    assert found.because is NotSentBecause.FORBIDDEN
    assert "It says what lies in a container" in found.forbidden[0].sentence
    await depot.load([packed("1", "1")])
    await depot.load([shipped("2")], caller=mine)
    assert depot.stock() == {"depot": -1}


def test_who_may_not_write_for_a_location_ships_no_container_from_there() -> None:
    by = opened_by(
        GivenParts(places=PLACES),
        may_write=lambda source, location: "No." if location == "depot" else None,
    )
    data = epcis_json(received("1"), shipped("2"))

    file = by.check(FileInMemory("a", data), lambda _: None, lambda _: None)

    assert [one.where for one in file.forbidden] == ["$.epcisBody.eventList[1].epcList[0]"]


def test_a_file_with_more_containers_than_are_kept_is_split() -> None:
    by = opened_by(GivenParts(places=PLACES), most_levels=2)
    data = epcis_json(*(shipped(f"{n}") for n in range(3)))

    with pytest.raises(FileRefused, match="more than 2 containers: split it"):
        by.check(FileInMemory("a", data), lambda _: None, lambda _: None)


#: Of three containers: what goes in or out of one, or that it is shipped, each hour something.
_STEPS = st.lists(
    st.tuples(st.sampled_from(["in", "all out", "ship"]), st.integers(0, 2), st.integers(1, 4)),
    min_size=1, max_size=8,
)  # fmt: skip


@given(steps=_STEPS, cut=st.integers(0, 8), size=st.integers(1, 4))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_a_shipment_moves_what_a_plain_reckoning_says(
    steps: list[tuple[str, int, int]], cut: int, size: int
) -> None:
    events, inside, moved = [], [0, 0, 0], 0
    for hour, (what, of, count) in enumerate(steps, 1):
        container = f"urn:epc:id:sscc:9521234.{of}123456789"
        if what == "in":
            events.append(packed(f"{hour}", count=count, hour=hour, parentID=container))
            inside[of] += count
        elif what == "all out":
            events.append(packed(f"{hour}", hour=hour, parentID=container, action="DELETE"))
            inside[of] = 0
        elif inside[of]:
            events.append(shipped(f"{hour}", container, hour=hour))
            moved += inside[of]
    depot = Depot(size=size)

    # What packs comes before what ships, or with it: an hour each.
    for some in (events[:cut], events[cut:]):
        if some:
            await depot.load(some[::-1])

    assert depot.stock() == ({"depot": -moved} if moved else {})
