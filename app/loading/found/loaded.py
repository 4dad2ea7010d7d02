"""What became of a file."""

from __future__ import annotations

import msgspec

from app.loading.checking import CheckedFile
from app.loading.decisions.deciding import LevelDecision
from app.loading.decisions.revoking import TakenBack
from app.loading.pieces import NoFact
from app.loading.remembered import NotSentBecause


class LoadedFile(msgspec.Struct):
    """What was done with a file.

    sent: facts, now. went_on: how many lines an earlier load had acknowledged. refused: why
    nothing was sent, as a sentence; "" where it was. levels: what became of its counts. taken:
    what its lines took back. closed: lines that moved containers of which nobody has said what
    lies in them. late: identities of documents that were taken back before they came,
    and by which: their facts were not sent. because: of what kind `refused` is. forbidden: lines
    that their caller may not write. position: of its facts, where all were sent, now or before.
    """

    file: CheckedFile
    sent: int = 0
    went_on: int = 0
    refused: str = ""
    levels: list[LevelDecision] = []
    closed: list[NoFact] = []
    taken: list[TakenBack] = []
    late: dict[str, str] = {}
    because: NotSentBecause | None = None
    forbidden: list[NoFact] = []
    position: str | None = None
