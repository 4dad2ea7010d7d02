"""What a person sees who starts a worker, and a program that reads its log."""

import json
import re
import signal
import uuid
from pathlib import Path

from app import __version__
from dev.kafka import Kafka
from dev.workers import Worker, onhand, until

TIME = r"[\d-]+ [\d:,]+ INFO     "


async def test_a_log_is_a_few_sentences_from_onhand_starts_to_stopped(
    kafka: Kafka, tmp_path: Path
) -> None:
    name = f"n{uuid.uuid4().hex[:8]}"
    settings = {
        "ONHAND_KAFKA": kafka.bootstrap,
        "ONHAND_NAME": name,
        "ONHAND_TOPIC_PREFIX": f"{name}.",
    }
    code, said = await onhand("topics", "create", settings=settings)
    assert code == 0, said
    a, b = Worker("a", tmp_path, settings), Worker("b", tmp_path, settings)
    c = Worker("c", tmp_path, settings | {"ONHAND_LOG_FORMAT": "json"})

    try:
        a.start()
        await says(a, "owner of 0–11; standby for none")
        b.start()
        await says(a, r"12 partitions .* owner of [^;n]*; standby for [^;n]*;")
        await says(b, "12 partitions of this worker answer")
        signal_of_ctrl_c(b)
        assert await b.ended() == 0
        await says(a, f"Worker {b.url} is gone")
        c.start()
        await says(c, f"Worker {a.url} is there")
        await says(c, "12 partitions of this worker answer")
        assert await c.stop() == 0
        hang_up(a)
        assert await a.ended() == 0
    finally:
        for worker in (a, b, c):
            worker.kill()

    first = a.log.read_text().splitlines()
    assert re.fullmatch(rf"{TIME}app: Onhand {__version__} starts: version 1, .*", first[0])
    assert f"Kafka: {kafka.bootstrap} (PLAINTEXT)" in first[1]
    assert f"Store: rocksdb in {a.data}/{name}-v1. Address: {a.url}," in first[2]
    known = r"Onhand|Kafka:|Store:|All 12 partitions|Worker http|Stopping:|Stopped\."
    # Only where a machine is slow: a restore that takes longer than a second or two.
    slow = r"tables\.home\.follower: Restoring partition"
    for line in (*first, *b.log.read_text().splitlines()):
        assert re.match(rf"{TIME}(app(\.service)?: ({known})|{slow})", line), line
    for worker in (a, b):
        assert worker.log.read_text().splitlines()[-1].endswith("app: Stopped.")
    documents = [json.loads(line) for line in c.log.read_text().splitlines()]
    assert documents[-1]["message"] == "Stopped."
    assert b.url not in c.log.read_text()  # it was dead before c was born


async def says(worker: Worker, sentence: str) -> None:
    async def said() -> bool:
        return re.search(sentence, worker.log.read_text()) is not None

    await until(said, f"said by {worker.name}: {sentence}", 60)


def hang_up(worker: Worker) -> None:
    """Its terminal is closed."""
    assert worker.process is not None
    worker.process.send_signal(signal.SIGHUP)


def signal_of_ctrl_c(worker: Worker) -> None:
    assert worker.process is not None
    worker.process.send_signal(signal.SIGINT)
