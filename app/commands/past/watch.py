"""`onhand audit --watch`: partition after partition, for ever, as a metric and as JSON."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from app import descriptors
from app.commands.console import moment
from web.access.access import OPEN, Access
from web.history.passing import AUDIT_PATH
from web.http.replies import json_reply
from web.operations.ops import metrics_reply
from web.operations.small import attach_small

if TYPE_CHECKING:
    from app.config import Settings
    from audit.auditing import Audited, Auditor
    from web.cluster.members import Members

#: Between two partitions, so that a watch takes no more than a part of a core.
_PAUSE_S = 1.0
#: After what could not be audited at all.
_RETRY_S = 5.0
_ELSEWHERE = "This is an audit, which tells what it found and nothing else: ask a worker."


class Watched(Collector):
    """The last word on each partition.

    Args:
        described: how one is told as JSON.
    """

    def __init__(self, described: Callable[[Audited], dict[str, Any]]) -> None:
        self._described = described
        self._last: dict[int, Audited] = {}
        self._records = self._rounds = 0
        self._failed: str | None = None
        self.registry = CollectorRegistry()
        self.registry.register(self)

    def note(self, audited: Audited) -> None:
        """One more partition was audited."""
        self._last[audited.partition] = audited
        self._records += audited.records
        self._rounds += 1
        self._failed = None

    def fail(self, sentence: str) -> None:
        """One could not be."""
        self._failed = sentence

    def document(self) -> dict[str, Any]:
        """As `/v1/audit` says it: drift, position and when, by partition."""
        return {
            "drift": sum(one.drift for one in self._last.values()),
            "failed": self._failed,
            "partitions": [
                {**self._described(one), "drift": one.drift, "at": moment(int(one.at * 1000))}
                for _, one in sorted(self._last.items())
            ],
        }

    def collect(self) -> Iterator[Metric]:
        """When Prometheus asks."""
        drift = GaugeMetricFamily(
            "onhand_audit_drift", "Rows, lines and counts that differ from the log.",
            labels=["partition"],
        )  # fmt: skip
        unread = GaugeMetricFamily(
            "onhand_audit_unread_copies", "Copies that could not be compared.",
            labels=["partition"],
        )  # fmt: skip
        at = GaugeMetricFamily(
            "onhand_audit_time_seconds", "When it was last audited, Unix time.",
            labels=["partition"],
        )  # fmt: skip
        for number, one in sorted(self._last.items()):
            drift.add_metric([str(number)], one.drift)
            unread.add_metric([str(number)], len(one.unread))
            at.add_metric([str(number)], one.at)
        yield from (drift, unread, at)
        yield CounterMetricFamily(
            "onhand_audit_records", "Records of the log counted again.", value=self._records
        )

    def routes(self) -> Iterator[web.RouteDef]:
        """GET /v1/audit, /metrics and /live."""

        async def document(request: web.Request) -> web.Response:
            return json_reply(self.document())

        async def metrics(request: web.Request) -> web.Response:
            return metrics_reply(self.registry, request)

        async def live(request: web.Request) -> web.Response:
            return json_reply({"live": True})

        yield web.get(AUDIT_PATH, document)
        yield web.get("/metrics", metrics)
        yield web.get("/live", live)


def app_of(watched: Watched, access: Access) -> web.Application:
    """Its small server."""
    app = web.Application()
    limits = descriptors.of_others(0, is_secured=access.tls.server() is not None)
    attach_small(app, watched.routes(), access, limits, _ELSEWHERE)
    return app


async def watch(
    auditor: Auditor,
    numbers: Sequence[int],
    watched: Watched,
    say: Callable[[Audited], None],
    at: tuple[str, int],
    access: Access = OPEN,
    members: Members | None = None,
) -> None:
    """Audit one partition after the other, until cancelled.

    Args:
        auditor: ready.
        numbers: of partitions.
        watched: is told of each.
        say: the same, for people.
        at: host and port of the HTTP server.
        access: who may ask it.
        members: tells workers that it is there.

    Raises:
        OSError: the port is taken.
    """
    from aiokafka.errors import KafkaError

    from audit.log import AuditFailed
    from core.words import in_words
    from ledger.engine import LedgerUnavailable

    runner = web.AppRunner(app_of(watched, access), access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, *at).start()
        if members is not None:
            await members.start()
        for number in cycle(numbers):
            try:
                found = await auditor.partition(number)
            except (AuditFailed, LedgerUnavailable) as why:
                watched.fail(str(why))
                await asyncio.sleep(_RETRY_S)
                continue
            except (KafkaError, OSError) as why:
                watched.fail(f"Kafka does not answer ({in_words(why)}).")
                await asyncio.sleep(_RETRY_S)
                continue
            watched.note(found)
            say(found)
            await asyncio.sleep(max(_PAUSE_S, _behind(found)))
    finally:
        if members is not None:
            await members.stop()
        await runner.cleanup()


def url_at(settings: Settings, port: int) -> str:
    """How others reach the watch: as they would a worker of these settings, at another port."""
    return re.sub(r"(:[0-9]{1,5})?/*$", f":{port}", settings.url, count=1)


def telling_of(settings: Settings, rules: int, access: Access) -> Members:
    """Tells the workers of this version where they find the watch.

    Args:
        settings: with the watch's own `url`.
        rules: by which the version counts.
        access: signs what is told.
    """
    from app import __version__
    from web.cluster.heartbeats import AUDIT
    from web.cluster.members import Members, NothingHeld

    return Members(
        settings.client_kwargs(),
        settings.members_topic,
        NothingHeld(),
        version=settings.version,
        rules=rules,
        build=__version__,
        url=settings.url,
        window=settings.dedup_window,
        kind=AUDIT,
        access=access,
    )


def _behind(found: Audited) -> float:
    """As long as the partition took: half of the time is others'."""
    return min(found.seconds, 60.0) if time.time() >= found.at else 0.0
