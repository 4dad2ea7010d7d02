"""Secret and tokens come in, are changed and go out again while clients ask, and none is refused.

Each step is taken by one worker after the other, as a rolling restart or a copied file takes it:
workers with and without it ask each other meanwhile, and hear each other's heartbeats.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from core.stages import Role
from tests.support.inside.fleet import Fleet
from tests.unit.web.access_files import OTHER, SECRET, Keys
from web.access.access import OPEN
from web.access.beats import Beats
from web.access.callers import Scope
from web.access.denials import Denial

SIZE = 3
MEMBERS = "onhand-members"
BODY = {"keys": [{"sku": f"SKU-{n:04d}", "location": "store-0"} for n in range(4)]}
PATHS = [f"/v1/inventory/SKU-{n:04d}/store-0" for n in range(4)]
PATHS += ["/v1/inventory/SKU-0001", "/v1/inventory?limit=5"]


class Site:
    """Workers with files of their own, clients that never stop asking, and who was refused."""

    def __init__(self, fleet: Fleet, folder: Path) -> None:
        self.fleet = fleet
        self.keys = [Keys(folder / str(number)) for number in range(SIZE)]
        self.token = ""
        self.refused: list[tuple[str, int, str, bytes]] = []
        self.rounds: Counter[int] = Counter()
        self.step = "off"
        self.is_over = False
        self._starts: Counter[int] = Counter()
        self._beats = [Beats(None, MEMBERS, Counter()) for _ in range(SIZE)]
        self._sequence = 0
        self._asked = asyncio.Event()

    def restart(self, number: int, *, secrets: bool, tokens: bool) -> None:
        """With these settings; to others it is a new process."""
        worker = self.fleet[number]
        worker.access = OPEN
        if secrets or tokens:
            worker.access = self.keys[number].access(
                worker.url, has_secrets=secrets, has_tokens=tokens
            )
        self._starts[number] += 1
        self._beats[number] = worker.access.beats(MEMBERS)

    async def take(self, step: str, by: Callable[[int], None]) -> None:
        """One worker after the other takes the step, and each time everybody asks everything."""
        for number in range(SIZE):
            self.step = f"{step}, worker {number}"
            by(number)
            self.hear_each_other()
            wanted = {reader: self.rounds[reader] + 2 for reader in range(SIZE)}
            async with asyncio.timeout(60):
                while any(self.rounds[reader] < count for reader, count in wanted.items()):
                    self._asked.clear()
                    await self._asked.wait()
            assert self.refused == []

    def hear_each_other(self) -> None:
        """A heartbeat of each is believed by all."""
        self._sequence += 1
        for number in range(SIZE):
            value = b"heartbeat of %d" % number
            headers = self._beats[number].headers(value)
            sent_ms = int(headers[0][1].partition(b" ")[0]) if headers else 0
            instance = f"{number}-{self._starts[number]}"
            for hearer, beats in enumerate(self._beats):
                heard = beats.is_heard(value, headers, sent_ms, instance, self._sequence)
                assert heard, (self.step, number, hearer)

    def refuses(self, why: Denial) -> int:
        """How many requests or heartbeats are counted for it, by all that run now."""
        return sum(worker.access.refused[why] for worker in self.fleet.workers)

    async def keep_asking(self, number: int) -> None:
        """One client of this worker."""
        while not self.is_over:
            for path in [*PATHS, "/v1/lookup"]:
                method, body = ("POST", BODY) if path.endswith("lookup") else ("GET", None)
                bearer = f"Bearer {self.token}"
                ask = partial(self.fleet.request, method, number, path, body, Authorization=bearer)
                answer = await ask()
                # Where all are far too busy an owner may not answer in time. A worker that another
                # one does not let in says so, too, for as long as the step takes, and `take` then
                # waits for this round in vain.
                while answer.status == 503 and not self.is_over:
                    answer = await ask()
                if answer.status not in (200, 503):
                    self.refused.append((self.step, number, path, answer.data))
            self.rounds[number] += 1
            self._asked.set()


@asynccontextmanager
async def a_site(folder: Path) -> AsyncIterator[Site]:
    for number in range(SIZE):
        (folder / str(number)).mkdir()
    async with Fleet(SIZE) as fleet:
        # No standbys: who is not let in by the owner has nobody else to ask.
        for partition in range(fleet.count):
            fleet[partition % SIZE].shelf.hold([partition], Role.ACTIVE, sales=10)
        for number in range(12):
            fleet.put(f"SKU-{number // 3:04d}", f"store-{number % 3}", received=number)
        fleet.tell()
        site = Site(fleet, folder)
        asking = [asyncio.create_task(site.keep_asking(number)) for number in range(SIZE)]
        try:
            yield site
        finally:
            site.is_over = True
            await asyncio.gather(*asking)


def shared(site: Site, *secrets: str, mode: str) -> Callable[[int], None]:
    """The step that copies this file to a worker."""
    return lambda number: site.keys[number].share(*secrets, mode=mode)


def known(site: Site, tokens: bytes) -> Callable[[int], None]:
    """The step that copies a file of tokens to a worker."""

    def copy(number: int) -> None:
        site.keys[number].tokens.write_bytes(tokens)

    return copy


async def test_no_request_is_refused_while_secret_and_tokens_come_in_are_changed_and_go(
    tmp_path: Path,
) -> None:
    first = Keys(tmp_path)
    async with a_site(tmp_path) as site:
        site.token = first.token(Scope.READ)
        for each in site.keys:
            each.share(SECRET, mode="sign")
            each.tokens.write_bytes(first.tokens.read_bytes())
        restart = site.restart
        await site.take("sign", lambda n: restart(n, secrets=True, tokens=False))
        await site.take("tokens", lambda n: restart(n, secrets=True, tokens=True))
        assert site.refuses(Denial.UNPROVEN_REQUEST) == 0
        await site.take("require", shared(site, SECRET, mode="require"))

        await site.take("a new secret", shared(site, SECRET, OTHER, mode="require"))
        await site.take("it signs", shared(site, OTHER, SECRET, mode="require"))
        await site.take("the old one goes", shared(site, OTHER, mode="require"))

        old, site.token = site.token, first.token(Scope.READ)
        new, site.token = site.token, old
        await site.take("a new token", known(site, first.tokens.read_bytes()))
        site.token = new
        await site.take("clients have it", lambda number: None)
        first.revoke(old)
        await site.take("the old token goes", known(site, first.tokens.read_bytes()))
        assert (await site.fleet.get(0, PATHS[0], Authorization=f"Bearer {old}")).status == 401

        await site.take("sign again", shared(site, OTHER, mode="sign"))
        await site.take("no tokens", lambda n: restart(n, secrets=True, tokens=False))
        await site.take("off again", lambda n: restart(n, secrets=False, tokens=False))
        assert any(is_hop for worker in site.fleet.workers for _, _, is_hop in worker.seen)


async def test_tokens_that_come_in_after_proofs_are_required_refuse_what_others_pass_on(
    tmp_path: Path,
) -> None:
    """So the order of the steps is the one of docs/security.md, and no other."""
    async with a_site(tmp_path) as site:
        site.token = site.keys[0].token(Scope.READ)
        for number in range(SIZE):
            site.restart(number, secrets=True, tokens=number == 0)

        owner = [site.fleet.owner_of(f"SKU-{number:04d}") for number in range(4)]
        owned = PATHS[owner.index(0)]
        answer = await site.fleet.get(1, owned, Authorization=f"Bearer {site.token}")

        assert answer.status == 403
        assert "has no token" in answer.body["detail"]
        site.refused.clear()
