"""What it is to load a document, for the call that takes it. Who does it is handed in.

Imports little: the process that loads starts anew for each document.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Protocol

from msgspec import Struct

from web.access.callers import Caller


class LoadAsked(Struct, frozen=True, kw_only=True):
    """One POST of a document.

    file: its name, or empty. map, catalogue, places: what came beside it. format: its name;
    document: how a table is known; each None where nothing is said. rules: number of those that
    count now. caller: whose token it came with.
    """

    file: str
    data: bytes
    map: bytes | None = None
    catalogue: bytes | None = None
    places: bytes | None = None
    format: str | None = None
    document: str | None = None
    test: bool = False
    leave_out_refused: bool = False
    dry_run: bool = False
    rules: int
    caller: Caller | None = None


class LoadEnd(StrEnum):
    """How it ended."""

    LOADED = "loaded"
    #: Nothing was to be sent.
    CHECKED = "checked"
    #: What came beside the document cannot be used.
    BAD_PARTS = "bad parts"
    UNREADABLE = "unreadable"
    LINES_REFUSED = "lines refused"
    #: Of a token that may not write all of it.
    FORBIDDEN = "forbidden"
    LOADED_BEFORE = "loaded before"
    #: Another document has its name.
    CONFLICT = "conflict"
    #: Some of it may have been sent, and the same body goes on behind it.
    UNFINISHED = "unfinished"


class NoFactBody(Struct, frozen=True):
    """A line that is no fact: where it stands, and why, with what to do."""

    where: str
    became: str
    sentence: str


class CountBody(Struct, frozen=True):
    """What a count became: `adjusted`, `confirmed`, `decided before`, or `refused`.

    book: what the log said was on hand at its moment, null where it was not asked; change: what was
    counted less that; position: up to which facts; sentence: why it was refused.
    """

    where: str
    id: str
    sku: str
    location: str
    time: str
    counted: int
    became: str
    change: int | None
    book: int | None
    position: str
    sentence: str


class CountsBody(Struct, frozen=True):
    """What counts became: how many of each kind, and the first of them."""

    sum: dict[str, int] = {}
    first: list[CountBody] = []


class TakenBackBody(Struct, frozen=True):
    """What a line took back.

    target: as the line names it; documents: so many that had been loaded; facts: so many of these
    were made up for now.
    """

    where: str
    target: str
    documents: int
    facts: int


class DocumentBody(Struct, frozen=True):
    """A document that was read to its end: what became of its lines.

    lines = facts + levels + revocations + not_for_stock + refused. file: its name; format: of
    what it is; documents: how many it holds. no_facts: the first lines of each kind that are no
    facts. first_facts: events, as they stand in the log. sent: facts, now; lines_sent_before: by
    an earlier POST. position: of all of its facts; null where nothing was sent. counts: what they
    became. taken_back: earlier documents. too_late: documents of this file that were taken back
    before they came, and by which; their facts were not sent.
    """

    file: str
    format: str
    documents: int
    lines: int
    facts: int
    levels: int
    revocations: int
    not_for_stock: int
    refused: int
    no_facts: list[NoFactBody]
    first_facts: list[dict[str, Any]]
    dry_run: bool
    sent: int = 0
    lines_sent_before: int = 0
    position: str | None = None
    counts: CountsBody = CountsBody()
    taken_back: list[TakenBackBody] = []
    too_late: dict[str, str] = {}


class LoadFault(Struct, frozen=True):
    """One thing that is wrong; part: with which part or parameter, "" for a line."""

    detail: str
    part: str = ""


class LoadAnswer(Struct, frozen=True, kw_only=True):
    """What became of a document.

    detail: a sentence, where it was not loaded. faults: what is wrong. body: where it was read to
    its end. position: of the facts of one that was loaded before.
    """

    end: LoadEnd
    detail: str = ""
    faults: Sequence[LoadFault] = ()
    body: DocumentBody | None = None
    position: str | None = None


class LoadQuestions(Protocol):
    """What a load asks of its worker, as whoever posts the document may ask it: for its counts."""

    async def __call__(self, path: str, body: bytes | None) -> tuple[int, bytes]:
        """Status and body of the answer; path: with its query; body: JSON, None for a GET."""


class Loader(Protocol):
    """Loads documents, one after the other, without holding up who answers reads."""

    async def load(self, asked: LoadAsked, questions: LoadQuestions) -> LoadAnswer:
        """Check a document, and send its facts: all, or nothing. Raises for a bug."""

    async def stop(self) -> None:
        """Break off what is under way; it is answered as unfinished, and so is what comes."""
