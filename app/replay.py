"""`onhand dlq replay`: send again what was refused for its address alone, each once for ever."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, ProducerFenced

from app.config import Settings
from app.deadletters import reader
from app.topics import kafka_failed
from domain.events import Refused, decode
from domain.partitioning import partition_for
from tables.letters import DeadLettersError, Letter, letters, records

#: Sound inside, so that the right key heals them; other refusals need a corrected event.
REPLAYABLE = ("misrouted", "key_mismatch", "missing_key")
#: Letters sent in one transaction.
_GROUP = 500
# While a transaction is open, readers of its source partitions wait. After a kill -9 they
# wait this long; the next replay ends it at once.
_TRANSACTION_TIMEOUT_MS = 10_000
#: For one transaction, and for taking leave of a Kafka that may be away.
_PATIENCE_S = 30.0
_GOODBYE_S = 5.0


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
        async for letter in letters(consumer, settings.dlq_topic, None, said):  # 3
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
    except (KafkaError, OSError, TimeoutError) as error:
        raise DeadLettersError(kafka_failed(settings, error)) from error
    finally:
        try:
            # It waits for what was not answered, with no deadline of its own.
            await asyncio.wait_for(producer.stop(), _GOODBYE_S)
        except TimeoutError:
            await producer.client.close()


async def _send(
    producer: AIOKafkaProducer | None, settings: Settings, group: list[_Resend], done: Replayed
) -> None:
    """One transaction; if a record in it is too large, one for each."""
    try:
        if producer is not None and group:
            await _transaction(producer, settings, group)
    except ProducerFenced as error:
        raise DeadLettersError(
            "Another `onhand dlq replay` took over; it sends what this one had not yet."
        ) from error
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
    receipts: list[asyncio.Future[object]] = []
    try:
        # An idempotent producer itself tries for ever (aiokafka 0.14, sender.py:884).
        async with asyncio.timeout(_PATIENCE_S):
            await producer.begin_transaction()
            for topic, record in _records(group, settings):
                receipts.append(await producer.send(topic, **record))
            await asyncio.gather(*receipts)
            await producer.commit_transaction()
    except BaseException as error:
        for receipt in receipts:
            receipt.cancel()  # does nothing to those answered
        answers = await asyncio.gather(*receipts, return_exceptions=True)
        # The first fenced batch has the others, and the next send, fail with what says less.
        fenced = [answer for answer in answers if isinstance(answer, ProducerFenced)]
        if fenced:
            raise fenced[0] from error
        # What cannot be aborted, the next replay or the broker ends. aiokafka 0.14 answers a
        # producer in its fatal state with an AssertionError (transaction_manager.py:107).
        with contextlib.suppress(KafkaError, TimeoutError, AssertionError):
            await asyncio.wait_for(producer.abort_transaction(), _GOODBYE_S)
        raise


def _records(group: Iterable[_Resend], settings: Settings) -> Iterator[tuple[str, dict[str, Any]]]:
    """For each letter the record itself, then its being remembered."""
    for resend in group:
        letter = resend.letter
        yield (
            letter.topic,
            {
                "value": letter.value,
                "key": resend.key,
                "partition": resend.partition,
                "headers": letter.headers,
            },
        )
        to = f"{letter.topic}-{resend.partition}"
        note = {"to": to, "reason": letter.reason, "version": settings.version}
        yield (
            settings.replayed_topic,
            {"key": letter.position.encode(), "value": msgspec.json.encode(note)},
        )
