"""Alerts of one worker: a teller for each partition that it owns, while its version is active.

Ownership of a partition's rows is the table's, and is never the alerts' to say: they look at it,
and end with it. Nothing here can end the worker: what fails is said in the log and begun anew.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from aiokafka.errors import KafkaError
from msgspec import Struct

from agents.alerts.home import KafkaTold
from agents.alerts.ports import NotOurs
from agents.alerts.teller import Teller, Telling, ToldElsewhere
from agents.alerts.webhook import Webhook
from core.words import in_words
from domain.alerts import AlertRules
from domain.rows import Row
from tables.home.store import StoreError
from tables.ports import Membership, NotAMember
from tables.stock import InventoryTable
from tables.tasks import Final as EndsTheWorker
from tables.tasks import Tasks
from wire.batches import Unreadable
from wire.control import PATIENCE_S, read_control
from wire.rounds import Rounds

log = logging.getLogger(__name__)

_LOOK_S: Final = 1.0
#: How often it is asked whether somebody else has written what was told (`onhand alerts resend`).
_ASK_S: Final = 5.0
_AGAIN_S: Final = 1.0
#: After what only a person can mend.
_LATER_S: Final = 30.0
#: For posts that are under way when the partition goes; then they are posted again by the next.
_GRACE_S: Final = 5.0
#: How long all that is counted may take to be seen, before another look.
_REACH_S: Final = 1.0


class AlertsConfig(Struct, frozen=True):
    """What the settings say.

    kafka: keyword arguments of an aiokafka client. control: topic of versions.
    """

    kafka: Mapping[str, Any]
    control: str


class OwnedRows:
    """`AlertRows` of the table."""

    def __init__(self, alerts: Alerts, partition: int, token: str) -> None:
        self._alerts, self._table = alerts, alerts.table
        self._partition, self._token = partition, token

    def is_ours(self) -> bool:
        """See `AlertRows`."""
        return self._alerts.owns(self._partition) == self._token

    async def caught_up(self) -> None:
        """See there; what is held up by others' open transactions is not waited for."""
        wanted = self._table.countable(self._partition)
        while self.is_ours():
            now = self._table.countable(self._partition)
            last = {topic: min(end, now.get(topic, end)) - 1 for topic, end in wanted.items()}
            if await self._table.reached(self._partition, last, _REACH_S):
                return
        raise NotOurs(f"partition {self._partition} went before it was counted")

    async def confirm(self) -> None:
        """See there."""
        await self._alerts.confirm()
        if not self.is_ours():
            raise NotOurs(f"partition {self._partition} went meanwhile")

    def get_many(self, keys: Sequence[tuple[str, str]]) -> Sequence[Row | None]:
        """See there."""
        return self._table.get_many(self._partition, keys)

    def scan(self, after: tuple[str, str] | None, limit: int) -> Sequence[tuple[str, str, Row]]:
        """See there."""
        return self._table.scan(self._partition, after, limit)


class _Kept:
    """One partition while it is owned: `token` tells this ownership from every other."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.teller: Teller | None = None
        self.task: asyncio.Task[None] | None = None
        self.said = ""


class Alerts:
    """Begins and ends tellers, as partitions come and go.

    Args:
        config: see there.
        table: whose rows are watched.
        membership: of the group.
        is_active: whether this worker's version is the active one, as far as it knows.
        telling: what tellers share.
        home: the same as in `telling`.
        webhook: to be closed at the end.
    """

    def __init__(
        self,
        config: AlertsConfig,
        table: InventoryTable,
        membership: Membership,
        is_active: Callable[[], bool],
        telling: Telling,
        home: KafkaTold,
        webhook: Webhook,
    ) -> None:
        self._config, self.table, self._membership = config, table, membership
        self._is_active, self._telling = is_active, telling
        self._home, self._webhook = home, webhook
        self._kept: dict[int, _Kept] = {}
        self._is_stopping = False
        self._tasks = Tasks()
        self._news = asyncio.Event()
        self._rounds: Rounds[str, int] = Rounds(self._active_versions, PATIENCE_S)

    async def start(self) -> None:
        """Connect, and begin; raises KafkaError."""
        await self._home.start()
        self.table.watchers.append(self._rows_changed)
        self.table.listeners.append(self.changed)
        self._tasks.keep(self._watch, "alerts", _AGAIN_S)
        self._tasks.keep(self._ask, "what was told elsewhere", _ASK_S)

    async def stop(self) -> None:
        """Begin nothing more; what is posted already is waited for, for some seconds."""
        self._is_stopping = True
        tasks = [kept.task for kept in self._kept.values() if kept.task is not None]
        for kept in self._kept.values():
            if kept.teller is not None:
                kept.teller.look_again()
        if tasks:
            await asyncio.wait(tasks, timeout=2 * _GRACE_S)
        await self._tasks.cancel()
        await self._telling.tasks.cancel()
        await self._webhook.stop()
        await self._home.stop()

    def changed(self) -> None:
        """Partitions may have come or gone, or a version been promoted."""
        self._news.set()

    @property
    def rules(self) -> AlertRules:
        """By which it tells."""
        return self._telling.rules

    def counts(self) -> Mapping[str, int]:
        """What was done since the start, by name."""
        return self._telling.counts

    def states(self) -> Counter[str]:
        """How many messages stand how, of the partitions that are told here."""
        tellers = (kept.teller for kept in self._kept.values())
        return sum((one.states() for one in tellers if one is not None), Counter())

    def owns(self, partition: int) -> str | None:
        """The token of the ownership by which this worker tells a partition; None: it does not."""
        if self._is_stopping or not self._is_active():
            return None
        return self.table.ownership(partition)

    async def confirm(self) -> None:
        """Ask the coordinator and the record of versions; see `AlertRows`."""
        try:
            await self._membership.confirm()
        except NotAMember as error:
            raise NotOurs("the group does not count this worker among its members") from error
        if await self._rounds.ask("active") != self._telling.version:
            raise NotOurs("another version is active")

    async def _active_versions(self, asked: Sequence[str]) -> dict[str, int | Exception]:
        last = (await read_control(self._config.kafka, self._config.control)).last
        return dict.fromkeys(asked, 0 if last is None else last.active)

    def _rows_changed(self, partition: int, keys: Iterable[bytes]) -> None:
        kept = self._kept.get(partition)
        if kept is not None and kept.teller is not None:
            kept.teller.rows_changed(keys)

    async def _watch(self) -> None:
        while True:
            self._news.clear()
            for number in list(self.table.held):
                token, kept = self.owns(number), self._kept.get(number)
                if token is not None and (kept is None or kept.token != token):
                    self._begin(number, token, kept)
            try:
                async with asyncio.timeout(_LOOK_S):
                    await self._news.wait()
            except TimeoutError:
                pass

    def _begin(self, number: int, token: str, before: _Kept | None) -> None:
        kept = self._kept[number] = _Kept(token)
        last = None if before is None else before.task
        kept.task = self._tasks.start(self._tell(number, kept, last), f"alerts of {number}")

    async def _tell(self, number: int, kept: _Kept, last: asyncio.Task[None] | None) -> None:
        if last is not None:
            # It may still commit what became of its last posts: these need not be posted again.
            await asyncio.wait([last])
        rows = OwnedRows(self, number, kept.token)
        while rows.is_ours():
            wait_s = await self._tell_once(number, kept, rows)
            if rows.is_ours():
                await asyncio.sleep(wait_s)
        if self._kept.get(number) is kept:
            del self._kept[number]

    async def _tell_once(self, number: int, kept: _Kept, rows: OwnedRows) -> float:
        """Until it has to be begun anew; returns after how many seconds."""
        teller = kept.teller = Teller(number, rows, self._telling)
        said, wait_s, level = "", _AGAIN_S, logging.INFO
        try:
            await teller.run()
        except ToldElsewhere:
            wait_s = 0.0
        except NotOurs as why:
            log.debug("Alerts: %s.", why)
        except (EndsTheWorker, Unreadable) as why:
            # It ends the telling of this partition, and nothing else.
            said, wait_s, level = f"stand still. {why}", _LATER_S, logging.ERROR
        except (KafkaError, StoreError, TimeoutError, OSError) as error:
            said = f"begin anew ({in_words(error)})."
        finally:
            kept.teller = None
            await self._end(number, teller)
        if said and said != kept.said:
            log.log(level, "Alerts of partition %d %s", number, said)
        kept.said = said
        return wait_s

    async def _end(self, number: int, teller: Teller) -> None:
        try:
            async with asyncio.timeout(2 * _GRACE_S):
                await teller.end(_GRACE_S)
        except (EndsTheWorker, KafkaError, TimeoutError, OSError) as error:
            # Whoever tells next posts what is pending again, under the same ids.
            log.info("Alerts of partition %d begin anew (%s).", number, in_words(error))

    async def _ask(self) -> None:
        while True:
            await asyncio.sleep(_ASK_S)
            for number in await self._home.written_elsewhere(self._kept.keys()):
                kept = self._kept.get(number)
                if kept is not None and kept.teller is not None:
                    kept.teller.look_again()
