"""`onhand status`: workers, partitions, how far behind, what restores, what was refused."""

from __future__ import annotations

import json
import re
import sys
import time
from typing import Any, NoReturn

import click

from app.commands.console import Cell, print_json, span, table
from app.commands.running import as_json, refuse, url_option, workers_of

WATCH_EVERY_S = 2.0
METRICS_TIMEOUT_S = 2.0
_SAMPLE = re.compile(r"^(onhand_\w+)(?:\{[^}]*\})? (\S+)$", re.MULTILINE)


@click.command(short_help="How workers and partitions are.")
@url_option
@click.option("--watch", is_flag=True, help="Show it again every 2 s, until Ctrl-C.")
@as_json
def status(url: tuple[str, ...], watch: bool, as_json: bool) -> None:
    """Show how workers and partitions are, as one worker has heard it from all.

    BEHIND is the age of the oldest fact that is not in a row yet. REFUSED counts dead letters
    since the worker started. The exit code is 1 if a partition has no owner that answers.
    """
    workers = workers_of(url)
    if watch:
        _watch(workers)
    state = look(workers)
    if as_json:
        print_json(state)
    else:
        click.echo(shown(state))
    sys.exit(0 if not unowned(state) else 1)


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
    """What /v1/cluster says, and of each worker that lives what its /metrics say.

    Each worker gains `behind_s` and `refused`, None where its metrics could not be had.
    """
    from app.commands import ask

    try:
        answer = ask.ask(workers, "/v1/cluster")
    except ask.NoAnswer as error:
        refuse(str(error))
    if answer.status != 200:
        refuse(ask.refusal(answer.status, answer.body))
    state: dict[str, Any] = json.loads(answer.body)
    for worker in state["workers"]:
        worker["behind_s"] = worker["refused"] = None
        if not worker["alive"]:
            continue
        try:
            # Heartbeats name this address, nobody in this room: it gets no token.
            is_named = worker["url"] in workers
            metrics = ask.ask(
                [worker["url"]], "/metrics", timeout_s=METRICS_TIMEOUT_S, with_token=is_named
            )
        except ask.NoAnswer:
            continue
        if metrics.status != 200:
            continue
        sums: dict[str, float] = {}
        for name, value in _SAMPLE.findall(metrics.body.decode(errors="replace")):
            sums[name] = sums.get(name, 0.0) + float(value)
        worker["behind_s"] = sums.get("onhand_oldest_unapplied_seconds")
        worker["refused"] = sums.get("onhand_dead_letters_total")
    return state


def unowned(state: dict[str, Any]) -> list[dict[str, Any]]:
    """Partitions that nobody counts."""
    return [partition for partition in state["partitions"] if partition["active"] is None]


def shown(state: dict[str, Any]) -> str:
    """For people: the workers, then only the partitions that want attention."""
    workers, partitions = state["workers"], state["partitions"]
    alive = sum(worker["alive"] for worker in workers)
    without = unowned(state)
    lag = sum(p["active"]["lag_events"] for p in partitions if p["active"] is not None)
    answering = f"{len(partitions) - len(without)} of {len(partitions)} partitions have an owner"
    lines = [
        f"Version {state['version']}: {alive} worker{'s' if alive != 1 else ''}, {answering}, "
        f"{lag:,} event{'s' if lag != 1 else ''} not counted yet."
    ]
    rows: list[tuple[object, ...]] = [
        ("WORKER", "STATE", "OWNS", "STANDBY", "BEHIND", "REFUSED", "VERSION", "BUILD")
    ]
    rows += [_row(worker) for worker in workers]
    lines.append(table(rows, right=(2, 3, 4, 5, 6)))
    lines += [line for partition in partitions for line in _attention(partition)]
    return "\n".join(lines)


def _row(worker: dict[str, Any]) -> tuple[object, ...]:
    state = Cell(worker["state"])
    if not worker["alive"] and worker["state"] != "gone":
        state = Cell(f"silent for {span(worker['silent_s'])}", "red")
    behind, refused = worker["behind_s"], worker["refused"]
    return (
        worker["url"],
        state,
        worker["active"],
        worker["standby"],
        "-" if behind is None else span(behind),
        "-" if refused is None else Cell(f"{refused:,.0f}", "yellow" if refused else None),
        worker["version"],
        worker["build"],
    )


def _attention(partition: dict[str, Any]) -> list[str]:
    lines = []
    number = partition["partition"]
    if partition["active"] is None:
        others = ", ".join(f"{h['role']} {h['worker']}" for h in partition["standbys"])
        answers = f"{others} answers meanwhile" if others else "nobody answers for it"
        lines.append(table([[Cell(f"Partition {number} has no owner: {answers}.", "red")]]))
    for loader in partition["loading"]:
        restore, far = loader.get("restore"), ""
        if restore:
            share = restore["done"] / max(restore["total"], 1)
            far = f", {restore['done']:,} of {restore['total']:,} records ({share:.0%})"
        said = f"Partition {number} is {loader['state']} at {loader['worker']}{far}."
        lines.append(table([[Cell(said, "yellow")]]))
    return lines
