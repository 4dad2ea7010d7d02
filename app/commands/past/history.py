"""`onhand history` and `onhand explain`: what was in stock, and why, asked of any worker."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote, urlencode

import click

from app.commands.console import Cell, plain, print_json, table
from app.commands.running import as_json, refuse, url_option, waiting_options, workers_of

#: Facts in one page of an explanation; the service takes no more.
_PAGE = 1_000
_BLOCKS = "▁▂▃▄▅▆▇█"
_WIDTH = 60

#: What each type is called in an explanation: a verb, and a noun for one fact of it.
_WORDS = {
    "inventory.shipment.received.v1": ("received", "shipment"),
    "inventory.shipment.dispatched.v1": ("dispatched", "dispatch"),
    "inventory.sale.completed.v1": ("sold", "sale"),
    "inventory.sale.returned.v1": ("returned", "return"),
    "inventory.stock.adjusted.v1": ("adjusted", "adjustment"),
    "inventory.sale.voided.v1": ("voided", "voided sale"),
}
_PLURALS = {"dispatch": "dispatches"}
#: Of a type that a newer service knows.
_UNKNOWN = ("changed", "fact")

_clock = click.option(
    "--clock",
    type=click.Choice(["recorded", "occurred"]),
    default="recorded",
    show_default=True,
    help="By when the log took the facts, or by when they happened.",
)
_as_of = click.option("--as-of", metavar="TIME", help="As it was then: 2026-11-23T10:00:00Z.")


@click.command(short_help="The facts of a row, each with the balance after it.")
@click.argument("sku")
@click.argument("location")
@_as_of
@_clock
@click.option(
    "--limit",
    default=20,
    show_default=True,
    type=click.IntRange(1, _PAGE),
    help="How many facts to show: the newest.",
)
@click.option("--all", "everything", is_flag=True, help="Also what was repeated or refused.")
@waiting_options
@url_option
@as_json
def history(
    sku: str,
    location: str,
    as_of: str | None,
    clock: str,
    limit: int,
    everything: bool,
    url: tuple[str, ...],
    as_json: bool,
    **waiting: str | int | None,
) -> None:
    """Show the newest facts of SKU at LOCATION, with the balance after each.

    The line above the table is the balance from the oldest of them to the newest.
    """
    query = {"clock": clock, "order": "desc", "limit": str(limit)}
    query |= _given(as_of=as_of, **waiting) | ({"all": "true"} if everything else {})
    found = _ask(sku, location, query, url, as_json)
    if as_json:
        print_json(found)
        return
    facts = found["facts"]
    click.echo(sparkline([fact["balance"] for fact in reversed(facts)]))
    click.echo(_table(facts, clock))
    more = " There are older ones (--limit)." if found["next_cursor"] else ""
    on_hand = found["row"]["on_hand"] if found["row"] else 0
    click.echo(f"{on_hand:,} on hand, as of {_place(found['history'])}.{more}")


@click.command(short_help="Why a row is what it is, in sentences with sums.")
@click.argument("sku")
@click.argument("location")
@_as_of
@_clock
@waiting_options
@url_option
@as_json
def explain(
    sku: str,
    location: str,
    as_of: str | None,
    clock: str,
    url: tuple[str, ...],
    as_json: bool,
    **waiting: str | int | None,
) -> None:
    """Say why there is as much of SKU at LOCATION as there is: all facts, by kind.

    Adds up every fact itself, and ends with code 1 where the sum is not what the row says.
    """
    query = {"clock": clock, "limit": str(_PAGE), "all": "true"}
    query |= _given(as_of=as_of, **waiting)
    pages = list(_pages(sku, location, query, url, as_json))
    facts = [fact for page in pages for fact in page["facts"]]
    row = pages[0]["row"]
    opening, begins = pages[0]["opening"], pages[0]["history"]["begins"]
    on_hand = row["on_hand"] if row else 0
    total = opening + sum(fact["change"] for fact in facts)
    sentences = list(_sentences(facts))
    if begins:
        sentences.insert(0, f"{opening:+,} from facts before {begins}, which are kept as a sum")
    if as_json:
        print_json({"on_hand": on_hand, "sum": total, "because": sentences, **pages[0]["history"]})
    else:
        click.echo(f"{plain(sku)} at {plain(location)}: {on_hand:,} on hand, because")
        for sentence in sentences:
            click.echo(f"  {plain(sentence)}")
        click.echo(f"Together {total:,}, as of {_place(pages[0]['history'])}.")
    if total != on_hand:
        refuse(f"The facts add up to {total:,}, and the row says {on_hand:,}: run a new ledger.")


def _given(**values: str | int | None) -> dict[str, str]:
    return {name: str(value) for name, value in values.items() if value is not None}


def sparkline(balances: Sequence[int]) -> str:
    """Balances as blocks between the least and the greatest; the newest that fit."""
    shown = balances[-_WIDTH:]
    if not shown:
        return ""
    least, most = min(shown), max(shown)
    steps = len(_BLOCKS) - 1
    blocks = [
        _BLOCKS[(balance - least) * steps // (most - least) if most > least else 0]
        for balance in shown
    ]
    return f"{''.join(blocks)}  {least:,} to {most:,}"


def _ask(
    sku: str, location: str, query: dict[str, str], url: tuple[str, ...], as_json: bool
) -> dict[str, Any]:
    """One page; what is not there ends the command."""
    from app.commands import ask

    path = "/".join(quote(part, safe="") for part in (sku, location, "timeline"))
    try:
        answer = ask.ask(workers_of(url), f"/v1/inventory/{path}?{urlencode(query)}")
    except ask.NoAnswer as error:
        refuse(str(error))
    if answer.status == 200:
        found: dict[str, Any] = json.loads(answer.body)
        return found
    if as_json:
        click.echo(answer.body.decode(errors="replace"))
    else:
        click.echo(ask.refusal(answer.status, answer.body), err=True)
    sys.exit(1)


def _pages(
    sku: str, location: str, query: dict[str, str], url: tuple[str, ...], as_json: bool
) -> Iterator[dict[str, Any]]:
    while True:
        page = _ask(sku, location, query, url, as_json)
        yield page
        if not page["next_cursor"]:
            return
        query = query | {"cursor": page["next_cursor"]}


def _table(facts: Sequence[dict[str, Any]], clock: str) -> str:
    header = ("WHEN", "WHAT", "CHANGE", "BALANCE", "BY", "ID", "REFERENCE", "WHY")
    rows = []
    for fact in facts:
        verb, _ = _WORDS.get(fact["type"], _UNKNOWN)
        rows.append(
            (
                fact[f"{clock}_at"] or "-",
                verb if fact["outcome"] == "applied" else f"{verb} ({fact['outcome']})",
                Cell(f"{fact['change']:+,}"),
                Cell(f"{fact['balance']:,}", "red" if fact["balance"] < 0 else None),
                fact["source"] or "-",
                fact["id"] or "-",
                fact.get("reference") or "-",
                fact.get("refused") or fact.get("of") or fact.get("reason") or "-",
            )
        )
    return table([header, *rows], right=[2, 3])


def _sentences(facts: Sequence[dict[str, Any]]) -> Iterator[str]:
    """By kind of fact, adjustments by their reason, and what changed nothing."""
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = defaultdict(list)
    for fact in facts:
        if fact["outcome"] == "applied":
            verb, noun = _WORDS.get(fact["type"], _UNKNOWN)
            # What is counted and not on hand is so for its reason: goods that came back damaged.
            tells_why = noun == "adjustment" or (fact["quantity"] and not fact["change"])
            why = fact.get("reason") or "" if tells_why else ""
            groups[verb, noun, why].append(fact)
    order = [noun for _, noun in (*_WORDS.values(), _UNKNOWN)]
    for (verb, noun, why), some in sorted(
        groups.items(), key=lambda each: (order.index(each[0][1]), each[0][2])
    ):
        change = sum(fact["change"] for fact in some)
        many = noun if len(some) == 1 else _PLURALS.get(noun, f"{noun}s")
        last = some[-1]
        because = f" for {why}" if why else ""
        reference = f", {last['reference']}" if last.get("reference") else ""
        yield (
            f"{change:+,} {verb}{because} in {len(some):,} {many}, the last at "
            f"{last['recorded_at']} by {last['source']} ({last['id']}{reference})"
        )
    for outcome, says in (("repeated", "said again what was counted"), ("refused", "were refused")):
        count = sum(fact["outcome"] == outcome for fact in facts)
        if count:
            yield f"+0 from {count:,} of the records, which {says}"


def _place(past: dict[str, Any]) -> str:
    return str(past["as_of"] or past["position"] or "the beginning of the log")
