"""The ceiling: aiokafka fetches every record of the three sources, and nothing is done with it.

`python -m bench.peers.raw.fetch HOST:PORT PREFIX RECORDS`; says so when it begins and
when it has them all, then waits to be ended.
"""

import asyncio
import sys

from aiokafka import AIOKafkaConsumer

from bench.facts.events import SOURCES

BEGUN, FINISHED = "fetching has begun", "everything is fetched"
RECORDS_AT_ONCE = 20_000
PARTITION_FETCH_BYTES = 4 << 20


async def fetch_all(kafka: str, prefix: str, records: int) -> None:
    """Read `records` records from the beginning of all partitions."""
    # Without a group it takes all partitions of its topics by itself.
    consumer = AIOKafkaConsumer(
        *(prefix + name for name in SOURCES),
        bootstrap_servers=kafka,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=PARTITION_FETCH_BYTES,
    )
    await consumer.start()
    try:
        print(BEGUN, flush=True)
        fetched = 0
        while fetched < records:
            batches = await consumer.getmany(timeout_ms=100, max_records=RECORDS_AT_ONCE)
            fetched += sum(len(batch) for batch in batches.values())
        print(FINISHED, flush=True)
        await asyncio.Event().wait()
    finally:
        await consumer.stop()


if __name__ == "__main__":
    asyncio.run(fetch_all(sys.argv[1], sys.argv[2], int(sys.argv[3])))
