"""WordCount, as Kafka Streams' first example has it; README.md has the Java beside it.

    lines ──► split ──► words (by word) ──► counts ──► counts (word, how often)

A line's words go out in the transaction that says that the line was read; a word's count, its
row and its record for the output topic in the one that says that the word was counted. So a
line is counted once, whoever is killed.
"""

from __future__ import annotations

from typing import Any

import regex

from app.programs.program import Program, Step
from core.partitioning import partition_for
from core.projection import Emitted
from core.records import Record
from core.tallies import Amounts, KeySums, Relay, amount_of, as_bytes, as_number, record_key
from web.rows.routes import KeyRoute, RowPlace, TopRoute

#: Java's `\W+` with UNICODE_CHARACTER_CLASS. Python's own `\W` takes combining marks and joiners
#: for separators: it splits "é" that is written as e and an accent.
_SEPARATOR = regex.compile(r"[^\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]+")
#: The same for lines of ASCII, lower case and all: every byte of a word, or a space.
_ASCII = bytes(ord(chr(b).lower()) if chr(b).isalnum() or chr(b) == "_" else 32 for b in range(128))
_ASCII = _ASCII.ljust(256, b" ")
#: No row's key may be empty, and a word may.
_ROW = b"w"


def words_of(line: bytes) -> list[bytes]:
    """As Java's `Pattern.split(line.toLowerCase())` of a line in UTF-8.

    A line that begins with a separator has an empty word first, an empty line has that alone,
    and empty words at the end are left out.
    """
    if not line:
        return [b""]
    if line.isascii():
        text = line.translate(_ASCII)
        words = text.split()
        return [b"", *words] if words and text[:1] == b" " else words
    words = [word.encode() for word in _SEPARATOR.split(line.decode(errors="replace").lower())]
    while words and not words[-1]:
        words.pop()
    return words


class Split(Relay):
    """Each line's words, to where each word lives; how often it came in the group with it."""

    name = "split"

    def read(self, record: Record, value: bytes) -> Amounts:
        """A line."""
        return Amounts(words_of(value), 1)

    def passed(self, key: bytes, amount: int, partitions: int) -> Emitted:
        """A word."""
        return Emitted("words", partition_for(key, partitions), key, as_bytes(amount))


class Counts(KeySums):
    """How often each word came."""

    name = "counts"

    def read(self, record: Record, value: bytes) -> Amounts:
        """A word."""
        return Amounts([_ROW + record_key(record)], amount_of(value))

    def told(self, key: bytes, total: int, partition: int) -> Emitted:
        """Its count, for whoever reads the output topic."""
        return Emitted("counts", partition, key.removeprefix(_ROW), as_bytes(total))


SPLIT, COUNTS = Split(), Counts()


def _place(word: str) -> RowPlace:
    return RowPlace(word.encode(), _ROW + word.encode())


def _shown(key: bytes, value: bytes) -> dict[str, Any]:
    return {"word": key.removeprefix(_ROW).decode(), "count": as_number(value)}


WORDCOUNT = Program(
    name="wordcount",
    steps=(
        Step("examples.wordcount.program:SPLIT", reads=["lines"], emits=["words"]),
        Step("examples.wordcount.program:COUNTS", reads=["words"], emits=["counts"]),
    ),
    routes=(
        KeyRoute("/counts/{word}", _place, _shown),
        TopRoute("/counts", as_number, _shown),
    ),
    run_by="python -m examples.wordcount",
)
