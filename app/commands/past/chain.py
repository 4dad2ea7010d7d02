"""`onhand audit --chain`: the chain of hashes over every record, made again from the log."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from app.commands.console import Cell, Ticker, coloured, plain, print_json
from app.commands.running import refuse, run
from core.words import in_words

if TYPE_CHECKING:
    from app.config import Settings
    from audit.chaining import Chained, ChainHead, KeptHead
    from ledger.audited import AuditedLedger


def ledger_of(settings: Settings) -> AuditedLedger | None:
    """The ledger's database; None where none is named, and none was begun."""
    from ledger.engine import url_of

    url = url_of(settings.ledger_database)
    if not settings.ledger_url and not Path(url.database or "").exists():
        return None
    from ledger.audited import AuditedLedger

    return AuditedLedger(url, f"{settings.ledger_group} audit")


def chain(
    settings: Settings,
    partitions: Sequence[int],
    against: str | None,
    no_ledger: bool,
    as_json: bool,
) -> NoReturn:
    """Make it again, hold kept heads against it, and end the command."""
    from audit.chaining import chained
    from audit.log import AuditFailed, opened
    from ledger.engine import LedgerUnavailable

    topics = {topic: role for role, topic in settings.source_topics.items()}

    async def work() -> Chained:
        claims = _kept(against, partitions) if against is not None else []
        ledger = None if no_ledger else ledger_of(settings)
        if ledger is not None:
            claims += _of_ledger(ledger, list(topics), partitions)
        async with opened(settings.client_kwargs(), list(topics)) as log:
            return await chained(log, topics, partitions, claims, Ticker("records read"))

    found = run(work(), AuditFailed, LedgerUnavailable)
    if as_json:
        print_json(_chain_document(found))
    else:
        for head in found.heads:
            click.echo(f"{head.head}  {head.topic}-{head.partition}, records below {head.next:,}")
        for claim, now in found.wrong:
            click.echo(coloured(Cell(_wrong(claim, now), "red")))
        right = len(found.right)
        click.echo(f"{found.root}  all of them; {right:,} kept heads agree.")
    sys.exit(1 if found.wrong else 0)


def _kept(path: str, partitions: Sequence[int]) -> list[KeptHead]:
    import msgspec

    from audit.chaining import ChainHead, KeptHead

    try:
        heads = msgspec.convert(json.loads(Path(path).read_bytes())["heads"], list[ChainHead])
    except OSError as error:
        refuse(f"{path} cannot be read ({in_words(error)}).")
    except (ValueError, KeyError, TypeError) as error:
        refuse(f"{path} holds no heads as `onhand audit --chain --json` writes them ({error}).")
    return [KeptHead(path, head) for head in heads if head.partition in partitions]


def _of_ledger(
    ledger: AuditedLedger, topics: Sequence[str], partitions: Sequence[int]
) -> list[KeptHead]:
    from audit.chaining import ChainHead, KeptHead

    try:
        return [
            KeptHead("the ledger", ChainHead(topics[topic], part, next_offset, head.hex()))
            for topic, part, next_offset, head in ledger.heads()
            if part in partitions
        ]
    finally:
        ledger.close()


def _wrong(claim: KeptHead, now: ChainHead | None) -> str:
    said = claim.said
    place = f"{said.topic}-{said.partition}"
    if now is None:
        return plain(
            f"{claim.by} knows records of {place} below {said.next:,}, and the log ends before: it "
            "was cut, or made anew."
        )
    return plain(
        f"{claim.by} has another head of {place} for the records below {said.next:,} "
        f"({said.head}): one of them was changed, dropped or put in between."
    )


def _chain_document(found: Chained) -> dict[str, object]:
    import msgspec

    return {
        "root": found.root,
        "heads": [msgspec.structs.asdict(head) for head in found.heads],
        "agree": len(found.right),
        "wrong": [
            {
                "by": claim.by,
                **msgspec.structs.asdict(claim.said),
                "now": None if now is None else now.head,
            }
            for claim, now in found.wrong
        ],
    }
