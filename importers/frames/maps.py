"""The map of a bridge: a TOML file that says what of a foreign record is what of a fact.

All that is wrong with it is told at once, a sentence each, before any record is read.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator, Mapping
from enum import StrEnum
from typing import Any, Final, TypeAlias

import msgspec

from importers.frames.numbered import Encoding
from importers.frames.places import Steps, spelt, steps_of
from importers.frames.schemabook import SchemaBook
from importers.frames.unframing import WITH_SCHEMAS, Frame, Unframe, unframe
from importers.mapfile import MapError, MapReader, quoted

#: Of a fact; the first four must come from somewhere.
NEEDED: Final = ("type", "sku", "location", "quantity")
FACT_FIELDS: Final = (*NEEDED, "time", "id", "source", "reason", "reference", "actor")
_TEXTS: Final = frozenset(FACT_FIELDS) - {"quantity", "time"}
_NAME = re.compile(r"[a-zA-Z0-9._-]{1,100}")
Words: TypeAlias = Mapping[str, str]


class TimeFormat(StrEnum):
    """How a time is written: as text, or as so many units since 1970."""

    RFC3339 = "rfc3339"
    SECONDS = "s"
    MILLISECONDS = "ms"
    MICROSECONDS = "us"
    NANOSECONDS = "ns"


class Tombstones(StrEnum):
    """What becomes of records without a value."""

    SKIP = "skip"
    REFUSE = "refuse"


class Begin(StrEnum):
    """Where a bridge of a new name begins to read."""

    EARLIEST = "earliest"
    LATEST = "latest"


class ForeignMap(msgspec.Struct, frozen=True, kw_only=True):
    """One map.

    name: of the bridge: its group, its positions and, unless mapped, the source of its facts.
    unframe: reads a value.
    book: of the schemas that values are read by; whoever reads records fills it. None: JSON.
    constants, paths: where a fact's fields come from; each field is in one of them.
    words: what the texts found for a field mean.
    only: a record, or a line, counts where each of these has one of its words.
    each: the list whose lines are a fact each.
    negative_type: the type of facts whose quantity is below 0. They lose their sign; as an
        adjustment, they have that of what they do to the stock.
    """

    name: str
    frame: Frame
    unframe: Unframe
    book: SchemaBook | None
    constants: dict[str, Any]
    paths: dict[str, Steps]
    words: dict[str, Words]
    only: tuple[tuple[Steps, frozenset[str]], ...] = ()
    each: Steps | None = None
    negative_type: str | None = None
    time_format: TimeFormat = TimeFormat.RFC3339
    tombstones: Tombstones = Tombstones.SKIP
    begin: Begin = Begin.EARLIEST
    accept_gaps: bool = False


_CHOICES: Final[dict[str, type[StrEnum]]] = {
    "frame": Frame,
    "encoding": Encoding,
    "time_format": TimeFormat,
    "tombstones": Tombstones,
    "begin": Begin,
}
_TABLES: Final = ("constants", "paths", "words", "only")
_SETTINGS: Final = ("name", *_CHOICES, "each", "negative_type", "accept_gaps")


def read_map(text: str, topic: str, types: Collection[str]) -> ForeignMap:
    """Read and check a map.

    Args:
        text: of the file.
        topic: that the bridge reads; its name unless the map has one.
        types: of facts, that are known.

    Raises:
        MapError: names every problem at once, each with its remedy.
    """
    return _Reader(text, topic, types).read()


class _Reader(MapReader):
    def __init__(self, text: str, topic: str, types: Collection[str]) -> None:
        super().__init__(text)
        self._topic, self._types = topic, types

    def read(self) -> ForeignMap:
        self._unknown(self._document, "", (*_SETTINGS, *_TABLES))
        tables = {name: self._table(name) for name in _TABLES}
        for name, fields in ("constants", FACT_FIELDS), ("paths", FACT_FIELDS):
            self._unknown(tables[name], name, fields)
        chosen = {name: self._choice(name, kind) for name, kind in _CHOICES.items()}
        constants = {f: v for f, v in self._constants(tables["constants"])}
        paths = {f: s for f, s in self._paths(tables["paths"])}
        words = {f: w for f, w in self._words(tables["words"], paths)}
        only = tuple(self._only(tables["only"]))
        each = self._each()
        name = self._name()
        negative = self._type_at("", "negative_type", self._document.get("negative_type"))
        accept_gaps = self._document.get("accept_gaps", False)
        if not isinstance(accept_gaps, bool):
            self._wrong("", "accept_gaps", "is true or false")
        self._complete({**constants, **paths}, constants, paths)
        self._check_frame(chosen["frame"], only)
        book = self._book(chosen["frame"], chosen["encoding"])
        if each is None:
            self._check_no_each([*paths.values(), *(steps for steps, _ in only)])
        if self._problems:
            raise MapError(self._problems)
        frame = Frame(chosen["frame"] or Frame.JSON)
        return ForeignMap(
            name=name,
            frame=frame,
            unframe=unframe(frame, book),
            book=book,
            constants=constants,
            paths=paths,
            words=words,
            only=only,
            each=each,
            negative_type=negative,
            time_format=TimeFormat(chosen["time_format"] or TimeFormat.RFC3339),
            tombstones=Tombstones(chosen["tombstones"] or Tombstones.SKIP),
            begin=Begin(chosen["begin"] or Begin.EARLIEST),
            accept_gaps=accept_gaps,
        )

    # ---- parts of the file

    def _name(self) -> str:
        name = self._document.get("name", self._topic)
        if isinstance(name, str) and _NAME.fullmatch(name):
            return name
        self._wrong(
            "", "name", "has at most 100 letters, digits, dots, underscores and hyphens: set one"
        )
        return ""

    def _constants(self, table: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        for field, value in table.items():
            if field == "type":
                self._type_at("constants", field, value)
            elif field == "quantity" and (type(value) is not int):
                self._wrong("constants", field, "is a whole number: write it without quotes")
            elif field == "time":
                self._wrong(
                    "constants", field, "cannot be the same for all: give its path, or leave it out"
                )
            elif field in _TEXTS and not isinstance(value, str):
                self._wrong("constants", field, "is a text: write it in quotes")
            elif field == "id":
                self._wrong(
                    "constants", field, "would make all facts one: give its path, or leave it out"
                )
            yield field, value

    def _paths(self, table: Mapping[str, Any]) -> Iterator[tuple[str, Steps]]:
        for field, value in table.items():
            if steps := self._path("paths", field, value):
                yield field, steps

    def _words(
        self, table: Mapping[str, Any], paths: Mapping[str, Steps]
    ) -> Iterator[tuple[str, Words]]:
        for field, words in table.items():
            if field not in _TEXTS or field not in paths:
                self._wrong(
                    "words",
                    field,
                    f"has no path in [paths]: name one of {', '.join(sorted(_TEXTS & {*paths}))}"
                    if _TEXTS & {*paths}
                    else "has no path in [paths]: leave it out",
                )
            elif not isinstance(words, dict) or not all(isinstance(w, str) for w in words.values()):
                self._wrong("words", field, 'is a table of texts: write "A" = "B"')
            else:
                for word, meant in words.items():
                    if field == "type":
                        self._type_at("words.type", word, meant)
                yield field, words

    def _only(self, table: Mapping[str, Any]) -> Iterator[tuple[Steps, frozenset[str]]]:
        for path, words in table.items():
            wanted = [words] if isinstance(words, str) else words
            if not isinstance(wanted, list) or not all(isinstance(w, str) for w in wanted):
                self._wrong("only", path, 'is a list of texts: write ["c", "u"]')
            elif steps := self._path("only", path, path):
                yield steps, frozenset(wanted)

    def _each(self) -> Steps | None:
        found = self._document.get("each")
        steps = None if found is None else self._path("", "each", found)
        if steps and steps[0] == "each":
            self._wrong("", "each", "is the list itself: use a path that begins with value")
        return steps

    # ---- checks over several parts

    def _complete(
        self, given: Collection[str], constants: Collection[str], paths: Collection[str]
    ) -> None:
        self._problems += (
            f"The map does not say what the {field} of a fact is: add it to [paths] or [constants]."
            for field in NEEDED
            if field not in given and field not in (*self._table_keys(),)
        )
        for field in constants:
            if field in paths:
                self._wrong("paths", field, "is in [constants] too: remove one of them")

    def _table_keys(self) -> Iterator[str]:
        """Fields that were given, also those whose value was refused."""
        for name in ("constants", "paths"):
            found = self._document.get(name)
            yield from found if isinstance(found, dict) else ()

    def _check_frame(
        self, frame: str | None, only: tuple[tuple[Steps, frozenset[str]], ...]
    ) -> None:
        if frame == Frame.DEBEZIUM and ("value", "op") not in [steps for steps, _ in only]:
            self._problems.append(
                "The map does not say which changes are facts: add to [only] "
                '"value.op" = ["c"], with "r" for what a snapshot reads, "u" or "d".'
            )

    def _book(self, frame: str | None, encoding: str | None) -> SchemaBook | None:
        if encoding is None or encoding == Encoding.JSON:
            return None
        if frame not in WITH_SCHEMAS:
            self._wrong(
                "", "encoding",
                f"is {encoding}, whose values have the number of a schema: set frame to one of "
                f"{', '.join(WITH_SCHEMAS)}",
            )  # fmt: skip
        try:
            return SchemaBook(Encoding(encoding))
        except ImportError as error:
            library = (error.name or "").replace("google", "protobuf").partition(".")[0]
            self._wrong(
                "", "encoding",
                f"is {encoding}, which is read by {library}, and that is not installed with the "
                "service: install requirements-bridge.lock into its environment",
            )  # fmt: skip
            return None

    def _check_no_each(self, paths: list[Steps]) -> None:
        for steps in paths:
            if steps[0] == "each":
                self._problems.append(
                    f"{self._place_of(spelt(steps))}{spelt(steps)} is a place in a line, and the "
                    'map has no list of lines: add each = "value.…".'
                )

    # ---- what is told

    def _path(self, table: str, key: str, value: Any) -> Steps | None:
        try:
            if not isinstance(value, str):
                raise ValueError("use a path in quotes, such as value.sku")
            return steps_of(value)
        except ValueError as why:
            self._wrong(table, key, f"is {quoted(value)}: {why}")
            return None

    def _type_at(self, table: str, key: str, value: Any) -> str | None:
        if value is None or value in self._types:
            return value  # type: ignore[no-any-return]
        close = difflib.get_close_matches(str(value), self._types, n=1, cutoff=0.0)
        self._wrong(table, key, f"is {quoted(value)}, no type of a fact: did you mean {close[0]}?")
        return None
