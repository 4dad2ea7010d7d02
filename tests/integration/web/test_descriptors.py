"""A worker that may open few files: connections that say nothing cost it nothing else."""

from __future__ import annotations

import asyncio
import resource
from pathlib import Path

from dev.kafka import Kafka
from dev.workers import until
from tests.support.cluster.workers import Cluster

FILES = 1024


async def test_more_silent_connections_than_files_end_no_worker(
    kafka: Kafka, tmp_path: Path
) -> None:
    cluster = Cluster(kafka.bootstrap, tmp_path, partitions=2)
    await cluster.create_topics()
    worker = cluster.worker("a")
    cluster.launch("a")
    assert worker.process is not None
    resource.prlimit(worker.process.pid, resource.RLIMIT_NOFILE, (FILES, FILES))
    silent: list[asyncio.StreamWriter] = []
    try:
        await worker.ready()
        for _ in range(FILES + 100):
            _, writer = await asyncio.open_connection("127.0.0.1", worker.port)
            silent.append(writer)
        reader, writer = await asyncio.open_connection("127.0.0.1", worker.port)
        silent.append(writer)
        body = b'{"source":"s","id":"1","sku":"a","location":"b","quantity":1}'
        head = f"POST /v1/sales HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        assert (await reader.readline()).startswith(b"HTTP/1.1 202 ")

        async def counted() -> bool:
            row = b"GET /v1/inventory/a/b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            reader, writer = await asyncio.open_connection("127.0.0.1", worker.port)
            writer.write(row)
            answer = await reader.read()
            writer.close()
            return answer.startswith(b"HTTP/1.1 200 ")

        await until(counted, "a commit", 60)
        assert worker.alive
        assert "Too many open files" not in worker.log.read_text()
    finally:
        for writer in silent:
            writer.close()
        cluster.close()
