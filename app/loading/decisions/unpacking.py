"""What moved in containers: what lies in each was said by other lines, here or in earlier loads."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import TypeAlias

import msgspec

from app.loading.facts import FactMaker, LineContained, LineFact
from app.loading.pieces import Became, DocumentPiece, NoFact
from importers.documents.containers import ContentsUnknown, Packing, containers_in, goods_inside

#: By the identity of the document that says it, and the number of the line there.
Packings: TypeAlias = dict[tuple[str, str], Packing]
#: What is known of these containers (SSCC).
AskPackings: TypeAlias = Callable[[Collection[str]], Awaitable[Packings]]


class Unpacked(msgspec.Struct):
    """By document and rank of a line: the facts of what lay in its container, or why none."""

    facts: dict[tuple[str, int], list[LineFact]]
    closed: dict[tuple[str, int], NoFact]

    def facts_of(self, piece: DocumentPiece) -> list[LineFact]:
        """Of all containers of a piece, in the order of its lines."""
        lines = [(one.document, one.rank) for one in piece.contained]
        return [fact for line in lines for fact in self.facts.get(line, ())]


async def unpack(
    make: FactMaker,
    lines: Sequence[LineContained],
    ask: AskPackings,
    otherwise: Became = Became.REFUSED,
) -> Unpacked:
    """Look up what lay in the containers of a load, each at the moment of its line.

    Args:
        make: makes facts.
        lines: all of these documents; what one names is not counted for another of them, too.
        ask: what is known of containers, whoever said it.
        otherwise: what a line is where nobody has said what is in its container.
    """
    found = Unpacked({}, {})
    said = await _all_said({one.line.container for one in lines}, ask)
    seen: dict[str, set[str]] = {}
    for one in lines:
        line, counted = one.line, seen.setdefault(one.document, set())
        try:
            goods = goods_inside(line.container, one.at_us, said, line.beside, counted)
            found.facts[one.document, one.rank] = make.facts_inside(one, goods)
        except ContentsUnknown as why:
            found.closed[one.document, one.rank] = NoFact(line.where, otherwise, str(why))
        except ValueError as why:
            told = f"In the container {line.container}: {why}"
            found.closed[one.document, one.rank] = NoFact(line.where, Became.REFUSED, told)
    return found


async def _all_said(containers: Iterable[str], ask: AskPackings) -> Mapping[str, Sequence[Packing]]:
    """What is known of these containers, and of all that were ever in them."""
    said: dict[str, list[Packing]] = {}
    wanted = set(containers)
    while wanted:
        found = (await ask(wanted)).values()
        said |= {container: [] for container in wanted}
        for one in found:
            said[one.container].append(one)
        wanted = containers_in(found) - said.keys()
    return said
