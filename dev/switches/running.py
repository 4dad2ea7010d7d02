"""The open loop beside workers of two versions: started, ended, and what is needed to judge it."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from app.config import Settings
from app.upgrades.record import recorded
from core.versions import VersionChange
from dev.oracle.log import oracle_of
from dev.oracle.rows import Key
from dev.oracle.stock import Oracle
from dev.reads.answers import Answer
from dev.switches.load import Posted
from dev.switches.verdicts import Moved
from dev.workers import start_process, until

#: Rules by version, wherever the second one is staged with the newest.
RULES = {1: 2, 2: 3}
SWITCHES = (VersionChange.PROMOTE, VersionChange.ROLLBACK)


@dataclass
class Tally:
    """What the open loop has written; there at its end."""

    answers: list[Answer] = field(default_factory=list)
    posts: list[Posted] = field(default_factory=list)


@asynccontextmanager
async def open_loop(
    settings: Settings,
    folder: Path,
    urls: Sequence[str],
    keys: Sequence[Key],
    reads_per_s: float,
    facts_per_s: float,
) -> AsyncIterator[Tally]:
    """Reads and facts through all ready workers, in a process of its own, during the block."""
    tally = Tally()
    files = {name: folder / f"loop.{name}" for name in ("keys", "answers", "posts", "log")}
    for old in files.values():
        old.unlink(missing_ok=True)
    files["keys"].write_text(json.dumps(list(keys)))
    arguments = ["--urls", ",".join(urls), "--kafka", settings.kafka]
    arguments += ["--prefix", settings.topic_prefix]
    for name in ("keys", "answers", "posts"):
        arguments += [f"--{name}", str(files[name])]
    arguments += ["--reads", str(reads_per_s), "--facts", str(facts_per_s)]
    process = start_process(["-m", "dev.switches.load", *arguments], {}, files["log"])

    async def goes() -> bool:
        assert process.poll() is None, files["log"].read_text()
        return all(files[n].exists() and files[n].stat().st_size for n in ("answers", "posts"))

    try:
        await until(goes, "an answer to the open loop", 60)
        yield tally
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGTERM)
        await asyncio.to_thread(process.wait, 60)
    assert process.returncode == 0, files["log"].read_text()
    tally.answers += map(Answer.from_json, files["answers"].read_text().splitlines())
    tally.posts += map(Posted.from_json, files["posts"].read_text().splitlines())


async def moves(settings: Settings) -> list[Moved]:
    """Every switch there was, as the record has it."""
    return [
        Moved(entry.versions.epoch, entry.versions.active, entry.log_ms / 1000)
        for entry in (await recorded(settings)).entries
        if entry.versions.change in SWITCHES
    ]


def oracles(settings: Settings) -> dict[int, Oracle]:
    """What the log says, by the rules of either version."""
    kafka, prefix, partitions = settings.kafka, settings.topic_prefix, settings.partitions
    return {
        version: oracle_of(kafka, partitions=partitions, prefix=prefix, rules=rules)
        for version, rules in RULES.items()
    }
