"""What `onhand load` does, for a document that was posted: checked, then sent, then answered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, assert_never

import msgspec

from app.config import Settings
from app.loading.checking import CheckedFile, FileRefused, Opened
from app.loading.decisions.asking import Unasked, WorkersAsked, document_in
from app.loading.decisions.deciding import LevelBecame
from app.loading.decisions.outcomes import levels_as_fields
from app.loading.decisions.settling import settle_alone
from app.loading.facts import LineFact
from app.loading.found.loaded import LoadedFile
from app.loading.found.spool import Spool
from app.loading.given import FileInMemory
from app.loading.opening import GivenParts, PartWrong, opened_by
from app.loading.pieces import Became, NoFact
from app.loading.remembered import NotSentBecause
from app.loading.sending import send_all
from domain.rules.held import HELD
from web.access.callers import Scope
from web.writes.loads import (
    CountsBody,
    DocumentBody,
    LoadAnswer,
    LoadAsked,
    LoadEnd,
    LoadFault,
    LoadQuestions,
    NoFactBody,
    TakenBackBody,
)
from wire.whole import RecordsError

#: Of one sheet of a workbook, unpacked: a tenth of what the command takes, and 16 times the body.
MOST_UNPACKED_BYTES: Final = 256 * 2**20
#: Of one document. Each is asked for at a ledger; the command takes ten times as many.
MOST_COUNTS: Final = 10_000
#: Of what was found in it, packed, for the second time.
_MOST_KEPT_BYTES: Final = 64 * 2**20
#: Each question of a count is asked again for so long.
_PATIENCE_S: Final = 30.0
#: Of the lines that a token may not write so many are named.
_FORBIDDEN: Final = 10
#: Of the lines that are no facts so many are named, of each kind.
_NAMED: Final = 500
#: What a document is called that came without a name.
_NAMELESS: Final = "The document"
_TOO_MUCH: Final = (
    "The document takes more memory to read than a worker gives: split it, or load it by "
    "`onhand load`. Nothing was sent."
)


class _Told:
    """Keeps the first lines of each kind that are no facts."""

    def __init__(self) -> None:
        self._named: dict[Became, list[NoFact]] = {
            kind: [] for kind in (Became.REFUSED, Became.UNDECIDED, Became.NOT_FOR_STOCK)
        }

    def __call__(self, one: NoFact) -> None:
        if len(named := self._named[one.became]) < _NAMED:
            named.append(one)

    def all(self) -> list[NoFactBody]:
        """Refused ones first."""
        lines = [one for named in self._named.values() for one in named]
        return [NoFactBody(one.where, str(one.became), one.sentence) for one in lines]


async def load_posted(settings: Settings, asked: LoadAsked, questions: LoadQuestions) -> LoadAnswer:
    """Check a document, and send its facts: all or nothing.

    Args:
        settings: whose topics.
        asked: the document, and how it is to be read.
        questions: how its worker is asked, where there are counts.
    """
    told = _Told()
    try:
        opened = _opened(asked)
        checked = opened.check(FileInMemory(asked.file, asked.data), told, lambda count: None)
    except PartWrong as wrong:
        faults = [LoadFault(problem, wrong.part) for problem in wrong.problems]
        detail = f"{wrong.part}: {wrong.problems[0]} Nothing was sent."
        return LoadAnswer(end=LoadEnd.BAD_PARTS, detail=detail, faults=faults)
    except FileRefused as why:
        return LoadAnswer(end=LoadEnd.UNREADABLE, detail=f"{_named(why)} Nothing was sent.")
    except MemoryError:
        return LoadAnswer(end=LoadEnd.UNREADABLE, detail=_TOO_MUCH)
    if (answer := _stops(asked, checked, told)) is not None:
        return answer
    try:
        workers = _workers(questions) if checked.levels else None
        if asked.dry_run:
            return await _looked(settings, opened, asked, checked, told, workers)
        (loaded,) = await send_all(
            settings,
            opened,
            [checked],
            is_named=asked.document is not None,
            said=lambda count: None,
            asked=workers,
            leave_out_refused=asked.leave_out_refused,
            caller=asked.caller,
        )
    except (RecordsError, Unasked) as error:
        return LoadAnswer(end=LoadEnd.UNFINISHED, detail=str(error))
    return _answer(loaded, _body(asked, checked, told, loaded))


def _opened(asked: LoadAsked) -> Opened:
    """How it is read; raises PartWrong."""
    caller = asked.caller
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
    may_write = caller.may_write if caller is not None and caller.is_narrow else None
    bounds = MOST_UNPACKED_BYTES, MOST_COUNTS
    spool = Spool(_MOST_KEPT_BYTES, on_disk=False)
    return opened_by(parts, HELD[asked.rules], may_write, *bounds, spool)


def _workers(questions: LoadQuestions) -> WorkersAsked:
    async def ask(path: str, body: object) -> tuple[int, dict[str, Any]]:
        given = None if body is None else msgspec.json.encode(body)
        status, found = await questions(path, given)
        return status, document_in(found)

    return WorkersAsked({"this worker": ask}, _PATIENCE_S, "nothing was sent; send it again")


async def _looked(
    settings: Settings,
    opened: Opened,
    asked: LoadAsked,
    checked: CheckedFile,
    told: _Told,
    workers: WorkersAsked | None,
) -> LoadAnswer:
    """What its counts would become as it is now; raises Unasked."""
    settled = await settle_alone(settings, opened, [checked], workers)
    loaded = LoadedFile(
        checked, levels=settled.decisions_of(checked), closed=settled.closed_of(checked)
    )
    return LoadAnswer(end=LoadEnd.CHECKED, body=_body(asked, checked, told, loaded))


def _stops(asked: LoadAsked, checked: CheckedFile, told: _Told) -> LoadAnswer | None:
    """The answer where nothing is to be asked or sent."""
    if checked.forbidden:
        return _forbidden(checked.forbidden)
    caller = asked.caller
    if checked.levels and caller is not None and Scope.READ not in caller.scopes:
        where = checked.levels[0].where
        detail = (
            "It is a count, and is decided by what the log says was there, which the token may not "
            "read: it needs the scope read, too."
        )
        return _forbidden([NoFact(where, Became.REFUSED, detail)])
    refused = checked.equation.refused
    if refused and not asked.leave_out_refused and not asked.dry_run:
        detail = (
            f"Nothing was sent, because of what is refused ({refused:,} of "
            f"{checked.equation.lines:,} lines): correct it, or load the rest with "
            "--leave-out-refused."
        )
        body = _body(asked, checked, told, LoadedFile(checked))
        return LoadAnswer(end=LoadEnd.LINES_REFUSED, detail=detail, body=body)
    return None


def _forbidden(lines: Sequence[NoFact]) -> LoadAnswer:
    faults = [LoadFault(f"{one.where}: {one.sentence}") for one in lines[:_FORBIDDEN]]
    detail = f"Nothing was sent: {faults[0].detail}"
    return LoadAnswer(end=LoadEnd.FORBIDDEN, detail=detail, faults=faults)


def _answer(loaded: LoadedFile, body: DocumentBody) -> LoadAnswer:
    match loaded.because:
        case None:
            return LoadAnswer(end=LoadEnd.LOADED, body=body)
        case NotSentBecause.LOADED_BEFORE:
            end, detail = LoadEnd.LOADED_BEFORE, loaded.refused
            return LoadAnswer(end=end, detail=detail, position=loaded.position)
        case NotSentBecause.CONFLICT:
            return LoadAnswer(end=LoadEnd.CONFLICT, detail=loaded.refused)
        case NotSentBecause.REFUSED:
            return LoadAnswer(end=LoadEnd.LINES_REFUSED, detail=loaded.refused, body=body)
        case NotSentBecause.FORBIDDEN:
            return _forbidden(loaded.forbidden)
        case _:
            assert_never(loaded.because)


def _body(asked: LoadAsked, checked: CheckedFile, told: _Told, loaded: LoadedFile) -> DocumentBody:
    levels = loaded.levels
    for one in levels:
        if one.became is LevelBecame.REFUSED:
            told(NoFact(one.where, Became.REFUSED, one.sentence))
    for closed in loaded.closed:
        told(closed)
    return DocumentBody(
        file=asked.file,
        format=checked.format.name,
        documents=len(checked.documents),
        **msgspec.to_builtins(checked.equation),
        no_facts=told.all(),
        first_facts=[_event(fact) for fact in checked.first],
        dry_run=asked.dry_run,
        sent=loaded.sent,
        lines_sent_before=loaded.went_on,
        position=loaded.position,
        counts=msgspec.convert(levels_as_fields(levels), CountsBody),
        taken_back=[
            msgspec.convert(one, TakenBackBody, from_attributes=True) for one in loaded.taken
        ],
        too_late=loaded.late,
    )


def _event(fact: LineFact) -> dict[str, Any]:
    event: dict[str, Any] = msgspec.json.decode(fact.value)
    return event


def _named(why: FileRefused) -> str:
    """The sentence; it begins with the name of the file, which may be empty."""
    said = str(why)
    return _NAMELESS + said if said.startswith(": ") else said
