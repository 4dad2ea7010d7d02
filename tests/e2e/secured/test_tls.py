"""Two workers and a ledger that speak TLS, asked by https while their certificates are renewed."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from dev.kafka import Kafka
from dev.workers import Late, Worker, onhand, until
from tests.support.cluster.workers import LEDGER, Cluster
from tests.support.http.certificates import Authority, CertificateFiles

SKUS = [f"SKU-{number}" for number in range(12)]
NEW_PAIRS = 3


class SecuredWorker(Worker):
    """A process whose port speaks TLS."""

    @property
    def url(self) -> str:
        return super().url.replace("http:", "https:")


class Secured:
    """Workers `a` and `b` and a ledger, with the files that all of them share."""

    def __init__(self, kafka: Kafka, folder: Path) -> None:
        self.files = CertificateFiles(folder)
        self.cluster = Cluster(
            kafka.bootstrap, folder, partitions=4, settings=self.files.settings()
        )
        self.a, self.b = (SecuredWorker(name, folder, self.cluster.settings) for name in "ab")
        self.ledger = SecuredWorker("ledger", folder, self.cluster.settings, command=LEDGER)
        self.workers = (self.a, self.b)
        self.all = (*self.workers, self.ledger)
        self.trusted = self.files.authority.trusted()

    def http(self, **more: Any) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(ssl=self.trusted, **more)
        return aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=30))

    async def start(self) -> None:
        await self.cluster.create_topics()
        for one in self.all:
            one.start()
        async with self.http() as http:

            async def all_are_ready() -> bool:
                if gone := [one for one in self.all if not one.alive]:
                    raise Late(f"{gone[0].name} ended by itself\n{gone[0].tail()}")
                return all([await self._is_ready(http, one) for one in self.all])

            await until(all_are_ready, "ready: two workers and a ledger", 120, every_s=0.2)

    async def _is_ready(self, http: aiohttp.ClientSession, one: Worker) -> bool:
        try:
            async with http.get(f"{one.url}/ready") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    async def shown(self, one: Worker) -> bytes:
        """SHA-256 of the certificate that a new connection is given."""
        _, writer = await asyncio.open_connection(
            "127.0.0.1", one.port, ssl=self.trusted, server_hostname="127.0.0.1"
        )
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.transport.abort()
        return hashlib.sha256(shown).digest()

    async def all_show(self, cert: bytes) -> None:
        """Wait until this is what new connections are given."""
        expected = hashlib.sha256(ssl.PEM_cert_to_DER_cert(cert.decode())).digest()

        async def do() -> bool:
            return all([await self.shown(one) == expected for one in self.all])

        await until(do, "shown by all: the new certificate", 60, every_s=0.1)

    async def all_say(self, sentence: str, times: int) -> None:
        """Wait until the log of each has it so often."""

        async def do() -> bool:
            # They look when somebody connects.
            await asyncio.gather(*map(self.shown, self.all))
            return all(one.log.read_text().count(sentence) >= times for one in self.all)

        await until(do, f"said by all: {sentence}", 60, every_s=0.1)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Counter[str]]:
        """Meanwhile, read rows through both workers on kept and on new connections."""
        seen: Counter[str] = Counter()

        async def go_on(http: aiohttp.ClientSession) -> None:
            while True:
                for sku in SKUS:
                    for worker in self.workers:
                        seen[await self._row(http, worker, sku)] += 1

        async with self.http() as kept, self.http(force_close=True) as new:
            readers = [asyncio.create_task(go_on(http)) for http in (kept, new)]
            try:
                yield seen
            finally:
                for reader in readers:
                    reader.cancel()
                ended = await asyncio.gather(*readers, return_exceptions=True)
        assert all(isinstance(how, asyncio.CancelledError) for how in ended), ended

    async def _row(self, http: aiohttp.ClientSession, worker: Worker, sku: str) -> str:
        try:
            async with http.get(f"{worker.url}/v1/inventory/{sku}/s-1") as answer:
                body = await answer.json()
                if answer.status != 200:
                    return f"{answer.status} {body}"
                is_own = body["freshness"]["worker"] == worker.url
                return "own" if is_own else "passed on"
        except (aiohttp.ClientError, TimeoutError) as error:
            return repr(error)


@pytest.fixture
def secured(kafka: Kafka, tmp_path: Path) -> Iterator[Secured]:
    made = Secured(kafka, tmp_path)
    yield made
    for one in made.all:
        one.kill()


async def test_certificates_are_renewed_under_traffic_and_no_read_fails(secured: Secured) -> None:
    files = secured.files
    await secured.start()
    async with secured.http() as http:
        lines = [
            {"source": "dock", "id": sku, "sku": sku, "location": "s-1", "quantity": 5}
            for sku in SKUS
        ]
        async with http.post(f"{secured.a.url}/v1/shipments", json=lines) as answer:
            assert answer.status == 202, await answer.text()

        # What another worker holds is asked of it by https, and the past of the ledger.
        async def all_are_counted() -> bool:
            async with secured.read() as seen:
                await until(_more(seen, 4 * len(SKUS)), "read: all rows", 60)
            return set(seen) == {"own", "passed on"}

        await until(all_are_counted, "counted: all facts, through both workers", 60)

        async def is_told_by_the_ledger() -> bool:
            path = f"/v1/inventory/{SKUS[0]}/s-1/timeline"
            async with http.get(secured.b.url + path) as answer:
                return answer.status == 200 and "dock" in await answer.text()

        await until(is_told_by_the_ledger, "told through a worker: the past", 60, every_s=0.2)

    other = Authority("The next")
    files.ca.write_bytes(files.authority.pem + other.pem)
    secured.trusted.load_verify_locations(cadata=other.pem.decode())
    async with secured.read() as seen:
        for number in range(1, NEW_PAIRS + 1):
            signer = other if number == NEW_PAIRS else files.authority
            cert, key = signer.certificate()
            files.key.write_bytes(key)
            await secured.all_say("What was known before goes on to hold.", number)
            files.cert.write_bytes(cert)
            await secured.all_show(cert)
            before = seen.total()
            await until(_more(seen, before + 4 * len(SKUS)), "read: all rows again", 60)

    assert set(seen) == {"own", "passed on"}, seen
    assert min(seen.values()) >= NEW_PAIRS * len(SKUS)
    environment = secured.cluster.settings | {"ONHAND_URL": secured.a.url}
    code, said = await onhand("status", settings=environment)
    assert code == 0, said
    assert said.count("https://127.0.0.1:") >= len(secured.workers)


def _more(seen: Counter[str], than: int) -> Any:
    async def is_so() -> bool:
        return seen.total() > than

    return is_so
