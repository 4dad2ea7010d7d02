"""What is remembered of documents that were loaded, in the topic of documents, for ever.

A note is written in the transaction of the facts that it stands for, and is the truth.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from app.config import Settings
from tables.home.letters import DeadLettersError, records
from wire.fetch import end_offsets

_PREFIX: Final = b"document/"


class DocumentNote(msgspec.Struct, frozen=True):
    """How far a document was acknowledged.

    lines: of it, that are done; facts: of all of it. digest: of all that it says here.
    file: its name; sha256: of its bytes. is_whole: nothing of it is left to send.
    """

    lines: int
    facts: int
    digest: str
    file: str
    sha256: str
    is_whole: bool


class Remembered(msgspec.Struct, frozen=True):
    """What the topic says of the documents that were asked for.

    notes: by identity, with when each was written, in milliseconds since the epoch. alike: an
    identity of a document that came in a file of the same bytes, by sha256.
    """

    notes: dict[str, tuple[DocumentNote, int]]
    alike: dict[str, str]


def note_key(identity: str) -> bytes:
    """Under which a document is remembered."""
    return _PREFIX + identity.encode()


async def remembered(
    consumer: AIOKafkaConsumer,
    settings: Settings,
    identities: Collection[str],
    files: Collection[str],
    said: Callable[[int], None],
) -> Remembered:
    """Read the topic of documents to its end.

    Whoever asks has initialised the transactional id of all who load: what they wrote is
    committed or aborted by now. It is read to the high watermark all the same: a bridge may have
    a transaction open before it.

    Args:
        consumer: started; reads committed.
        settings: whose topic.
        identities: of documents.
        files: SHA-256 of files.
        said: is told now and then how many records were read.

    Raises:
        DeadLettersError: there is no such topic, or Kafka stopped answering.
        KafkaError: Kafka is away.
    """
    tp = TopicPartition(settings.documents_topic, 0)
    found = Remembered({}, {})
    consumer.assign([tp])
    begin = (await consumer.beginning_offsets([tp]))[tp]
    end = (await end_offsets(consumer, [tp], committed=False))[tp]
    keys = {note_key(identity): identity for identity in identities}
    async for record in records(consumer, tp.topic, None, said, {0: (begin, end)}):
        if record.key is None or record.value is None or not record.key.startswith(_PREFIX):
            continue
        try:
            note = msgspec.json.decode(record.value, type=DocumentNote)
        except msgspec.MsgspecError:
            raise DeadLettersError(
                f"{tp.topic} remembers {record.key.decode(errors='replace')} in words that this "
                "build does not know: load by the build that wrote them, or a newer one."
            ) from None
        if (identity := keys.get(record.key)) is not None:
            found.notes[identity] = note, record.timestamp
        if note.sha256 in files:
            found.alike[note.sha256] = record.key.removeprefix(_PREFIX).decode()
    return found
