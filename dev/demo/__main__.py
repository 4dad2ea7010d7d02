"""`make demo`: Kafka, two workers, traffic, a `kill -9`, and every row compared with the log.

Then it stays: a page with a Kill button per worker is the visitor's. Everything runs in processes
and folders of its own and is gone after Ctrl-C.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp

from dev.demo.keeper import BACK_AFTER_S
from dev.demo.scoreboard import HEADING, Readings, clock, line
from dev.demo.stage import PARTITIONS, Stage
from dev.demo.steps import (
    Clock,
    Failed,
    all_owned,
    an_audit,
    compared,
    on_stage,
    port,
    shown,
    stop,
)
from dev.demo.watched import Watched, watched
from dev.oracle.log import FollowingOracle, oracle_of
from dev.oracle.rows import read_position
from dev.oracle.stock import Oracle
from dev.reads.answers import Reader, ask, owners, reading
from dev.traffic.sending import run_tag
from dev.traffic.shop import Shop
from dev.workers import LEDGER, Late, Worker, onhand, until

SKUS, STORES, SEED = 2_000, 40, 1
EVENTS_PER_S, READS_PER_S = 500, 100
LINE_EVERY_S = 10.0
TO_COMPARISON_S = 50.0
KILL_AT, RESTART_AT = 0.4, 0.7
#: While a visitor looks on, which may be for hours.
VISITOR_EVENTS_PER_S, VISITOR_READS_PER_S = 50, 20
LOOK_EVERY_S = 0.2


class Parts(NamedTuple):
    """What runs while the demo runs."""

    stage: Stage
    workers: tuple[Worker, Worker]
    audit: Worker
    watched: Watched
    following: FollowingOracle
    reader: Reader
    readings: Readings
    http: aiohttp.ClientSession
    began: float

    def clock(self) -> str:
        """How long the traffic has run."""
        return clock(time.monotonic() - self.began)

    def check(self) -> None:
        """Raise what is wrong so far."""
        self.watched.check()
        self.readings.judge(self.following)
        if self.readings.wrong:
            raise Failed("wrong answer: " + self.readings.wrong[0])


async def main_async(seconds: float | None) -> None:
    """Set up, show, compare; with `seconds` return then, else go on until cancelled."""
    steps = Clock(5)
    async with on_stage(steps) as (stage, folder):
        await _on(stage, folder, steps, seconds)


async def _on(stage: Stage, folder: Path, steps: Clock, seconds: float | None) -> None:
    settings = stage.variables
    code, said = await onhand("topics", "create", settings=settings)
    if code:
        raise Failed(said)
    steps.say(3, "Topics", f"shipments, sales, adjustments: {PARTITIONS} partitions each")
    workers = Worker("a", folder, settings, port(6066)), Worker("b", folder, settings, port(6067))
    ledger = Worker("ledger", folder, settings, port(6166), command=LEDGER)
    audit = an_audit(workers, ledger)
    try:
        for worker in (*workers, ledger):
            worker.start()
        for worker in workers:
            await worker.ready()
        await all_owned(workers)
        steps.say(4, "Workers", "   ".join(f"{w.name} {w.url} (pid {w.pid})" for w in workers))
        print(f"    History    a ledger in SQLite, {ledger.url} (pid {ledger.pid})", flush=True)
        async with running(stage, workers, audit) as parts:
            said = f"{EVENTS_PER_S} events/s · {STORES} stores · {SKUS:,} SKUs · seed {SEED}"
            steps.say(5, "Traffic", f"{said} · 3 % sent twice")
            print(f"    Page       {parts.watched.panel.url}", flush=True)
            await own_write(parts)
            await show(parts, seconds)
    except Late as late:
        raise Failed(str(late)) from None
    finally:
        await stop((audit, *workers, ledger))


@asynccontextmanager
async def running(
    stage: Stage, workers: tuple[Worker, Worker], audit: Worker
) -> AsyncIterator[Parts]:
    """Traffic, readers, the panel and whoever counts, until the end of the block."""
    settings, readings, began = stage.settings, Readings(), time.monotonic()
    shop = Shop(seed=SEED, skus=SKUS, stores=STORES, partitions=PARTITIONS, run=run_tag())
    keys = [(sku, store) for sku in shop.skus[:100] for store in shop.stores]
    reader = Reader([w.url for w in workers], keys, READS_PER_S, readings.took, timeout_s=10)
    following = FollowingOracle(settings.kafka, Oracle(PARTITIONS, settings.topic_prefix))

    def say(what: str) -> None:
        print(f"{clock(time.monotonic() - began)}    {what}", flush=True)

    timeout = aiohttp.ClientTimeout(total=30)
    try:
        async with (
            watched(settings, workers, shop, EVENTS_PER_S, port(6060), say=say) as seen,
            aiohttp.ClientSession(timeout=timeout) as http,
            reading(reader),
        ):
            parts = Parts(stage, workers, audit, seen, following, reader, readings, http, began)
            yield parts
            parts.check()
    finally:
        following.close()


async def own_write(parts: Parts) -> None:
    """Sell through one worker, read it through the other, sell it again."""
    a, b = parts.workers
    line_of = {"source": "till-17", "sku": "DEMO-1", "location": "store-007"}
    _, answer = await _post(parts, a, "shipments", line_of | {"id": "delivery-1", "quantity": 10})
    await _ask_for(10, parts, b, answer["position"], show=False)
    print("\nTen arrived. Sell two through worker a, then ask worker b:")
    sale = line_of | {"id": "4711-1", "quantity": 2}
    body = json.dumps(sale, separators=(",", ":"))
    print(f"$ curl -s {a.url}/v1/sales -d '{body}'")
    status, answer = await _post(parts, a, "sales", sale)
    print(f"  {status}  {json.dumps(answer, separators=(',', ':'))}")
    await _ask_for(8, parts, b, answer["position"], show=True)
    status, answer = await _post(parts, a, "sales", sale)
    await _ask_for(8, parts, b, answer["position"], show=False)
    print(f"The till retries the same sale:   {status}, and on_hand is still 8 (counted once).\n")


async def _post(
    parts: Parts, worker: Worker, kind: str, body: dict[str, Any]
) -> tuple[int, dict[str, Any]]:
    async with parts.http.post(f"{worker.url}/v1/{kind}", json=body) as response:
        answer: dict[str, Any] = await response.json(content_type=None)
        if response.status != 202:
            raise Failed(f"POST /v1/{kind}: {response.status} {answer}")
        # That answer is the acknowledgement: it says where the record stands.
        (((topic, partition), offset),) = read_position(answer["position"]).items()
        parts.watched.meter.books.acked(topic, partition, offset)
        return response.status, answer


async def _ask_for(
    on_hand: int, parts: Parts, worker: Worker, position: str, *, show: bool
) -> None:
    key, query = ("DEMO-1", "store-007"), f"?min_position={position}&wait_ms=10000"
    answer = await ask(parts.http, worker.url, key, query)
    if show:
        print(f"$ curl -s '{worker.url}/v1/inventory/{key[0]}/{key[1]}?min_position={position}'")
        found = {"sku": key[0], "location": key[1], "on_hand": answer.row.on_hand}
        found |= {"received": answer.row.received, "sold": answer.row.sold}
        told = json.dumps(found, separators=(",", ":"))[:-1]
        print(f"  {answer.status}  {told}, …  (role {answer.role})", flush=True)
    if answer.row.on_hand != on_hand:
        raise Failed(f"on_hand is not {on_hand}: {answer}")


async def show(parts: Parts, seconds: float | None) -> None:
    """The table, the kill, the comparison, and then the table again for ever."""
    to_comparison = seconds or TO_COMPARISON_S
    story = [
        (KILL_AT * to_comparison, _kill),
        (RESTART_AT * to_comparison, _restart),
        (to_comparison, _compare),
    ]
    print(HEADING)
    next_line = LINE_EVERY_S
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        parts.check()
        elapsed = time.monotonic() - parts.began
        if elapsed >= next_line:
            next_line += LINE_EVERY_S
            print(line(parts.clock(), parts.watched.meter.last, parts.readings), flush=True)
            parts.readings.start_again()
        if story and elapsed >= story[0][0]:
            await story.pop(0)[1](parts)
            if not story and seconds is not None:
                return
            if not story:
                _hand_over(parts)


async def _kill(parts: Parts) -> None:
    victim = parts.workers[0]
    owned = (await owners(parts.http, victim.url, PARTITIONS)).count(victim.url)
    victim.kill()
    print(
        f"{parts.clock()}    kill -9 worker {victim.name} (pid {victim.pid}), "
        f"owner of {owned} of {PARTITIONS} partitions",
        flush=True,
    )


async def _restart(parts: Parts) -> None:
    victim = parts.workers[0]
    victim.start()
    print(f"{parts.clock()}    worker {victim.name} started again (pid {victim.pid})", flush=True)


async def _compare(parts: Parts) -> None:
    await parts.workers[0].ready()
    print(f"{parts.clock()}    traffic paused; ", end="", flush=True)
    await parts.watched.paused()
    print("whole log read again from offset 0 by other code:")
    settings = parts.stage.settings
    oracle = await asyncio.to_thread(
        oracle_of, settings.kafka, partitions=PARTITIONS, prefix=settings.topic_prefix
    )
    _check_fates(parts, oracle)
    for worker in parts.workers:
        found = await compared(parts.http, worker, oracle)
        print(f"         {found} (through worker {worker.name})")
        if found.differ:
            raise Failed("rows differ from the log")
    refused = f"{len(oracle.refused)} refused: {', '.join(sorted(set(oracle.refused.values())))}"
    print(f"         Nothing lost, nothing counted twice; {refused or 'nothing refused'}.")
    await _explain(parts)


def _hand_over(parts: Parts) -> None:
    """From here on it is the visitor's."""
    traffic = parts.watched.traffic
    traffic.rate, parts.reader.rate = VISITOR_EVENTS_PER_S, VISITOR_READS_PER_S
    traffic.running.set()
    parts.watched.keeper.is_open = True
    parts.audit.start()  # not before: two cores had enough to do with the kill and the comparison
    variables = " ".join(
        f"{name}={value}"
        for name, value in parts.stage.variables.items()
        if name != "ONHAND_PARTITIONS"  # the default
    )
    urls, folder = " ".join(worker.url for worker in parts.workers), parts.audit.folder
    print(
        f"\nNow it is yours: a page with a Kill button per worker, beside sent = counted + …\n"
        f"  {parts.watched.panel.url}\n"
        f"Traffic goes on with {VISITOR_EVENTS_PER_S} events/s; a worker that died is started "
        f"again after {BACK_AFTER_S:g} s.\nThe log is counted again all the time, by other code: "
        f"see Audit on that page.\nCtrl-C stops everything. Add who reads the same facts; no "
        f"writer learns of it:\n"
        f"  .venv/bin/python -m examples.search {folder}/index.db {urls}\n"
        f"  .venv/bin/python -m examples.warehouse {folder}/facts {urls}\n"
        f"On the command line, after  export {variables}\n"
        f"  .venv/bin/onhand history DEMO-1 store-007 · .venv/bin/onhand dlq list · "
        f"kill -9 {parts.workers[1].pid}\n",
        flush=True,
    )


async def _explain(parts: Parts) -> None:
    """Ask the ledger, through a worker, why there is as much as there is."""
    words = ("explain", "DEMO-1", "store-007", "--url", parts.workers[0].url)

    async def explained() -> str:
        code, said = await onhand(*words, settings=parts.stage.variables)
        return said if code == 0 else ""

    said = await until(explained, "explained: a row by the ledger", 60)
    print(f"$ onhand {' '.join(words[:3])}")
    print("".join(f"  {line}\n" for line in said.splitlines()), end="", flush=True)


def _check_fates(parts: Parts, oracle: Oracle) -> None:
    now = parts.watched.meter.last
    log = sum(oracle.applied.values()), len(oracle.repeated), len(oracle.refused)
    is_whole = now.drift == 0 and oracle.fed == now.sent + now.others
    if not is_whole or (now.counted, now.repeated, now.refused) != log:
        raise Failed(f"committed are {now}, drift {now.drift}; the log holds {log}")


def main() -> int:
    """Run the demo; exit code 0 only if all that it compared was equal."""
    parser = argparse.ArgumentParser(prog="python -m dev.demo", description=__doc__)
    parser.add_argument(
        "--seconds", type=float, help="compare after so many seconds of traffic, then end"
    )
    arguments = parser.parse_args()
    return shown(main_async(arguments.seconds))


if __name__ == "__main__":
    sys.exit(main())
