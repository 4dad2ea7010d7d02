"""`onhand status`: workers, partitions, how far behind, what restores, what was refused."""

from __future__ import annotations

import json
import re
import sys
import time
from typing import Any, NoReturn

import click

from app.commands.console import Cell, coloured, print_json, seconds_since, span, table
from app.commands.running import as_json, refuse, url_option, workers_of
from core.words import named_partitions

WATCH_EVERY_S = 2.0
WORKER_TIMEOUT_S = 2.0
#: What a broker said longer ago is not known any more: it says so twice a second. And what
#: holds a partition up for less is an ordinary transaction.
_OLD_S = 5.0
_SAMPLE = re.compile(r"^(onhand_\w+)(?:\{[^}]*\})? (\S+)$", re.MULTILINE)


@click.command(short_help="How workers and partitions are.")
@url_option
@click.option("--watch", is_flag=True, help="Show it again every 2 s, until Ctrl-C.")
@as_json
def status(url: tuple[str, ...], watch: bool, as_json: bool) -> None:
    """Show how workers and partitions are, as one worker has heard it from all.

    BEHIND is the age of the oldest fact that is not in a row yet. REFUSED counts dead letters
    since the worker started. The exit code is 1 if a partition has no owner that answers, stands
    still, or nobody knows how far behind it is.
    """
    workers = workers_of(url)
    if watch:
        _watch(workers)
    state = look(workers)
    if as_json:
        print_json(state)
    else:
        click.echo(shown(state))
    wrong = unowned(state) or state["not_counted"]["unknown"] or _stopped(state)
    sys.exit(1 if wrong else 0)


def _watch(workers: list[str]) -> NoReturn:
    try:
        while True:
            said = shown(look(workers))
            if sys.stdout.isatty():
                click.clear()
            click.echo(said)
            time.sleep(WATCH_EVERY_S)
    except KeyboardInterrupt:
        sys.exit(0)


def look(workers: list[str]) -> dict[str, Any]:
    """What /v1/cluster says, and of each worker that lives what its /metrics and /ready say.

    Each worker gains `behind_s`, `refused` and `warnings`, None where they could not be had; the
    whole gains `not_counted`: `events`, the partitions of which that is `unknown`, and of these
    `told_s`, how long ago Kafka last said (None: never).
    """
    from app.commands import ask

    try:
        answer = ask.ask(workers, "/v1/cluster")
    except ask.NoAnswer as error:
        refuse(str(error))
    if answer.status != 200:
        refuse(ask.refusal(answer.status, answer.body))
    state: dict[str, Any] = json.loads(answer.body)
    state["not_counted"] = _not_counted(state["partitions"])
    for worker in state["workers"]:
        worker["behind_s"] = worker["refused"] = worker["warnings"] = None
        # Heartbeats name this address, nobody in this room: it gets no token.
        is_named = worker["url"] in workers
        if worker["alive"] and (metrics := _of(worker["url"], "/metrics", is_named)) is not None:
            sums: dict[str, float] = {}
            for name, value in _SAMPLE.findall(metrics.decode(errors="replace")):
                sums[name] = sums.get(name, 0.0) + float(value)
            worker["behind_s"] = sums.get("onhand_oldest_unapplied_seconds")
            worker["refused"] = sums.get("onhand_dead_letters_total")
            # One that is not ready says so itself, and its partitions say why.
            if (ready := _of(worker["url"], "/ready", is_named)) is not None:
                worker["warnings"] = json.loads(ready).get("warnings", [])
    return state


def _of(worker: str, path: str, with_token: bool) -> bytes | None:
    """What a worker has at a path; None where it does not say."""
    from app.commands import ask

    try:
        answer = ask.ask([worker], path, timeout_s=WORKER_TIMEOUT_S, with_token=with_token)
    except ask.NoAnswer:
        return None
    return answer.body if answer.status == 200 else None


def _not_counted(partitions: list[dict[str, Any]]) -> dict[str, Any]:
    """How many events wait, by who knows best: the owner, else a standby."""
    events, unknown, told = 0, [], []
    for partition in partitions:
        holders = _holders(partition)
        new = [holder for holder in holders if _age_s(holder) < _OLD_S]
        if new:
            events += new[0]["lag_events"]
        else:
            unknown.append(partition["partition"])
            told += [_age_s(holder) for holder in holders if holder["position"]]
    return {"events": events, "unknown": unknown, "told_s": round(min(told), 1) if told else None}


def _holders(partition: dict[str, Any]) -> list[dict[str, Any]]:
    """Who can answer for it, the owner first."""
    active = partition["active"]
    return [*([active] if active is not None else []), *partition["standbys"]]


def _age_s(holder: dict[str, Any]) -> float:
    """Since a broker told this holder the ends of the topics."""
    return seconds_since(holder["as_of"])


def unowned(state: dict[str, Any]) -> list[dict[str, Any]]:
    """Partitions that nobody counts."""
    return [partition for partition in state["partitions"] if partition["active"] is None]


def _stopped(state: dict[str, Any]) -> bool:
    """Whether any partition stands still at its owner."""
    owners = (partition["active"] for partition in state["partitions"])
    return any(owner is not None and "stopped_because" in owner for owner in owners)


def shown(state: dict[str, Any]) -> str:
    """For people: the workers, then only the partitions that want attention."""
    workers, partitions = state["workers"], state["partitions"]
    alive = sum(worker["alive"] for worker in workers)
    without = unowned(state)
    answering = f"{len(partitions) - len(without)} of {len(partitions)} partitions have an owner"
    lines = [
        f"Version {state['version']}: {alive} worker{'s' if alive != 1 else ''}, {answering}, "
        f"{_waiting(state)}."
    ]
    rows: list[tuple[object, ...]] = [
        ("WORKER", "STATE", "OWNS", "STANDBY", "BEHIND", "REFUSED", "VERSION", "BUILD")
    ]
    unsure = {one["worker"] for part in partitions for one in _holders(part) if _is_unsure(one)}
    rows += [_row(worker, worker["url"] in unsure) for worker in workers]
    lines.append(table(rows, right=(2, 3, 4, 5, 6)))
    said: dict[tuple[str, str, str], list[int]] = {}
    for partition in partitions:
        for sentence in _attention(partition):
            said.setdefault(sentence, []).append(partition["partition"])
    lines += [_of_partitions(*sentence, numbers) for sentence, numbers in said.items()]
    lines += [coloured(Cell(warning, "yellow")) for warning in _warnings(state)]
    return "\n".join(lines)


def _waiting(state: dict[str, Any]) -> str:
    waiting = state["not_counted"]
    if len(waiting["unknown"]) == len(state["partitions"]):
        return "nobody knows how many events are not counted yet"
    known = f"{waiting['events']:,} event{'s' if waiting['events'] != 1 else ''} not counted yet"
    return f"{known} as far as is known" if waiting["unknown"] else known


def _is_unsure(holder: dict[str, Any]) -> bool:
    """Whether facts may wait there that its metric, the age of what it has read, leaves out."""
    held = "stopped_because" in holder or "held_up" in holder
    return holder["role"] != "standby" and (held or _age_s(holder) >= _OLD_S)


def _row(worker: dict[str, Any], unsure: bool) -> tuple[object, ...]:
    state = Cell(worker["state"])
    if not worker["alive"] and worker["state"] != "gone":
        state = Cell(f"silent for {span(worker['silent_s'])}", "red")
    behind, refused = worker["behind_s"], worker["refused"]
    return (
        worker["url"],
        state,
        worker["active"],
        worker["standby"],
        Cell("unknown", "yellow") if unsure else "-" if behind is None else span(behind),
        "-" if refused is None else Cell(f"{refused:,.0f}", "yellow" if refused else None),
        worker["version"],
        worker["build"],
    )


def _attention(partition: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Of one partition: what follows its number, `has` or `is` first, and a colour.

    The same of several is one line.
    """
    found = []
    if partition["active"] is None:
        others = ", ".join(f"{h['role']} {h['worker']}" for h in partition["standbys"])
        who = f"{others} answers meanwhile" if others else "nobody answers"
        found.append(("has", f"no owner: {who}.", "red"))
    for holder in _holders(partition):
        if (why := holder.get("stopped_because")) is not None:
            found.append(("stands", f"still at {holder['worker']}: {why}", "red"))
            continue
        for up in holder.get("held_up", ()):
            if (since_s := seconds_since(up["since"])) > _OLD_S:
                what = "an open transaction" if up["cause"] == "transaction" else up["cause"]
                found.append(
                    ("is", f"held up at {up['position']} for {span(since_s)}: {what}.", "red")
                )
    for loader in partition["loading"]:
        restore, far = loader.get("restore"), ""
        if restore:
            share = restore["done"] / max(restore["total"], 1)
            far = f", {restore['done']:,} of {restore['total']:,} records ({share:.0%})"
        found.append(("is", f"{loader['state']} at {loader['worker']}{far}.", "yellow"))
        if (why := loader.get("stopped_because")) is not None:
            found.append(("stands", f"still at {loader['worker']}: {why}", "red"))
    return found


_OF_SEVERAL = {"has": "have", "is": "are", "stands": "stand"}


def _of_partitions(verb: str, rest: str, colour: str, numbers: list[int]) -> str:
    if len(numbers) > 1:
        verb = _OF_SEVERAL[verb]
    return coloured(Cell(f"{named_partitions(numbers).capitalize()} {verb} {rest}", colour))


def _warnings(state: dict[str, Any]) -> list[str]:
    """What is not a partition's own: Kafka that is away, topics that are wrong."""
    found = []
    if unknown := state["not_counted"]["unknown"]:
        told_s = state["not_counted"]["told_s"]
        when = (
            "its holders have not heard it"
            if told_s is None
            else f"Kafka last said it {span(told_s)} ago"
        )
        verb = "are" if len(unknown) > 1 else "is"
        found.append(f"How far {named_partitions(unknown)} {verb} behind is not known: {when}.")
    workers: dict[str, list[str]] = {}
    for worker in state["workers"]:
        for warning in worker["warnings"] or ():
            workers.setdefault(warning, []).append(worker["url"])
    return found + [f"Warning of {', '.join(urls)}: {text}" for text, urls in workers.items()]
