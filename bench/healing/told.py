"""What a reader of the stream was told, and whether that is whole."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

import aiohttp

Offsets = Mapping[str, list[int]]


def by_partition(positions: Iterable[str]) -> Offsets:
    """Offsets, ascending, by `topic-partition`."""
    found: dict[str, list[int]] = defaultdict(list)
    for position in positions:
        partition, offset = position.rsplit("@", 1)
        found[partition].append(int(offset))
    return {partition: sorted(offsets) for partition, offsets in found.items()}


def not_whole(told: Iterable[str], everything: Offsets) -> list[str]:
    """What is missing between the first and the last fact of a partition, or there twice."""
    wrong = []
    for partition, offsets in by_partition(told).items():
        twice = [offset for offset, often in Counter(offsets).items() if often > 1]
        there = set(offsets)
        between = (one for one in everything[partition] if offsets[0] <= one <= offsets[-1])
        wrong += [f"{partition}@{one} twice" for one in twice]
        wrong += [f"{partition}@{one} missing" for one in between if one not in there]
    return wrong


class Reader:
    """Reads the stream at one worker, then at the other one, from its last position on.

    Attributes:
        told: positions of facts, each with when it came, in ms since the epoch.
    """

    def __init__(self, urls: Sequence[str]) -> None:
        self._urls = list(urls)
        self.after = "end"
        self.told: list[tuple[str, float]] = []

    async def run(self, http: aiohttp.ClientSession) -> None:
        """For ever."""
        for number in range(sys.maxsize):
            with suppress(aiohttp.ClientError):
                await self._read(http, self._urls[number % len(self._urls)])

    async def _read(self, http: aiohttp.ClientSession, url: str) -> None:
        query, headers = {"after": self.after}, {"Accept": "application/x-ndjson"}
        async with http.get(f"{url}/v1/changes", params=query, headers=headers) as answer:
            async for line in answer.content:
                event = json.loads(line) if line.strip() else {}
                self.after = event.get("id", self.after)
                if event.get("event") == "fact":
                    self.told.append((event["data"]["position"], time.time() * 1000))
