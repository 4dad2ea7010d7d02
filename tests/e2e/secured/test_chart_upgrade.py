"""A rolling upgrade of the chart, rehearsed with processes: what Kubernetes sends, in its order.

Numbers are those of the rendered chart: probes, the wait before SIGTERM, the grace, the pause
between pods. A pod that is deleted is sent to for a while, as by nodes that have not heard yet.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from dev.kafka import Kafka
from dev.workers import Worker, until
from tests.support.cluster.workers import Cluster
from tests.support.deploying.chart import kept_at
from tests.support.http.certificates import CertificateFiles
from tests.unit.web.access_files import Keys
from web.access.callers import Scope

#: How long others send to a pod that is deleted: less than it waits before it begins to leave.
LAG_S = 3.0
SKUS = [f"SKU-{number}" for number in range(40)]
CLIENTS = 4
PAUSE_S = 0.05


class Pod(Worker):
    """A process whose port speaks TLS, and what the kubelet knows of it."""

    is_ready = False
    #: Clients may still be sent to it.
    is_listed = False

    @property
    def url(self) -> str:
        return super().url.replace("http:", "https:")


class Kubelet:
    """Starts pods, asks their probes and ends them, as the chart says."""

    def __init__(self, spec: dict[str, Any], http: aiohttp.ClientSession) -> None:
        self._spec, self._http = spec, http
        self._pod = spec["template"]["spec"]
        (self._container,) = self._pod["containers"]
        #: Answers of probes that failed, of pods that were not being started or ended.
        self.failed: Counter[str] = Counter()

    async def _says(self, pod: Pod, kind: str) -> bool:
        probe = self._container[f"{kind}Probe"]
        assert probe["httpGet"]["scheme"] == "HTTPS"
        timeout = aiohttp.ClientTimeout(total=probe.get("timeoutSeconds", 1))
        url = pod.url + probe["httpGet"]["path"]
        try:
            # Its certificate is not looked at: so Kubernetes does it.
            async with self._http.get(url, ssl=False, timeout=timeout) as answer:
                return 200 <= answer.status < 400
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def run(self, pod: Pod) -> None:
        """Start it, and return once it was ready for as long as an update waits."""
        pod.start()
        startup = self._container["startupProbe"]
        for _ in range(startup["failureThreshold"]):
            if await self._says(pod, "startup"):
                break
            await asyncio.sleep(startup["periodSeconds"])
        else:
            raise AssertionError(f"{pod.name} would be started again: {pod.tail()}")
        since: float | None = None
        deadline = time.monotonic() + 300
        while since is None or time.monotonic() - since < self._spec["minReadySeconds"]:
            assert time.monotonic() < deadline, f"{pod.name} does not stay ready: {pod.tail()}"
            pod.is_ready = pod.is_listed = await self._says(pod, "readiness")
            if not pod.is_ready:
                since = None
            elif since is None:
                since = time.monotonic()
            await asyncio.sleep(self._container["readinessProbe"]["periodSeconds"])

    async def watch(self, pods: list[Pod]) -> None:
        """Ask the probes of all that run, until cancelled."""
        lives: Counter[str] = Counter()
        while True:
            for pod in pods:
                if not pod.is_ready:
                    continue
                lives[pod.name] = 0 if await self._says(pod, "liveness") else lives[pod.name] + 1
                most = self._container["livenessProbe"]["failureThreshold"]
                assert lives[pod.name] < most, f"{pod.name} would be killed: {pod.tail()}"
                if pod.is_ready and not await self._says(pod, "readiness"):
                    self.failed[pod.name] += 1
            await asyncio.sleep(self._container["livenessProbe"]["periodSeconds"])

    async def delete(self, pod: Pod) -> int:
        """As a pod is deleted; the exit code."""
        before, grace_s = time.monotonic(), self._pod["terminationGracePeriodSeconds"]
        pod.is_ready = False
        command = self._container["lifecycle"]["preStop"]["exec"]["command"]
        assert command[0] == "sleep"
        assert float(command[1]) > LAG_S
        unlisted = asyncio.get_running_loop().call_later(LAG_S, setattr, pod, "is_listed", False)
        await asyncio.sleep(float(command[1]))
        assert pod.alive, f"{pod.name} ended before it was told to: {pod.tail()}"
        code = await pod.stop(grace_s - (time.monotonic() - before))
        unlisted.cancel()
        pod.is_listed = False
        return code


class Clients:
    """Ask whichever pod the Service leads to, on new connections, and note what failed."""

    def __init__(self, pods: list[Pod], http: aiohttp.ClientSession, token: str) -> None:
        self._pods, self._http = pods, http
        self._headers = {"Authorization": f"Bearer {token}"}
        self._dice = random.Random(7)
        self.sent: Counter[str] = Counter()
        self.reads = 0
        self.failed: list[str] = []

    async def ask(self, number: int) -> None:
        """Post a sale and read a row, again and again, until cancelled."""
        for turn in range(10**9):
            sku = self._dice.choice(SKUS)
            line = {"source": f"till-{number}", "id": str(turn), "sku": sku, "location": "s-1"}
            if await self._went_well("POST", "/v1/sales", 202, json=line | {"quantity": 1}):
                self.sent[sku] += 1
            self.reads += await self._went_well("GET", f"/v1/inventory/{sku}/s-1", 200)
            await asyncio.sleep(PAUSE_S)

    async def _went_well(self, method: str, path: str, wanted: int, **more: Any) -> bool:
        pod = self._dice.choice([one for one in self._pods if one.is_listed])
        try:
            async with self._http.request(
                method, pod.url + path, headers=self._headers, **more
            ) as answer:
                told = await answer.text()
                if answer.status == wanted:
                    return True
                self.failed.append(f"{pod.name} {method} {path}: {answer.status} {told}")
        except (aiohttp.ClientError, TimeoutError) as error:
            self.failed.append(f"{pod.name} {method} {path}: {error!r}")
        return False


@asynccontextmanager
async def going_on(*work: Callable[[], Any]) -> AsyncIterator[None]:
    """Meanwhile; raises what one of them raised."""
    tasks = [asyncio.ensure_future(one()) for one in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(how, asyncio.CancelledError) for how in ended), ended


@pytest.mark.torture
async def test_an_upgrade_of_the_chart_takes_one_pod_after_the_other_and_no_request_fails(
    kafka: Kafka, tmp_path: Path
) -> None:
    (spec,) = (
        one["spec"]
        for one in filter(None, yaml.safe_load_all(kept_at("full").read_text()))
        if (one["kind"], one["metadata"]["name"]) == ("StatefulSet", "stock")
    )
    files, keys = CertificateFiles(tmp_path), Keys(tmp_path)
    token = keys.token(Scope.READ, Scope.WRITE)
    secured = {"ONHAND_TOKENS": str(keys.tokens), "ONHAND_PEER_SECRET": str(keys.secrets)}
    cluster = Cluster(kafka.bootstrap, tmp_path, settings=files.settings() | secured)
    pods = [Pod(f"stock-{n}", tmp_path, cluster.settings) for n in range(spec["replicas"])]
    await cluster.create_topics()
    connector = aiohttp.TCPConnector(ssl=files.authority.trusted(), force_close=True)
    timeout = aiohttp.ClientTimeout(total=30)
    try:
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as http:
            kubelet, clients = Kubelet(spec, http), Clients(pods, http, token)
            assert spec["podManagementPolicy"] == "Parallel"
            await asyncio.gather(*map(kubelet.run, pods))
            await stock_of(http, pods[0], token)
            asking = [lambda number=n: clients.ask(number) for n in range(CLIENTS)]
            async with going_on(lambda: kubelet.watch(pods), *asking):
                for pod in reversed(pods):
                    assert await kubelet.delete(pod) == 0, pod.tail()
                    await kubelet.run(pod)
            assert clients.failed == [], (len(clients.failed), clients.failed[:3])
            assert clients.reads > 100
            assert not kubelet.failed
            for sku in SKUS:
                await has_sold(http, pods[0], token, sku, clients.sent[sku])
    finally:
        for pod in pods:
            pod.kill()


async def stock_of(http: aiohttp.ClientSession, pod: Pod, token: str) -> None:
    """Each SKU has a row before it is read."""
    headers = {"Authorization": f"Bearer {token}"}
    lines = [
        {"source": "dock", "id": sku, "sku": sku, "location": "s-1", "quantity": 100_000}
        for sku in SKUS
    ]
    async with http.post(f"{pod.url}/v1/shipments", json=lines, headers=headers) as answer:
        told = await answer.json()
        assert answer.status == 202, told
    for sku in SKUS:
        await has_sold(http, pod, token, sku, 0)


async def has_sold(http: aiohttp.ClientSession, pod: Pod, token: str, sku: str, count: int) -> None:
    """Wait until so many are counted, and no more."""
    headers = {"Authorization": f"Bearer {token}"}

    async def is_counted() -> bool:
        url = f"{pod.url}/v1/inventory/{sku}/s-1"
        async with http.get(url, headers=headers) as answer:
            row = await answer.json() if answer.status == 200 else {}
            assert row.get("sold", 0) <= count, row
            return answer.status == 200 and row.get("sold", 0) == count

    await until(is_counted, f"counted: {count} of {sku}", 120, every_s=0.2)
