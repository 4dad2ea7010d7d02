"""A broker that keeps KIP-890's rules for one transactional id, and loses what it is told to lose.

It takes and gives aiokafka's own request and answer objects, encoded and decoded on the way, so
that what is tested is what travels. It knows no delays: a lost request can be delivered later.
"""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable
from enum import Enum
from io import BytesIO
from types import SimpleNamespace
from typing import Any

from aiokafka.errors import RequestTimedOutError
from aiokafka.protocol.transaction import InitProducerIdRequest

from wire.requests.twosteps import EndAndMoveOn, FeaturesRequest, ProduceAndAdd

VERSIONS = {0: (0, 13), 18: (0, 4), 22: (0, 6), 24: (0, 5), 26: (0, 5)}
OK, NOT_LEADER, OUT_OF_ORDER, DUPLICATE = 0, 6, 45, 46
INVALID_EPOCH, INVALID_STATE, CONCURRENT, FENCED = 47, 48, 51, 90
#: Of a record batch: producer id, epoch, first sequence number, number of records; then those.
_PRODUCER = struct.Struct(">qhii")
_AT = 43
#: transaction.version: 2, as the third tagged field of an answer to ApiVersions.
_AGREED = b"\x02\x14transaction.version\x00\x02\x00\x02\x00"


class Fate(Enum):
    """What becomes of a request."""

    ANSWERED = 0
    LOST = 1
    ANSWER_LOST = 2
    NOT_YET = 3
    LATE = 4  #: answered, just after one that was thought lost has come
    ABORTED = 5  #: answered, just after the transaction was open for too long


class _State(Enum):
    EMPTY = 0
    ONGOING = 1
    COMMITTED = 2
    ABORTED = 3


class _Leader:
    """One partition as its leader knows it."""

    def __init__(self) -> None:
        self.epoch, self.next_sequence = (-1, -1), 0
        self.known: dict[int, int] = {}  # offset by first sequence number, of this epoch
        self.open: list[bytes] = []
        self.committed: list[bytes] = []
        self.end = 0


class Broker:
    """Everything that one producer asks, by `send`; stands in for aiokafka's client.

    Args:
        last_epoch: of a producer id, as Kafka's 32,766.
        agreed: whether transactions end in two steps.
    """

    def __init__(self, last_epoch: int = 4, agreed: bool = True) -> None:
        self._last_epoch, self._agreed = last_epoch, agreed
        self._newest_id = 0
        self.producer: tuple[int, int] = (-1, -1)
        self._before: tuple[int, int] = (-1, -1)
        self._state = _State.EMPTY
        self._added: set[Any] = set()
        self.leaders: dict[tuple[str, int], _Leader] = {}
        self.fates: Callable[[], Fate] = lambda: Fate.ANSWERED
        #: Lost on the way, and perhaps not for ever.
        self.astray: list[Any] = []
        self.cluster = SimpleNamespace(leader_for_partition=lambda tp: 0)

    async def coordinator_lookup(self, kind: Any, name: str) -> int:
        return 0

    async def force_metadata_update(self) -> bool:
        return True

    def send(self, node: int, request: Any, group: int = 0) -> Awaitable[Any]:
        return self._send(request)

    async def _send(self, request: Any) -> Any:
        fate = self.fates()
        if fate is Fate.LATE and self.astray:
            self.deliver(self.astray.pop(0))
        if fate is Fate.ABORTED:
            self.abort_by_time()
        if fate is Fate.LOST:
            self.astray.append(request)
            raise RequestTimedOutError
        answer = self.deliver(request, busy=fate is Fate.NOT_YET)
        if fate is Fate.ANSWER_LOST:
            raise RequestTimedOutError
        return answer

    def deliver(self, request: Any, busy: bool = False) -> Any:
        """What the broker makes of it now; busy: it has not finished the transaction before."""
        sent = request.prepare(VERSIONS)
        read = type(sent).decode(sent.encode())
        if isinstance(request, FeaturesRequest):
            tags = {2: _AGREED} if self._agreed else {}
            return sent.RESPONSE_TYPE(0, [], 0, tags)
        if isinstance(request, InitProducerIdRequest):
            return sent.RESPONSE_TYPE(0, *self._initialise())
        if isinstance(request, EndAndMoveOn):
            told = self._end((read.producer_id, read.producer_epoch), read.is_commit, busy)
        else:
            assert isinstance(request, ProduceAndAdd)
            return self._produce(read, busy)
        answer = sent.RESPONSE_TYPE(0, *told, {})
        return sent.RESPONSE_TYPE.decode(BytesIO(answer.encode()))

    def _initialise(self) -> tuple[int, int, int]:
        if self._state is _State.ONGOING:
            self._finish(False)
        self._move_on()
        self._state, self._before = _State.EMPTY, (-1, -1)
        return OK, *self.producer

    def abort_by_time(self) -> None:
        """The transaction was open for too long."""
        if self._state is _State.ONGOING:
            self._finish(False)

    def _end(self, who: tuple[int, int], commit: bool, busy: bool) -> tuple[int, int, int]:
        nobody = -1, -1
        if who == self.producer and self._state is _State.ONGOING:
            if busy:
                return CONCURRENT, *nobody
            self._finish(commit)
            return OK, *self.producer
        if who == self._before and self._state in (_State.COMMITTED, _State.ABORTED):
            same = commit == (self._state is _State.COMMITTED)
            return (OK, *self.producer) if same else (INVALID_STATE, *nobody)
        if who == self.producer:
            if commit:
                return INVALID_STATE, *nobody
            self._finish(False)
            return OK, *self.producer
        return FENCED, *nobody

    def _finish(self, commit: bool) -> None:
        """Write the markers: each bears the next epoch of the id."""
        for tp in self._added:
            leader = self.leaders[tp]
            if commit:
                leader.committed += leader.open
            leader.open = []
            leader.end += 1
            producer_id, epoch = self.producer
            leader.epoch, leader.next_sequence, leader.known = (producer_id, epoch + 1), 0, {}
        self._added = set()
        before = self.producer
        self._move_on()
        self._before = before
        self._state = _State.COMMITTED if commit else _State.ABORTED

    def _move_on(self) -> None:
        producer_id, epoch = self.producer
        if producer_id < 0 or epoch >= self._last_epoch:
            self._newest_id += 1
            self.producer = self._newest_id, 0
        else:
            self.producer = producer_id, epoch + 1

    def _produce(self, sent: Any, busy: bool) -> Any:
        parts: list[Any] = [
            (topic, [(p, *self._append((topic, p), data, busy), -1, -1, [], None, {})
                     for p, data, _ in its], {})
            for topic, its, _ in sent.topics
        ]  # fmt: skip
        answer = sent.RESPONSE_TYPE(parts, 0, {})
        return sent.RESPONSE_TYPE.decode(BytesIO(answer.encode()))

    def _append(self, tp: tuple[str, int], data: bytes, busy: bool) -> tuple[int, int]:
        producer_id, epoch, sequence, count = _PRODUCER.unpack_from(data, _AT)
        leader = self.leaders.setdefault(tp, _Leader())
        its = producer_id, epoch
        if its != self.producer:  # the coordinator's word, where the partition has to be added
            if its == leader.epoch and sequence in leader.known:
                return OK, leader.known[sequence]
            return INVALID_EPOCH, -1
        if busy:
            return CONCURRENT, -1
        self._state = _State.ONGOING
        self._added.add(tp)
        if its != leader.epoch:
            leader.epoch, leader.next_sequence, leader.known = its, 0, {}
        if sequence in leader.known:
            return OK, leader.known[sequence]
        if sequence != leader.next_sequence:
            return OUT_OF_ORDER, -1
        leader.known[sequence] = offset = leader.end
        leader.next_sequence += count
        leader.end += count
        leader.open.append(data[_AT + _PRODUCER.size :])
        return OK, offset
