"""When a worker goes over to another version."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec import json
from multidict import CIMultiDict

from core.positions import Place
from core.stages import Role
from core.versions import Versions, promote, retire, rollback, stage, to_bytes
from tests.support.breaking.mutated import MUTATIONS
from tests.support.inputs.builders import an_active_version
from tests.support.inside.fleet import KnownEnds
from tests.unit.web.fakes import FakeTable
from web.cluster.admission import Admission
from web.cluster.exchange import PeerAnswer, PeerFailed
from web.cluster.heartbeats import Claim, Heartbeat
from web.cluster.roster import WorkerView
from web.versions import switch as switches
from web.versions.neighbours import OwnedBody, UpgradeBody
from web.versions.switch import Switch

COUNT = 2


class Stand:
    """One worker of version 1, and what it hears of an owner of version 2."""

    def __init__(self, version: int = 1) -> None:
        self.view = an_active_version(version, active=1)
        self.table = FakeTable(COUNT)
        #: Of the sources, as a broker says it now; nothing: it says nothing.
        self.ends: dict[Place, int] = {}
        self.admission = Admission(self.table, ["sales"], KnownEnds(self.ends))
        self.owners: dict[int, list[str]] = {1: ["sales-0@9", "sales-1@9"], 2: []}
        #: Status of what each worker says to this one; None: nothing.
        self.says: dict[str, int | None] = {}
        #: Of version 2. Who slept through a rebalance claims what others own, too.
        self.urls = ["http://w2:1"]
        self.asked: list[str] = []
        #: By worker, what it says of itself when it is asked.
        self.told: dict[str, UpgradeBody] = {}
        peers: Any = self
        self.switch = Switch(self.view, self.table, self.admission, self.workers, peers)

    async def ask(self, url: str, request: bytes) -> PeerAnswer:
        self.asked.append(url)
        status = self.says.get(url, 200)
        if status is None:
            raise PeerFailed("It refuses connections.")
        told = self.told.get(url)
        return PeerAnswer(status, CIMultiDict(), b"" if told is None else json.encode(told))

    def workers(self) -> list[WorkerView]:
        views = []
        for version, positions in self.owners.items():
            claims = tuple(
                Claim(p, "active", Role.ACTIVE, position=token) for p, token in enumerate(positions)
            )
            for url in self.urls if version == 2 else ["http://w1:1"]:
                beat = Heartbeat(version, 2, "b", url, url, 1, claims=claims)
                views.append(WorkerView(beat, True, True, 0.0, version == 1))
        return views

    def record(self, after: Versions) -> None:
        history = self.view._history
        assert history.take(to_bytes(after), len(history.entries), 0) is None
        self.view._heard()

    @property
    def last(self) -> Versions:
        assert self.view.last is not None
        return self.view.last

    async def gone_over(self, version: int, epoch: int) -> None:
        assert await self.switch.reaches(epoch, 30)
        assert (self.switch.answering, self.switch.epoch) == (version, epoch)

    async def looked(self) -> None:
        """Time enough for what must not happen."""
        for _ in range(20):
            await asyncio.sleep(0)
        await asyncio.sleep(3 * switches.LOOK_S)


@pytest.fixture
async def stand(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stand]:
    monkeypatch.setattr(switches, "LOOK_S", 0.001)
    made = Stand()
    made.switch.start()
    made.record(stage(made.last, 2, made.last.versions["1"]))
    yield made
    await made.switch.stop()


async def test_a_worker_answers_as_before_until_the_new_version_has_reached_all_that_it_told(
    stand: Stand,
) -> None:
    told: list[Any] = []
    stand.switch.listeners.append(lambda: told.append(stand.switch.epoch))
    stand.owners[1] = []
    stand.admission.answered(0, "sales-0@9")
    stand.record(promote(stand.last, 2))

    for positions in ([], ["sales-0@9"], ["sales-0@8", "sales-1@0"]):
        stand.owners[2] = positions
        await stand.looked()
        assert (stand.switch.answering, stand.switch.epoch) == (1, 2)
        assert stand.table.label == (1, 2)  # not the record that it does not follow yet
    stand.owners[2] = ["sales-0@9", "sales-1@0"]
    await stand.gone_over(2, 3)

    assert not stand.switch.is_here
    assert told == [3]
    # A worker that has not gone over yet asks this one, and tells its client what it answers.
    assert stand.table.label == (1, 2)


async def test_a_door_that_nobody_has_asked_waits_for_what_others_may_have_told(
    stand: Stand,
) -> None:
    stand.owners = {1: ["sales-0@9", "sales-1@9"], 2: ["sales-0@9", "sales-1@8"]}
    stand.record(promote(stand.last, 2))
    await stand.looked()
    assert stand.switch.answering == 1  # who read there would bring the position here

    stand.owners[2] = ["sales-0@9", "sales-1@9"]
    await stand.gone_over(2, 3)


async def test_answers_that_go_on_meanwhile_count_too_until_that_takes_too_long(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(switches, "NEAR_S", 0.002)
    stand.owners[1] = []
    stand.admission.answered(0, "sales-0@9")
    stand.owners[2] = ["sales-0@8", "sales-1@0"]
    stand.record(promote(stand.last, 2))
    stand.admission.answered(0, "sales-0@20")
    await stand.looked()

    stand.owners[2] = ["sales-0@9", "sales-1@0"]  # its reads would wait for what it has not yet
    await stand.looked()
    assert stand.switch.answering == 1
    stand.owners[2] = ["sales-0@20", "sales-1@0"]
    await stand.gone_over(2, 3)

    stand.admission.answered(0, "sales-0@30")
    stand.owners[1] = ["sales-0@20", "sales-1@0"]
    stand.record(rollback(stand.last))
    await stand.looked()
    assert stand.switch.answering == 2
    stand.admission.answered(0, "sales-0@40")
    await stand.looked()
    stand.owners[1] = ["sales-0@30", "sales-1@0"]
    await stand.looked()
    assert stand.switch.answering == 2
    monkeypatch.setattr(switches, "BEHIND_FOR_S", 0.0)
    await stand.gone_over(1, 4)


async def test_a_version_that_never_was_active_says_the_newest_record_that_is_known() -> None:
    staged = Stand(version=2)
    staged.switch.start()
    assert staged.table.label == (2, 1)
    staged.record(stage(staged.last, 2, staged.last.versions["1"]))
    assert staged.table.label == (2, 2)
    staged.record(promote(staged.last, 2))
    assert staged.table.label == (2, 3)
    staged.record(rollback(staged.last))
    assert staged.table.label == (2, 3)
    await staged.switch.stop()


async def test_it_goes_over_once_and_as_a_whole_and_back_only_by_a_record(stand: Stand) -> None:
    stand.owners[2] = ["sales-0@9", "sales-1@9"]
    stand.record(promote(stand.last, 2))
    await stand.gone_over(2, 3)
    stand.owners[2] = []  # its owners are gone: an ordinary failure
    await stand.looked()
    assert stand.switch.answering == 2
    stand.admission.heard([0], "sales-0@12")  # told by way of version 2

    stand.record(rollback(stand.last))
    await stand.looked()
    assert stand.switch.answering == 2
    stand.owners[1] = ["sales-0@12", "sales-1@9"]
    await stand.gone_over(1, 4)

    assert stand.table.label == (1, 4)
    assert stand.switch.is_here


@pytest.mark.parametrize("says", [None, 401, 503])
async def test_it_goes_over_to_a_version_that_has_answered_it_and_not_by_heartbeats_alone(
    stand: Stand, says: int | None
) -> None:
    """A firewall, a certificate, a worker that is far too busy: Kafka knows nothing of these."""
    stand.says["http://w2:1"] = says
    stand.owners[2] = ["sales-0@9", "sales-1@9"]
    stand.record(promote(stand.last, 2))
    await stand.looked()
    assert (stand.switch.answering, stand.switch.epoch) == (1, 2)

    del stand.says["http://w2:1"]
    await stand.gone_over(2, 3)


def said(version: int, *positions: str) -> UpgradeBody:
    owned = [OwnedBody(partition, position) for partition, position in enumerate(positions)]
    return UpgradeBody(version, [], owned)


async def test_how_far_the_new_version_is_it_says_itself_before_its_heartbeats_do(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(switches, "ASK_S", 0.001)
    stand.owners[2] = ["sales-0@8", "sales-1@9"]
    stand.told["http://w2:1"] = said(2, "sales-0@8", "sales-1@9")
    stand.record(promote(stand.last, 2))
    await stand.looked()
    assert stand.switch.answering == 1

    stand.told["http://w2:1"] = said(1, "sales-0@9", "sales-1@9")  # another one has its address
    await stand.looked()
    assert stand.switch.answering == 1

    stand.told["http://w2:1"] = said(2, "sales-0@9", "sales-1@9", "sales-2@9")
    await stand.gone_over(2, 3)


async def test_of_many_owners_some_are_asked_how_far_they_are(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(switches, "ASK_S", 60.0)
    stand.urls = [f"http://w{n}:1" for n in range(100)]
    stand.owners[2] = ["sales-0@8", "sales-1@9"]
    stand.record(promote(stand.last, 2))
    await stand.looked()

    assert len(stand.asked) == switches.ASKED


async def test_who_has_said_how_far_it_is_long_ago_has_to_answer_again(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(switches, "ANSWER_S", 0.0)
    stand.told["http://w2:1"] = said(2, "sales-0@9", "sales-1@9")
    stand.owners[2] = ["sales-0@8", "sales-1@9"]
    monkeypatch.setattr(switches.Switch, "_is_reached", lambda *_: bool(stand.says))
    stand.record(promote(stand.last, 2))
    await stand.looked()
    stand.says["http://w2:1"] = None
    await stand.looked()

    assert stand.switch.answering == 1


async def test_one_owner_that_answers_is_enough_since_it_passes_on_what_others_own(
    stand: Stand,
) -> None:
    stand.urls, stand.says["http://w2:1"] = ["http://w2:1", "http://w3:1"], None
    stand.owners[2] = ["sales-0@9", "sales-1@9"]
    stand.record(promote(stand.last, 2))
    await stand.gone_over(2, 3)
    assert {*stand.asked} == {*stand.urls}


async def test_an_owner_that_says_nothing_is_given_up_in_time(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(switches, "ANSWER_S", 0.001)
    asked = stand.ask

    async def silent(url: str, request: bytes) -> PeerAnswer:
        await asyncio.sleep(60 if url == "http://w2:1" else 0)
        return await asked(url, request)

    monkeypatch.setattr(stand, "ask", silent)
    stand.urls = ["http://w2:1", "http://w3:1"]
    stand.owners[2] = ["sales-0@9", "sales-1@9"]
    stand.record(promote(stand.last, 2))
    await stand.gone_over(2, 3)


async def test_back_to_its_own_version_it_asks_nobody(stand: Stand) -> None:
    stand.owners[2] = ["sales-0@9", "sales-1@9"]
    stand.record(promote(stand.last, 2))
    await stand.gone_over(2, 3)
    stand.asked.clear()
    stand.record(rollback(stand.last))
    await stand.gone_over(1, 4)
    assert not stand.asked


async def test_who_has_not_gone_over_yet_does_so_when_the_old_version_is_retired(
    stand: Stand,
) -> None:
    stand.record(promote(stand.last, 2))  # of which nobody is heard
    await stand.looked()
    assert stand.switch.answering == 1
    stand.record(retire(stand.last, 1))
    await stand.gone_over(2, 4)


async def test_a_rollback_before_it_went_over_leaves_it_where_it_was(stand: Stand) -> None:
    stand.record(promote(stand.last, 2))
    await stand.looked()
    stand.record(rollback(stand.last))
    await stand.looked()

    assert (stand.switch.answering, stand.switch.epoch) == (1, 4)
    assert await stand.switch.reaches(4, 0.01)
    assert not await stand.switch.reaches(5, 0.01)


async def test_a_worker_that_starts_after_the_record_never_answers_the_old_version() -> None:
    late = Stand()
    late.record(stage(late.last, 2, late.last.versions["1"]))
    later = promote(late.last, 2)
    assert late.view._history.take(to_bytes(later), 2, 0) is None

    late.switch.start()

    assert (late.switch.answering, late.switch.is_here) == (2, False)
    await late.switch.stop()


class Sleeper:
    """The clock of a machine that may be stopped."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(time, "clock_gettime", lambda clock: self.now)


async def test_who_wakes_up_answers_nothing_before_the_record_was_read_again(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(switches, "TICK_S", 0.001)
    clock, reread = Sleeper(monkeypatch), asyncio.Event()

    async def read(within_s: float) -> None:
        await reread.wait()

    monkeypatch.setattr(stand.view, "reread", read)
    await stand.switch.stop()
    stand.switch.start()
    await asyncio.sleep(0.01)
    assert (stand.switch.has_slept(), stand.switch.is_here) == (False, True)

    clock.now += 60
    # Requests that came meanwhile are met before the watch: all in one pass of the loop.
    asking = asyncio.create_task(stand.switch.awake())
    await stand.looked()
    assert (asking.done(), stand.switch.is_here) == (False, False)

    reread.set()
    async with asyncio.timeout(30):
        await asking
    assert (stand.switch.has_slept(), stand.switch.is_here) == (False, True)


async def test_who_does_not_know_that_it_slept_would_answer_before_it_has_read_the_record(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    MUTATIONS["no-watch"](monkeypatch.setattr)
    with pytest.raises(AssertionError):
        await test_who_wakes_up_answers_nothing_before_the_record_was_read_again(stand, monkeypatch)


async def test_where_the_record_cannot_be_read_after_sleep_requests_go_on(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(switches, "TICK_S", 0.001)
    clock = Sleeper(monkeypatch)

    async def fail(within_s: float) -> None:
        raise RuntimeError("nobody foresaw this")

    monkeypatch.setattr(stand.view, "reread", fail)
    await stand.switch.stop()
    stand.switch.start()
    await asyncio.sleep(0.01)
    clock.now += 60
    async with asyncio.timeout(30):
        for _ in range(5):
            await stand.switch.awake()
            await asyncio.sleep(0.003)
    assert stand.switch.is_here
