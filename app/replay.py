"""`onhand dlq replay`: send again what was refused for its address alone, each once for ever."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, ProducerFenced

from app.config import Settings
from app.deadletters import DeadLettersError, Letter, letters, reader, records
from app.topics import kafka_failed
from domain.events import Refused, decode
from domain.partitioning import partition_for

#: Sound inside, so that the right key heals them; other refusals need a corrected event.
REPLAYABLE = ("misrouted", "key_mismatch", "missing_key")
#: Letters sent in one transaction.
_GROUP = 500
# While a transaction is open, readers of its source partitions wait. After a kill -9 they
# wait this long; the next replay ends it at once.
_TRANSACTION_TIMEOUT_MS = 10_000


class Replayed(msgspec.Struct):
    """What a replay did: counts by reason, and what cannot be sent, by position."""

    sent: dict[str, int]
    sent_before: int
    impossible: dict[str, str]
    other_reasons: int


class _Resend(msgspec.Struct, frozen=True):
    letter: Letter
    key: bytes
    partition: int


async def replay(settings: Settings, *, dry_run: bool, said: Callable[[int], None]) -> Replayed:
    """Send again, under the right key, every dead letter that has a wrong address.

    1. Initialise the transactional id, which is the same for all versions and all replays:
       from here on no earlier replay can commit, and a later one ends this one.
    2. Read which originals were ever sent again.
    3. Send the others; a record and its being remembered are one transaction, so a crash
       between the two leaves neither.

    Args:
        settings: whose dead letters.
        dry_run: only count; initialises and sends nothing.
        said: is told now and then how many letters were read.

    Raises:
        DeadLettersError: Kafka is away, or another replay has taken over.
    """
    done = Replayed(sent={}, sent_before=0, impossible={}, other_reasons=0)
    async with _producer(settings, dry_run) as producer, reader(settings) as consumer:  # 1
        remembered = {  # 2
            record.key
            async for record in records(consumer, settings.replayed_topic, None, said)
            if record.value is not None
        }
        group: list[_Resend] = []
        async for letter in letters(consumer, settings, None, said):  # 3
            resend = _judge(letter, settings, remembered, done)
            if resend is None:
                continue
            remembered.add(letter.position.encode())
            group.append(resend)
            if len(group) == _GROUP:
                await _send(producer, settings, group, done)
                group = []
        await _send(producer, settings, group, done)
    return done


def _judge(
    letter: Letter, settings: Settings, remembered: set[bytes], done: Replayed
) -> _Resend | None:
    """How to send it again; None, with the reason in `done`, if not."""
    if letter.reason not in REPLAYABLE:
        done.other_reasons += 1
    elif letter.position.encode() in remembered:
        done.sent_before += 1
    elif letter.value is None:
        done.impossible[letter.position] = "too large to have been kept: send it as a new event"
    elif letter.topic not in settings.source_topics.values():
        done.impossible[letter.position] = "not from a topic of this ONHAND_TOPIC_PREFIX"
    elif isinstance(event := decode(letter.value), Refused):
        done.impossible[letter.position] = f"{event.reason.value}: {event.detail}"
    else:
        key = event.data.sku.encode()
        return _Resend(letter, key, partition_for(key, settings.partitions))
    return None


@asynccontextmanager
async def _producer(settings: Settings, dry_run: bool) -> AsyncIterator[AIOKafkaProducer | None]:
    if dry_run:
        yield None
        return
    producer = AIOKafkaProducer(
        **settings.client_kwargs(),
        transactional_id=f"{settings.name}-replay",
        transaction_timeout_ms=_TRANSACTION_TIMEOUT_MS,
        request_timeout_ms=10_000,
        compression_type="zstd",
        max_request_size=8 * 2**20,
    )
    try:
        await producer.start()
        for topic in settings.source_topics.values():
            if len(await producer.partitions_for(topic)) != settings.partitions:
                raise DeadLettersError(
                    f"Topic {topic} has not {settings.partitions} partitions: run `onhand topics "
                    "check`, for the right key would lead to the wrong one."
                )
        yield producer
    except ProducerFenced as error:
        raise DeadLettersError(
            "Another `onhand dlq replay` took over; it sends what this one had not yet."
        ) from error
    except (KafkaError, OSError, TimeoutError) as error:
        raise DeadLettersError(kafka_failed(settings, error)) from error
    finally:
        await producer.stop()


async def _send(
    producer: AIOKafkaProducer | None, settings: Settings, group: list[_Resend], done: Replayed
) -> None:
    """One transaction; if a record in it is too large, one for each."""
    try:
        if producer is not None and group:
            await _transaction(producer, settings, group)
    except MessageSizeTooLargeError:
        # It fitted when its producer compressed it better; it must not hold up the others.
        if len(group) == 1:
            done.impossible[group[0].letter.position] = "larger than its topic takes today"
            return
        for resend in group:
            await _send(producer, settings, [resend], done)
        return
    for resend in group:
        done.sent[resend.letter.reason] = done.sent.get(resend.letter.reason, 0) + 1


async def _transaction(
    producer: AIOKafkaProducer, settings: Settings, group: Iterable[_Resend]
) -> None:
    await producer.begin_transaction()
    try:
        receipts = []
        for resend in group:
            letter = resend.letter
            receipts.append(
                await producer.send(
                    letter.topic,
                    value=letter.value,
                    key=resend.key,
                    partition=resend.partition,
                    headers=letter.headers,
                )
            )
            to = f"{letter.topic}-{resend.partition}"
            note = {"to": to, "reason": letter.reason, "version": settings.version}
            receipts.append(
                await producer.send(
                    settings.replayed_topic,
                    key=letter.position.encode(),
                    value=msgspec.json.encode(note),
                )
            )
        answers = await asyncio.gather(*receipts, return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        await producer.commit_transaction()
    except BaseException:
        # What was fenced or cut off cannot end it: the next initialiser or the broker does.
        with contextlib.suppress(KafkaError, TimeoutError):
            await asyncio.wait_for(producer.abort_transaction(), 5)
        raise
