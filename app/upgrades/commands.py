"""`onhand upgrade`: a new version takes over without a failed request, and back."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from app.commands.console import Cell, Ticker, moment, plain, print_json, span, table
from app.commands.running import Commands, as_json, kafka_option, settings_from, url_option
from app.upgrades.diff.command import doors_of, report_document, upgrade_diff
from app.upgrades.ends import NOT_ALL_CODE, NOT_YET_CODE, end_refused, ended

if TYPE_CHECKING:
    from app.upgrades.fleet import VersionProgress
    from app.upgrades.moves import Status, Switched
    from core.versions import Versions

WAIT_EVERY_S = 1.0
#: Heartbeats are looked at that are no older than ten minutes (`fleet.SEEN_WITHIN_S`): nothing was
#: ever seen to be caught up for longer.
MOST_STABLE_S = 540.0

note_option = click.option("--note", default="", help="For the record: why.")
stable_option = click.option(
    "--stable",
    default="60s",
    show_default=True,
    metavar="TIME",
    help="Caught up means so for this long without a break, at most 9m.",
)
force_option = click.option(
    "--force",
    "forced",
    multiple=True,
    type=click.Choice(["silent-worker", "not-caught-up", "not-compared", "unexplained-rows"]),
    help="Overrule this refusal; it is recorded. May be repeated.",
)


accept_option = click.option(
    "--accept",
    "accepted",
    multiple=True,
    metavar="REASON",
    help="Rows may differ for this reason, as `onhand upgrade diff` names it. Several: repeated, "
    "or joined by commas.",
)


@click.group("upgrade", cls=Commands, short_help="Let a new version take over, and back.")
def upgrade_commands() -> None:
    """Let a new version of the rules take over without a failed request, and back.

    Exit codes: 0 done, or already so; 1 refused, nothing changed; 2 wrong usage, or Kafka did not
    answer; 3 not yet (--wait ran out); 4 outcome unknown, since Kafka went away: run it again;
    5 done, but not all workers have confirmed it.
    """


@upgrade_commands.command("stage", short_help="Let a version count beside the active one.")
@click.argument("version", type=click.IntRange(1, 999_999))
@click.option(
    "--rules",
    type=click.INT,
    metavar="N",
    help="The rules that it counts by; without it the newest of this build.",
)
@note_option
@kafka_option
@as_json
def upgrade_stage(
    version: int, rules: int | None, note: str, as_json: bool, **options: Any
) -> None:
    """Make the topics of VERSION, check them, and let its workers count.

    They answer nobody yet but who asks for this version. Its duplicates window is
    ONHAND_DEDUP_WINDOW as set here; it keeps both, and its rules, for its life.
    """
    from domain.rules.held import HELD

    if rules is not None and rules not in HELD:
        held = " and ".join(map(str, HELD))
        raise click.BadParameter(f"this build holds rules {held}", param_hint="--rules")
    from app.upgrades import moves

    settings = settings_from(**options)
    after, estimate = ended(moves.stage_version(settings, version, rules, note), as_json)
    if as_json:
        told = {
            "events": estimate.events,
            "seconds": round(estimate.seconds),
            "changelog_bytes": estimate.changelog_bytes,
        }
        print_json({**_document(after), **told})
        return
    theirs, before = _rules(after, version), _rules(after, after.active)
    workers = f"{estimate.workers} worker{'' if estimate.workers == 1 else 's'}"
    click.echo(
        f"Version {version} is staged (epoch {after.epoch}): topics made and checked; rules "
        f"{theirs} (active: {before}).\nAbout {estimate.events:,} events to count: "
        f"{span(estimate.seconds)} with {workers} as version {after.active} has, a core for each; "
        f"on as much disk again, and up to {estimate.changelog_bytes / 2**30:,.1f} GiB of "
        f"changelog.\nNow start workers with ONHAND_VERSION={version}."
    )


@upgrade_commands.command("status", short_help="How versions and workers stand.")
@click.option(
    "--wait",
    metavar="TIME",
    help="Until the version that is not active is caught up (staged or previous), such as 45m.",
)
@stable_option
@kafka_option
@as_json
def upgrade_status(wait: str | None, stable: str, as_json: bool, **options: Any) -> None:
    """Show which version is active, and how far each is, as its workers tell.

    With --wait the exit code is 3 if the other version is not caught up in time.
    """
    settings, stable_s = settings_from(**options), _stable_s(stable)
    until = None if wait is None else time.monotonic() + _seconds(wait)
    from app.upgrades import moves

    while True:
        found = ended(moves.standing(settings, stable_s), as_json)
        if as_json:
            print_json(_status_document(found))
        else:
            click.echo(_shown(found, stable_s))
        if until is None:
            return
        if (other := _other(found.record)) is None:
            end_refused("No version is staged or previous: nothing to wait for.", as_json)
        if found.progress[other].observed == "caught up":
            return
        if time.monotonic() > until:
            sys.exit(NOT_YET_CODE)
        time.sleep(WAIT_EVERY_S)


@upgrade_commands.command("promote", short_help="Make the staged version the active one.")
@click.argument("version", type=click.IntRange(1, 999_999))
@note_option
@accept_option
@force_option
@stable_option
@kafka_option
@url_option
@as_json
def upgrade_promote(version: int, **options: Any) -> None:
    """Make VERSION the active one: the answers are its answers from then on.

    Refused while it is not caught up, or while a worker is silent that may answer from the old
    one. All rows are compared before, as by `onhand upgrade diff`: refused too while some differ
    for a reason that is not accepted, or for none. --url and --token are as of `diff`.
    """
    names = [name for one in options.pop("accepted") for name in one.split(",") if name]
    _switch(version, options, names)


@upgrade_commands.command("rollback", short_help="Go back to the version before.")
@note_option
@force_option
@stable_option
@kafka_option
@as_json
def upgrade_rollback(**options: Any) -> None:
    """Make the version before the active one again; it has counted on all the time.

    What only the newer version could count is not in its rows until that one is promoted again.
    """
    _switch(None, options, ())


def _switch(version: int | None, options: dict[str, Any], accepted: Sequence[str]) -> None:
    from app.upgrades import moves

    as_json, stable = options.pop("as_json"), _stable_s(options.pop("stable"))
    note, forced = options.pop("note"), options.pop("forced")
    doors = doors_of(options.pop("url", ()))
    settings = settings_from(**options)
    work = moves.switch(
        settings,
        version,
        note=note,
        forced=forced,
        accepted=accepted,
        stable_s=stable,
        doors=doors,
        said=Ticker("rows compared"),
    )
    done = ended(work, as_json)
    if as_json:
        told = {
            "workers": done.confirmed.workers,
            "not_confirmed": list(done.confirmed.missing),
            "seconds": round(done.confirmed.seconds, 3),
            "compared": None if done.compared is None else report_document(done.compared),
        }
        print_json({**_document(done.after), **told})
    else:
        click.echo(_switched(done))
    sys.exit(NOT_ALL_CODE if done.confirmed.missing else 0)


def _switched(switched: Switched) -> str:
    after, confirmed = switched.after, switched.confirmed
    is_promoted = after.change == "promote"
    done = "Promoted" if is_promoted else "Rolled back"
    way = (
        "Back: onhand upgrade rollback"
        if is_promoted
        else f"Forward: onhand upgrade promote {after.previous}"
    )
    count = confirmed.workers - len(confirmed.missing)
    who = f"{count} of {confirmed.workers} workers in {confirmed.seconds:.2f} s"
    lines = [f"{done}: version {after.active} is active (epoch {after.epoch}), {who}. {way}"]
    report = switched.compared
    if report is None:
        lines.append("Not compared: which rows the two versions have differently.")
    else:
        lines.append(
            f"Compared before: {report.rows:,} rows, {report.equal:,} equal, {report.moving:,} "
            f"moving, {report.differ:,} differ."
        )
    if confirmed.missing:
        lines.append(
            f"Not confirmed by {', '.join(confirmed.missing)}: they may answer from version "
            f"{after.previous} until they have read the record, and version {after.active} has "
            "counted what they told and answers them. Who waits for that says for what in its log "
            f"(`Answers come from version {after.previous} still`). Who is gone for good answers "
            "nobody. See `onhand upgrade status`."
        )
    return "\n".join(lines)


@upgrade_commands.command("retire", short_help="End a version for good.")
@click.argument("version", type=click.IntRange(1, 999_999))
@click.option("--yes", "sure", is_flag=True, help="Also one that was active until lately.")
@note_option
@kafka_option
@as_json
def upgrade_retire(version: int, sure: bool, note: str, as_json: bool, **options: Any) -> None:
    """End VERSION, which is the previous or the staged one; delete its topics and groups.

    Its workers let go of what they hold and idle; stop them then. There is no way back.
    """
    from app.upgrades import retiring

    settings = settings_from(**options)
    done = ended(retiring.retire_version(settings, version, note=note, sure=sure), as_json)
    if as_json:
        print_json({**_document(done.after), "group_left": done.group})
        return
    click.echo(
        f"Version {version} is retired (epoch {done.after.epoch}): its topics and groups are "
        "deleted. Stop its workers."
    )
    if done.group is not None:
        click.echo(
            f"The group {done.group} remains, for a ledger is in it: when that is stopped, Kafka "
            "forgets the group by itself, by default after 7 days."
        )


@upgrade_commands.command("log", short_help="Every record, oldest first.")
@kafka_option
@as_json
def upgrade_log(as_json: bool, **options: Any) -> None:
    """Show who did what with versions, and when."""
    from app.upgrades import asking

    history = ended(asking.known(settings_from(**options)), as_json)
    if as_json:
        print_json({"records": [_document(entry.versions) for entry in history.entries]})
        return
    rows: list[tuple[object, ...]] = [("EPOCH", "WHEN", "CHANGE", "ACTIVE", "BY", "NOTE", "FORCED")]
    for entry in history.entries:
        one = entry.versions
        when = moment(entry.log_ms)
        forced = ", ".join(one.forced) or "-"
        rows.append(
            (one.epoch, when, one.change, one.active, one.by or "-", one.note or "-", forced)
        )
    click.echo(table(rows, right=(0, 3)))


def _other(record: Versions) -> int | None:
    """The version that may become the active one: the staged one, or the way back."""
    return record.previous if record.staged is None else record.staged


def _rules(record: Versions, version: int) -> object:
    kept = record.versions.get(str(version))
    return "unknown" if kept is None else kept.rules


def _document(record: Versions) -> dict[str, Any]:
    import msgspec

    found: dict[str, Any] = msgspec.to_builtins(record)
    return found


def _status_document(found: Status) -> dict[str, Any]:
    import msgspec

    return {
        **_document(found.record),
        "observed": {str(v): msgspec.to_builtins(one) for v, one in found.progress.items()},
        "silent": [{"url": s.beat.url, "silent_s": s.silent_s} for s in found.silent],
        "orphan_topics": found.orphans,
        "idle": [{"url": s.beat.url, "version": s.beat.version} for s in found.unlisted],
    }


def _is(one: VersionProgress, stable_s: float) -> Cell:
    """How far a version is; what has only just caught up is not said to be behind."""
    if one.steady_s:
        return Cell(f"caught up for {one.steady_s} s of {stable_s:.0f} s", "yellow")
    return Cell(one.observed, None if one.observed == "caught up" else "yellow")


def _shown(found: Status, stable_s: float) -> str:
    record = found.record
    rows: list[tuple[object, ...]] = [
        ("VERSION", "STATE", "RULES", "WORKERS", "OWNED", "NOT COUNTED", "IS")
    ]
    for version, one in sorted(found.progress.items()):
        state = record.state_of(version)
        observed = _is(one, stable_s)
        rules = _rules(record, version)
        rows.append(
            (version, state, rules, one.workers, one.partitions, f"{one.lag_events:,}", observed)
        )
    lines = [f"Epoch {record.epoch}: version {record.active} is active."]
    lines.append(table(rows, right=(0, 2, 3, 4, 5)))
    other = None if (number := _other(record)) is None else found.progress[number]
    if other is not None and (why := other.why) and not other.steady_s:
        more = f" (and {len(why) - 1} more)" if len(why) > 1 else ""
        lines.append(plain(f"Not caught up: {why[0]}{more}."))
    lines += [
        plain(f"Worker {s.beat.url} of version {s.beat.version} is silent for {s.silent_s:.0f} s.")
        for s in found.silent
    ]
    lines += [
        plain(f"Worker {s.beat.url} idles: version {s.beat.version} is not staged or active.")
        for s in found.unlisted
    ]
    if found.orphans:
        named = ", ".join(found.orphans)
        lines.append(f"Of no version that is listed: {named}. Delete them if nobody needs them.")
    for version in record.retiring:
        lines.append(f"Of version {version} something is left: onhand upgrade retire {version}")
    return "\n".join(lines)


def _stable_s(text: str) -> float:
    if (seconds := _seconds(text)) > MOST_STABLE_S:
        raise click.BadParameter(
            f"{text!r} is longer than workers are remembered: use 9m at most.",
            param_hint="--stable",
        )
    return seconds


def _seconds(text: str) -> float:
    match = re.fullmatch(r"([0-9]{1,6}(?:\.[0-9]+)?)(s|m|h)?", text)
    if match is None:
        raise click.BadParameter(f"{text!r} is no time: use 90s, 45m or 2h.")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2] or "s"]


upgrade_commands.add_command(upgrade_diff)
