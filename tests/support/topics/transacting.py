"""What transactions are made of in tests, and what committed readers find of them."""

from aiokafka import TopicPartition

from dev.kafka import Kafka
from tests.support.topics.logs import reader
from wire.transactions import NO_TIME_MS, RecordBatch, batch_builder


def value_batch(topic: str, partition: int, *values: bytes) -> RecordBatch:
    """One that is not full."""
    builder = batch_builder(2**20)
    for n, value in enumerate(values):
        builder.append(n, NO_TIME_MS, b"key", value, [])
    return RecordBatch(TopicPartition(topic, partition), builder, len(values))


def values_of(kafka: Kafka, topic: str, partition: int) -> list[bytes | None]:
    return [record.value for record in reader(kafka.bootstrap).settled(topic, partition)]
