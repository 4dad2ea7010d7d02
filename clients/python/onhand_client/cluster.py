"""Who is asked for a partition, in which order: what /v1/cluster said, and what happened since.

No input or output here.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

#: A worker that failed is asked last for so long; twice as long each time that it fails again.
SUSPECT_S = 1.0
MOST_SUSPECT_S = 16.0
#: Who was never measured is taken to answer within this.
_UNKNOWN_S = 1e-6
#: An old measurement counts half after so long: who was slow once is tried again.
_HALF_LIFE_S = 10.0


class _Known:
    """What was seen of one worker: failures in a row, until when to avoid it, how fast it is."""

    __slots__ = ("avoid_until", "failures", "in_flight", "measured_at", "probed_until", "took_s")

    def __init__(self) -> None:
        self.failures = 0
        self.avoid_until = 0.0
        self.probed_until = 0.0
        self.in_flight = 0
        self.took_s = 0.0
        self.measured_at = 0.0


class ClusterMap:
    """Workers and owners.

    Args:
        seeds: URLs that the caller gave; they stay, whatever is learned.
        direct: whether to learn workers. Behind a load balancer, whose workers nobody can
            reach, the seeds are all that is ever asked.
    """

    def __init__(
        self, seeds: Sequence[str], direct: bool = True, now: Callable[[], float] = time.monotonic
    ) -> None:
        self.seeds = tuple(dict.fromkeys(seed.rstrip("/") for seed in seeds))
        if not self.seeds or not all(s.startswith(("http://", "https://")) for s in self.seeds):
            raise ValueError("Give the URL of at least one worker, such as http://localhost:6066.")
        self.direct = direct
        self.version = 0
        #: How many there are; 0 while that is not known.
        self.partitions = 0
        self._now = now
        self._workers: list[str] = list(self.seeds)
        self._owners: dict[int, str] = {}
        self._standbys: dict[int, list[str]] = {}
        self._known: dict[str, _Known] = {}
        self._turn = itertools.count()

    def may_ask(self, url: str) -> bool:
        """Whether a learned URL is asked: a token given for https never goes out in the clear."""
        return url.startswith("https://" if self.seeds[0].startswith("https://") else "http")

    def take(self, body: Mapping[str, Any]) -> None:
        """Take in an answer of /v1/cluster.

        Raises:
            KeyError, TypeError: it is none.
        """
        version, partitions = int(body["version"]), list(body["partitions"])
        self.version, self.partitions = version, len(partitions)
        if not self.direct:
            return
        up = [
            str(worker["url"])
            for worker in body["workers"]
            # One of another version, or that leaves, answers too; there is no need to ask it.
            if worker["alive"] and worker["state"] == "running" and worker["version"] == version
        ]
        workers = [url.rstrip("/") for url in up if self.may_ask(url)]
        owners: dict[int, str] = {}
        standbys: dict[int, list[str]] = {}
        for place in partitions:
            active = place["active"]
            holders = [str(holder["worker"]) for holder in place["standbys"]]
            number = int(place["partition"])
            if active is not None and active["worker"] in workers:
                owners[number] = str(active["worker"])
            standbys[number] = [url for url in holders if url in workers]
        self._workers = workers or list(self.seeds)
        self._owners, self._standbys = owners, standbys
        kept = {*workers, *self.seeds}
        self._known = {url: known for url, known in self._known.items() if url in kept}

    def learn_owner(self, partition: int, url: str) -> None:
        """An answer said that this worker owns it: newer than any heartbeat."""
        if self.direct and self.may_ask(url):
            self._owners[partition] = url

    def owner(self, partition: int) -> str | None:
        """Who owns it, as far as is known."""
        return self._owners.get(partition)

    def order(self, partition: int | None, any_holder: bool = False) -> list[str]:
        """All workers, best first.

        Args:
            partition: its owner comes first, then its standbys; None takes them in turn.
            any_holder: whichever holder answers soonest comes first, the owner is one of them.
        """
        everybody = [*self._workers, *(s for s in self.seeds if s not in self._workers)]
        turn = next(self._turn) % len(self._workers)
        rest = everybody[turn : len(self._workers)] + everybody[:turn]
        rest += everybody[len(self._workers) :]
        if partition is None:
            urls = rest
        else:
            owner = self._owners.get(partition)
            holders = ([owner] if owner else []) + self._standbys.get(partition, [])
            if any_holder:
                holders.sort(key=self._expected_s)
            urls = list(dict.fromkeys([*holders, *rest]))
        if any(known.failures for known in self._known.values()):
            now = self._now()
            urls.sort(key=lambda url: max(0.0, self._avoid_until(url) - now))
        return urls

    def best(self, partition: int) -> str | None:
        """The first of `order`, where that is plain: the owner, and nothing is wrong with it."""
        owner = self._owners.get(partition)
        if owner is None or ((known := self._known.get(owner)) is not None and known.failures):
            return None
        return owner

    def began(self, url: str) -> None:
        """A request goes to this worker."""
        known = self._of(url)
        known.in_flight += 1
        if known.failures:
            # One request finds out whether it is well again; the others do not wait for that.
            known.probed_until = self._now() + SUSPECT_S

    def ended(self, url: str, took_s: float | None, is_usual: bool = True) -> None:
        """It is over; seconds where there was an answer, which clears the worker of suspicion.

        `is_usual`: a read of a key: by these, workers are compared.
        """
        known = self._of(url)
        known.in_flight = max(0, known.in_flight - 1)
        if took_s is not None:
            known.failures = 0
            known.avoid_until = known.probed_until = 0.0
        if took_s is not None and is_usual:
            known.took_s += 0.2 * (took_s - known.took_s) if known.measured_at else took_s
            known.measured_at = self._now()

    def suspect(self, url: str) -> None:
        """It failed, or hung: last choice for a while."""
        known, now = self._of(url), self._now()
        # What fails at one moment is one failure, however many requests were on the way.
        if now >= known.avoid_until:
            wait_s = min(SUSPECT_S * math.pow(2, min(known.failures, 8)), MOST_SUSPECT_S)
            known.failures += 1
            known.avoid_until = now + wait_s

    def _of(self, url: str) -> _Known:
        known = self._known.get(url)
        if known is None:
            known = self._known[url] = _Known()
        return known

    def _avoid_until(self, url: str) -> float:
        known = self._known.get(url)
        return 0.0 if known is None else max(known.avoid_until, known.probed_until)

    def _expected_s(self, url: str) -> float:
        known = self._known.get(url)
        if known is None or not known.measured_at:
            # Next to nothing, so that it is measured soon.
            return _UNKNOWN_S * (1 + (known.in_flight if known else 0))
        age_s = self._now() - known.measured_at
        return known.took_s * (1 + known.in_flight) * math.pow(0.5, age_s / _HALF_LIFE_S)
