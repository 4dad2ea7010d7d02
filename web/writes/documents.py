"""POST /v1/documents: one document, its facts all or nothing; who loads it is handed in.

Here it is taken, bounded and answered. It is read by a process beside the worker, so that no
read waits for it, and by the rules of the version that is active, whatever this worker's is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Final, assert_never

from aiohttp import web
from msgspec import Struct
from msgspec.structs import replace

from domain.rules.held import HELD
from web.access.access import missing_scope
from web.access.callers import CALLER
from web.http.bodies import BodyLimits, Room, read_raw
from web.http.conditions import refusal_of
from web.http.gate import refusal_by_now
from web.http.multipart import FORM_DATA, FormPart, form_parts
from web.http.parameters import BadRequest, Parameter, boolean, not_empty, parameters, target_of
from web.http.problems import Fault, Problem, problem
from web.http.replies import json_reply
from web.writes.loads import (
    CountsBody,
    DocumentBody,
    LoadAnswer,
    LoadAsked,
    LoadEnd,
    Loader,
    LoadFault,
    LoadQuestions,
)

DOCUMENTS_PATH: Final = "/v1/documents"
BYTES: Final = "application/octet-stream"
FILE: Final = "file"
PARTS: Final = (FILE, "map", "catalogue", "places")
MAX_FILE_CHARS: Final = 255
#: For whoever was told to come again: another document takes some seconds.
_AGAIN_S: Final = 5.0


def _flag(text: str) -> Parameter:
    return Parameter(boolean, {"type": "boolean"}, text)


def _named(text: str) -> Parameter:
    def read(raw: str) -> str:
        if len(not_empty(raw)) > MAX_FILE_CHARS or not raw.isprintable():
            raise ValueError(f"must be 1 to {MAX_FILE_CHARS} printable characters")
        return raw

    return Parameter(read, {"type": "string", "minLength": 1, "maxLength": MAX_FILE_CHARS}, text)


DOCUMENTS: Mapping[str, Parameter] = {
    "dry_run": _flag("Only say what would become of each line."),
    "leave_out_refused": _flag("Load the rest where lines are refused."),
    "test": _flag("Load documents that their sender marked as a test, too."),
    "document": _named("How a table is known; by default by the name of its file."),
    "format": _named("Of the file; by default it is known by the content."),
}

#: How the command says what is a part or a parameter here.
_WORDS: Final = (
    ("--draft-mapping", "onhand load --draft-mapping"),
    ("--leave-out-refused", "leave_out_refused=true"),
    ("--dry-run", "dry_run=true"),
    ("--catalogue", "the part catalogue"),
    ("--places", "the part places"),
    ("--map", "the part map"),
    ("--document", "document="),
    ("--format", "format="),
    ("--test", "test=true"),
)


class DocumentLimits(Struct, frozen=True):
    """Bounds on documents.

    body: of one, its parts together. waiting: how many are loaded or wait for that at once, one
    behind the other. wait_s: how long one waits for its turn.
    """

    body: BodyLimits = BodyLimits(bytes=16 * 2**20, timeout_s=60.0, room=Room(64 * 2**20))
    waiting: int = 4
    wait_s: float = 30.0


class _NoTurn(Exception):
    """Others come before; says so."""


class Documents:
    """The one call.

    Args:
        loader: loads one document after the other.
        questions: how that asks this worker.
        rules: number of those that the active version counts by.
        limits: see there.
        origins: of pages that may ask.
    """

    def __init__(
        self,
        loader: Loader,
        questions: LoadQuestions,
        rules: Callable[[], int],
        limits: DocumentLimits,
        origins: Collection[str] = (),
    ) -> None:
        self._loader, self._questions, self._rules = loader, questions, rules
        self._limits, self._origins = limits, origins
        self._turn = asyncio.Lock()
        self._queued = 0
        #: Requests that are handled; they have bounds of their own.
        self.inside = 0

    def routes(self) -> Iterator[web.RouteDef]:
        """The route of this module."""
        yield web.post(DOCUMENTS_PATH, self.post)

    async def post(self, request: web.Request) -> web.Response:
        """POST /v1/documents."""
        self.inside += 1
        try:
            asked = await self._asked(request)
            if isinstance(asked, web.Response):
                return asked
            async with self._its_turn():
                # Who waited may have lost the right to it, or some of it.
                if (late := refusal_by_now()) is not None:
                    return late
                # And another version may be active by now.
                if isinstance(rules := self._held_rules(), web.Response):
                    return rules
                asked = replace(asked, caller=CALLER.get(), rules=rules)
                answer = await self._loader.load(asked, self._questions)
            return _reply(answer)
        except BadRequest as bad:
            return bad.reply()
        except _NoTurn as late:
            return problem(Problem.TOO_BUSY, str(late), retry_after_s=_AGAIN_S)
        finally:
            self.inside -= 1

    @asynccontextmanager
    async def _its_turn(self) -> AsyncIterator[None]:
        if self._queued >= self._limits.waiting:
            raise _NoTurn(f"{self._queued} documents are being loaded, or wait for that.")
        self._queued += 1
        try:
            try:
                async with asyncio.timeout(self._limits.wait_s):
                    await self._turn.acquire()
            except TimeoutError:
                told = f"It had no turn within {self._limits.wait_s:g} s; nothing was sent."
                raise _NoTurn(told) from None
            try:
                yield
            finally:
                self._turn.release()
        finally:
            self._queued -= 1

    async def _asked(self, request: web.Request) -> LoadAsked | web.Response:
        """What is asked for; raises BadRequest."""
        if (refused := refusal_of(request.headers)) is not None:
            return refused
        values = parameters(target_of(request)[1], DOCUMENTS)
        if isinstance(rules := self._held_rules(), web.Response):
            return rules
        kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind not in (FORM_DATA, BYTES) or (kind == FORM_DATA and self._is_foreign(request)):
            return _unsupported(request)
        body = await read_raw(request, self._limits.body)
        if isinstance(body, web.Response):
            return body
        if kind == BYTES:
            parts = {FILE: FormPart(body, "")}
        else:
            parts = _parts(body, request.headers["Content-Type"])
        file = parts.pop(FILE)
        beside = {name: part.data for name, part in parts.items()}
        return LoadAsked(
            file=file.file,
            data=file.data,
            rules=rules,
            caller=CALLER.get(),
            **beside,  # type: ignore[arg-type]  # three of them, each bytes
            **values,
        )

    def _held_rules(self) -> int | web.Response:
        """Number of those that the active version counts by; or why nothing can be read by them."""
        rules = self._rules()
        if rules in HELD:
            return rules
        detail = f"The active version counts by rules {rules}, which this worker does not hold."
        return problem(Problem.NOT_READY, detail)

    def _is_foreign(self, request: web.Request) -> bool:
        """Whether a page that nobody allowed sends it: a browser does not ask before a form."""
        headers = request.headers
        browser = "Origin" in headers or "Sec-Fetch-Site" in headers or "Referer" in headers
        return browser and headers.get("Origin") not in self._origins


def _parts(body: bytes, content_type: str) -> dict[str, FormPart]:
    """Raises BadRequest."""
    try:
        parts = form_parts(body, content_type, PARTS)
        if FILE not in parts:
            raise ValueError(f"There is no part {FILE}, which is the document.")
        name = parts[FILE].file
        if len(name) > MAX_FILE_CHARS or not name.isprintable():
            raise ValueError(f"The file's name is not of {MAX_FILE_CHARS} printable characters.")
    except ValueError as why:
        raise BadRequest(Fault(parameter="body", detail=str(why).rstrip("."))) from None
    return parts


def _unsupported(request: web.Request) -> web.Response:
    given = ascii((request.headers.get("Content-Type") or "no Content-Type")[:200])
    detail = (
        f"A document comes as the part {FILE} of {FORM_DATA}, or alone as {BYTES}, not as {given}; "
        "from a page in a browser alone, unless its origin is allowed."
    )
    headers = {"Accept": f"{FORM_DATA}, {BYTES}"}
    return problem(Problem.UNSUPPORTED_MEDIA_TYPE, detail, headers=headers)


def _reply(answer: LoadAnswer) -> web.Response:
    """The one mapping of how a load ended to HTTP."""
    detail = in_words_of_http(answer.detail)
    faults = [_fault(one) for one in answer.faults]
    match answer.end:
        case LoadEnd.LOADED:
            return json_reply(_told(answer.body), status=202)
        case LoadEnd.CHECKED:
            return json_reply(_told(answer.body))
        case LoadEnd.BAD_PARTS:
            return problem(Problem.INVALID_REQUEST, detail, errors=faults)
        case LoadEnd.UNREADABLE:
            return problem(Problem.UNREADABLE_DOCUMENT, detail)
        case LoadEnd.LINES_REFUSED:
            return problem(Problem.LINES_REFUSED, detail, document=_told(answer.body))
        case LoadEnd.FORBIDDEN:
            return missing_scope(detail, errors=faults)
        case LoadEnd.LOADED_BEFORE:
            return problem(Problem.ALREADY_LOADED, detail, position=answer.position)
        case LoadEnd.CONFLICT:
            return problem(Problem.DOCUMENT_CONFLICT, detail)
        case LoadEnd.UNFINISHED:
            return problem(Problem.LOAD_UNFINISHED, detail)
        case _:
            assert_never(answer.end)


def _told(body: DocumentBody | None) -> DocumentBody | None:
    if body is None:
        return None
    no_facts = [replace(one, sentence=in_words_of_http(one.sentence)) for one in body.no_facts]
    counts = [replace(one, sentence=in_words_of_http(one.sentence)) for one in body.counts.first]
    return replace(body, no_facts=no_facts, counts=CountsBody(body.counts.sum, counts))


def _fault(one: LoadFault) -> Fault:
    detail = in_words_of_http(one.detail)
    return Fault(parameter=one.part, detail=detail) if one.part else Fault(detail=detail)


def in_words_of_http(sentence: str) -> str:
    """A sentence of the command, with parts and parameters for its options."""
    for option, here in _WORDS:
        sentence = sentence.replace(option, here)
    return sentence
