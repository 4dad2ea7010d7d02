"""What `/v1/loads` tells of a record: the words of its topic as those of HTTP."""

from __future__ import annotations

from typing import Final

import msgspec

from app.config import Settings
from app.loading.remembered import DocumentNote, RevokedMark, document_of, revoked_of
from web.http.times import rfc3339
from web.records.kept import KeptLoad, KeptLoads, KeptTopic, LineSumsBody, LoadBody, TakenBackMark
from wire.fetch import Stored

_LOADED: Final = "loaded"
_UNFINISHED: Final = "unfinished"


def kept_loads(settings: Settings) -> KeptLoads:
    """Documents, and what was taken back."""
    return KeptTopic(settings.documents_topic, 1, _load)


def _load(record: Stored) -> KeptLoad | TakenBackMark | None:
    key, value = record.key or b"", record.value or b""
    if (name := revoked_of(key)) is not None:
        return TakenBackMark(name, msgspec.json.decode(value, type=RevokedMark).by)
    if (identity := document_of(key)) is None:
        return None  # of a bridge
    note = msgspec.json.decode(value, type=DocumentNote)
    sums = None
    if note.sums is not None:
        sums = msgspec.convert(note.sums, LineSumsBody, from_attributes=True)
    body = LoadBody(
        document=identity,
        file=note.file,
        sha256=note.sha256,
        state=_LOADED if note.is_whole else _UNFINISHED,
        at=rfc3339(record.timestamp),
        lines=note.lines,
        facts=note.facts,
        sent=None if note.sent is None else sum(count for _, count in note.sent.values()),
        sums=sums,
        taken_back_by=None,
    )
    return KeptLoad(body, note.called)
