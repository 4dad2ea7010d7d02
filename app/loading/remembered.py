"""What is remembered of documents that were loaded, in the topic of documents, for ever.

A note is written in the transaction of the facts that it stands for, and is the truth. So is a
mark: what was taken back, in the transaction of the corrections that do it. What a document says of
containers stands there, too, in the transaction of its note.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection
from enum import StrEnum
from typing import Final, NamedTuple, TypeVar

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from app.config import Settings
from app.loading.checking import CheckedFile, SeenDocument
from app.loading.decisions.unpacking import Packings
from app.loading.pieces import Equation
from importers.documents.containers import Packing
from wire.fetch import Stored, end_offsets
from wire.whole import RecordsError, whole_topic

_PREFIX: Final = b"document/"
_REVOKED: Final = b"revoked/"
_PACKED: Final = b"packed/"
T = TypeVar("T")


class DocumentNote(msgspec.Struct, frozen=True):
    """How far a document was acknowledged.

    lines: of it, that are done; facts: of all of it. digest: of all that it says here.
    file: its name; sha256: of its bytes. is_whole: nothing of it is left to send. called: by what
    later ones take it back, where that is not its identity. sent: for each `role-partition` an
    offset that is not behind its first fact there, and how many there are; None: written by a
    build that did not say. sums: what became of all lines of its file; None: likewise.
    """

    lines: int
    facts: int
    digest: str
    file: str
    sha256: str
    is_whole: bool
    called: str = ""
    sent: dict[str, tuple[int, int]] | None = None
    sums: Equation | None = None


class RevokedMark(msgspec.Struct, frozen=True):
    """What was taken back, for ever, or whatever is to come under that name.

    by: identity of the document that did it. done: how many of its facts, in the order of their
    ids. is_whole: all of them.
    """

    by: str
    done: int
    is_whole: bool


class Remembered(msgspec.Struct, frozen=True):
    """What the topic says of the documents that were asked for.

    notes: by identity, with when each was written, in milliseconds since the epoch. alike: an
    identity of a document that came in a file of the same bytes, by sha256. marks: what was taken
    back, by identity, or by what several are called, or by the id of one fact. called: identities
    of documents by what they are called, where that is another.
    """

    notes: dict[str, tuple[DocumentNote, int]]
    alike: dict[str, str]
    marks: dict[str, RevokedMark] = {}
    called: dict[str, dict[str, None]] = {}

    def keep(self, identity: str, note: DocumentNote, when_ms: int) -> None:
        """Take in the newest note of a document."""
        self.notes[identity] = note, when_ms
        if note.called not in ("", identity):
            self.called.setdefault(note.called, {})[identity] = None

    def named(self, name: str) -> list[str]:
        """Identities of the documents that have this one, or are called so."""
        return [name] * (name in self.notes) + list(self.called.get(name, ()))


def note_key(identity: str) -> bytes:
    """Under which a document is remembered."""
    return _PREFIX + identity.encode()


def revoked_key(name: str) -> bytes:
    """Under which it is remembered that something was taken back."""
    return _REVOKED + name.encode()


def packed_key(container: str, identity: str, number: str) -> bytes:
    """Under which it is remembered what a line of a document says of a container."""
    return b"%b%b/%b#%b" % (_PACKED, container.encode(), identity.encode(), number.encode())


def document_of(key: bytes) -> str | None:
    """The identity of a note's document, by its key; None: it is no note."""
    return _behind(_PREFIX, key)


def revoked_of(key: bytes) -> str | None:
    """What was taken back, by the key of its mark; None: it is no mark."""
    return _behind(_REVOKED, key)


def _behind(prefix: bytes, key: bytes) -> str | None:
    return key.removeprefix(prefix).decode() if key.startswith(prefix) else None


async def remembered(
    consumer: AIOKafkaConsumer,
    settings: Settings,
    identities: Collection[str],
    files: Collection[str],
    said: Callable[[int], None],
    called: Collection[str] = (),
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
        called: what documents may be called that are asked for, too.

    Raises:
        RecordsError: there is no such topic, or Kafka stopped answering.
        KafkaError: Kafka is away.
    """
    found = Remembered({}, {})
    topic = settings.documents_topic
    wanted = {*identities, *called}
    async for key, record in _all(consumer, topic, said):
        if (name := revoked_of(key)) is not None:
            found.marks[name] = _read(topic, record, RevokedMark)
        elif (identity := document_of(key)) is not None:
            note = _read(topic, record, DocumentNote)
            if identity in wanted or note.called in wanted:
                found.keep(identity, note, record.timestamp)
            if note.sha256 in files:
                found.alike[note.sha256] = identity
    return found


async def packings(
    consumer: AIOKafkaConsumer, settings: Settings, containers: Collection[str]
) -> Packings:
    """What earlier loads said of these containers; else as `remembered`."""
    found: Packings = {}
    topic = settings.documents_topic
    async for key, record in _all(consumer, topic, lambda count: None):
        if (rest := _behind(_PACKED, key)) is None:
            continue
        container, _, line = rest.partition("/")
        if container in containers:
            identity, _, number = line.rpartition("#")
            found[identity, number] = _read(topic, record, Packing)
    return found


async def _all(
    consumer: AIOKafkaConsumer, topic: str, said: Callable[[int], None]
) -> AsyncIterator[tuple[bytes, Stored]]:
    """Its records with key and value, by key."""
    tp = TopicPartition(topic, 0)
    consumer.assign([tp])
    begin = (await consumer.beginning_offsets([tp]))[tp]
    end = (await end_offsets(consumer, [tp], committed=False))[tp]
    async for record in whole_topic(consumer, topic, None, said, {0: (begin, end)}):
        if record.key is not None and record.value is not None:
            yield record.key, record


def _read(topic: str, record: Stored, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(record.value or b"", type=kind)
    except msgspec.MsgspecError:
        raise RecordsError(
            f"{topic} remembers {(record.key or b'').decode(errors='replace')} in words that this "
            "build does not know: load by the build that wrote them, or a newer one."
        ) from None


class NotSentBecause(StrEnum):
    """Why nothing of a file is sent."""

    LOADED_BEFORE = "loaded before"
    #: Another document has its name.
    CONFLICT = "conflict"
    #: Of lines: counts, and what cannot be taken back.
    REFUSED = "refused"
    #: To the token that it came with.
    FORBIDDEN = "forbidden"


class NotSent(NamedTuple):
    """Why nothing of a file may be sent, "" if it may."""

    sentence: str = ""
    because: NotSentBecause | None = None


def forgot_containers(note: DocumentNote, seen: SeenDocument) -> bool:
    """Whether a document was loaded whole by a build that remembered nothing of containers.

    All else of it is done: what it says of them is to be remembered, and what it moved in them was
    left out.
    """
    return note.is_whole and seen.uncontained != "" and note.digest == seen.uncontained


def not_sent(file: CheckedFile, memory: Remembered, is_named: bool) -> NotSent:
    """Whether a file may be sent, as far as what is remembered of its documents says it.

    Args:
        file: that was checked.
        memory: what is remembered of its documents.
        is_named: somebody named the document, so the same bytes may be another one.
    """
    is_new = False
    for identity, seen in file.documents.items():
        if (found := memory.notes.get(identity)) is None:
            is_new = True
            continue
        note, when = found
        if forgot_containers(note, seen):
            is_new = is_new or seen.packs
            continue
        if note.digest != seen.digest:
            begun = "was loaded" if note.is_whole else "was begun, and is not finished,"
            return NotSent(
                f"{identity} {begun} {_day(when)} from {note.file}, and says something else now: "
                "if this is another document, give it another name (a table: --document); if a "
                "map, a catalogue or a list of places was changed since, take the former one.",
                NotSentBecause.CONFLICT,
            )
        is_new = is_new or not note.is_whole
    if not is_new and file.documents:
        note, when = memory.notes[next(iter(file.documents))]
        what = next(iter(file.documents)) if len(file.documents) == 1 else "All that is in it"
        told = f"{what} was loaded {_day(when)} from {note.file}: nothing was sent again."
        return NotSent(told, NotSentBecause.LOADED_BEFORE)
    alike = memory.alike.get(file.sha256)
    if alike is not None and alike not in file.documents and not is_named:
        return NotSent(
            f"The same bytes were loaded as {alike}: nothing was sent again. If they are another "
            "document all the same, name it with --document.",
            NotSentBecause.LOADED_BEFORE,
        )
    return NotSent()


def _day(ms: int) -> str:
    from app.commands.console import moment

    return f"on {moment(ms)[:10]}"
