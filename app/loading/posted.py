"""What `onhand load` does, for a document that was posted: checked, then sent, then answered."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from app.config import Settings
from app.loading.checking import CheckedFile, FileRefused
from app.loading.facts import LineFact
from app.loading.given import FileInMemory
from app.loading.opening import GivenParts, PartWrong, opened_by
from app.loading.pieces import Became, NoFact
from app.loading.sending import LoadedFile, send_all
from domain.rules.held import HELD
from tables.home.letters import DeadLettersError
from web.writes.loads import (
    DocumentBody,
    LoadAnswer,
    LoadAsked,
    LoadEnd,
    LoadFault,
    NoFactBody,
)

#: Of one sheet of a workbook, unpacked: a tenth of what the command takes, and 16 times the body.
MOST_UNPACKED_BYTES: Final = 256 * 2**20
#: Of the lines that are no facts so many are named, of each kind.
_NAMED: Final = 500
#: What a document is called that came without a name.
_NAMELESS: Final = "The document"


class _Told:
    """Keeps the first lines of each kind that are no facts."""

    def __init__(self) -> None:
        self._named: dict[Became, list[NoFact]] = {Became.REFUSED: [], Became.NOT_FOR_STOCK: []}

    def __call__(self, one: NoFact) -> None:
        if len(named := self._named[one.became]) < _NAMED:
            named.append(one)

    def all(self) -> list[NoFactBody]:
        """Refused ones first."""
        lines = [one for named in self._named.values() for one in named]
        return [NoFactBody(one.where, str(one.became), one.sentence) for one in lines]


async def load_posted(settings: Settings, asked: LoadAsked) -> LoadAnswer:
    """Check a document, and send its facts: all or nothing.

    Args:
        settings: whose topics.
        asked: the document, and how it is to be read.
    """
    caller, told = asked.caller, _Told()
    try:
        parts = GivenParts(
            map=asked.map,
            catalogue=asked.catalogue,
            places=asked.places,
            format_name=asked.format,
            document=asked.document,
            with_tests=asked.test,
        )
        if asked.document is not None and asked.map is None:
            raise PartWrong("document", ["It names a table, and a table needs a map: --map."])
        rules, may_write = HELD[asked.rules], None if caller is None else caller.may_write
        opened = opened_by(parts, rules, may_write, MOST_UNPACKED_BYTES)
        file = FileInMemory(asked.file, asked.data)
        checked = opened.check(file, told, lambda count: None)
    except PartWrong as wrong:
        faults = [LoadFault(problem, wrong.part) for problem in wrong.problems]
        detail = f"{wrong.part}: {wrong.problems[0]} Nothing was sent."
        return LoadAnswer(end=LoadEnd.BAD_PARTS, detail=detail, faults=faults)
    except FileRefused as why:
        return LoadAnswer(end=LoadEnd.UNREADABLE, detail=f"{_named(why)} Nothing was sent.")
    body = _body(asked, checked, told.all())
    if (answer := _stops(asked, checked, body)) is not None:
        return answer
    is_named = asked.document is not None
    try:
        (loaded,) = await send_all(
            settings,
            opened,
            [checked],
            is_named=is_named,
            said=lambda count: None,
            actor=None if caller is None else caller.name,
        )
    except DeadLettersError as error:
        return LoadAnswer(end=LoadEnd.UNFINISHED, detail=str(error))
    return _answer(loaded, body)


def _stops(asked: LoadAsked, checked: CheckedFile, body: DocumentBody) -> LoadAnswer | None:
    """The answer where nothing is to be sent."""
    if checked.forbidden:
        faults = [LoadFault(f"{one.where}: {one.sentence}") for one in checked.forbidden]
        detail = f"Nothing was sent: {faults[0].detail}"
        return LoadAnswer(end=LoadEnd.FORBIDDEN, detail=detail, faults=faults)
    if asked.dry_run:
        return LoadAnswer(end=LoadEnd.CHECKED, body=body)
    refused = checked.equation.refused
    if refused and not asked.leave_out_refused:
        detail = (
            f"Nothing was sent, because of what is refused ({refused:,} of {body.lines:,} lines): "
            "correct it, or load the rest with --leave-out-refused."
        )
        return LoadAnswer(end=LoadEnd.LINES_REFUSED, detail=detail, body=body)
    return None


def _answer(loaded: LoadedFile, body: DocumentBody) -> LoadAnswer:
    if not loaded.refused:
        sent = msgspec.structs.replace(
            body,
            sent=loaded.sent,
            lines_sent_before=loaded.went_on,
            position=loaded.position,
        )
        return LoadAnswer(end=LoadEnd.LOADED, body=sent)
    end = LoadEnd.CONFLICT if loaded.is_conflict else LoadEnd.LOADED_BEFORE
    return LoadAnswer(end=end, detail=loaded.refused, position=loaded.position)


def _body(asked: LoadAsked, checked: CheckedFile, no_facts: list[NoFactBody]) -> DocumentBody:
    return DocumentBody(
        file=asked.file,
        format=checked.format.name,
        documents=len(checked.documents),
        **msgspec.to_builtins(checked.equation),
        no_facts=no_facts,
        first_facts=[_event(fact) for fact in checked.first],
        dry_run=asked.dry_run,
    )


def _event(fact: LineFact) -> dict[str, Any]:
    event: dict[str, Any] = msgspec.json.decode(fact.value)
    return event


def _named(why: FileRefused) -> str:
    """The sentence; it begins with the name of the file, which may be empty."""
    said = str(why)
    return _NAMELESS + said if said.startswith(": ") else said
