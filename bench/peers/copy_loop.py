"""The bridge's yardstick: aiokafka copies records from topic to topic in transactions.

`python -m bench.peers.copy_loop HOST:PORT FROM TO RECORDS`; as its documentation has it (consume,
send, offsets into the transaction, commit), with nothing done to the records.
"""

import asyncio
import sys
import time
import uuid

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

BEGUN, FINISHED = "copying has begun", "everything is copied"
RECORDS_AT_ONCE = 5_000


async def copy_all(kafka: str, source: str, target: str, records: int) -> None:
    """Copy `records` records; says how many seconds it took from the first to the last commit."""
    group = f"copy-{uuid.uuid4().hex}"
    consumer = AIOKafkaConsumer(
        source,
        bootstrap_servers=kafka,
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    producer = AIOKafkaProducer(
        bootstrap_servers=kafka, transactional_id=group, compression_type="zstd", linger_ms=5
    )
    await consumer.start()
    await producer.start()
    try:
        copied, began = 0, 0.0
        while copied < records:
            batches = await consumer.getmany(timeout_ms=100, max_records=RECORDS_AT_ONCE)
            if not batches:
                continue
            if not began:
                began = time.monotonic()
                print(BEGUN, flush=True)
            async with producer.transaction():
                for some in batches.values():
                    for record in some:
                        await producer.send(
                            target, record.value, record.key, headers=list(record.headers)
                        )
                        copied += 1
                positions = {tp: some[-1].offset + 1 for tp, some in batches.items()}
                await producer.send_offsets_to_transaction(positions, group)
        print(f"{FINISHED} {time.monotonic() - began:.3f}", flush=True)
    finally:
        await producer.stop()
        await consumer.stop()


if __name__ == "__main__":
    asyncio.run(copy_all(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
