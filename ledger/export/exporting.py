"""One export from its first line to its manifest; killed at any moment, the next one goes on.

1. Where the last manifest ends, and where the ledger is now: a plan, written down.
2. Day by day (UTC, by `log_at`, which never goes back in a topic-partition): all lines of the
   day, by topic, partition and offset, into files of bounded size. After each file the plan says
   where the next one begins.
3. The manifest, then the plan goes.

A file that was finished and not noted is written again, the same, in its own place.
"""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from core.words import in_words
from ledger.audited import AuditedLedger
from ledger.export.parquet import ParquetFile, pyarrow
from ledger.export.plan import (
    PLAN,
    ChainAt,
    ExportCursor,
    ExportedFile,
    ExportRefused,
    Manifest,
    Plan,
    exported_places,
    manifest_name,
    manifests,
    place_name,
    plan_in,
    settle,
    write_whole,
)
from ledger.lines import APPLIED, OUTCOMES, TOPICS, TYPES
from ledger.sums import change_of

#: Lines of one file, and of one question to the database.
FILE_ROWS: Final = 5_000_000
_PAGE: Final = 20_000
#: What a new disk has.
_OF_A_DISK: Final = ("lost+found",)
_DAY_US: Final = 86_400_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Exporter:
    """Writes one folder. Blocks.

    Args:
        ledger: whose lines.
        name: which ledger it is; another one's export is refused.
        topics: full names, in the order of `ledger.books.TOPICS`.
        partitions: of each.
        folder: where to.
        said: is told now and then how many lines were written.
        file_rows: a file is full at so many.
    """

    def __init__(
        self,
        ledger: AuditedLedger,
        name: str,
        topics: Sequence[str],
        partitions: int,
        folder: Path,
        said: Callable[[int], None] = lambda count: None,
        file_rows: int = FILE_ROWS,
    ) -> None:
        self._ledger, self._name, self._topics = ledger, name, topics
        self._folder, self._said, self._file_rows = folder, said, file_rows
        self._places = exported_places(topics, partitions)
        self._written = 0

    def run(self) -> Manifest | None:
        """Export what came since the last time; None where nothing did.

        Raises:
            ExportRefused: it would not be exact; nothing is left half done but a plan.
            LedgerUnavailable: the database does not answer.
        """
        pyarrow()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            if plan_in(self._folder) is None:
                self._refuse_others()
            with self._alone():
                plan = plan_in(self._folder) or self._new_plan()
                if plan is None:
                    return None
                self._check(plan)
                self._write_files(plan)
                self._check(plan)  # lines may have been compacted before they were read
                return self._finish(plan)
        except OSError as error:
            raise ExportRefused(f"{self._folder} cannot be written: {in_words(error)}.") from error

    def _refuse_others(self) -> None:
        """Whoever mistypes a folder should not have to pick our files out of it."""
        if manifests(self._folder):
            return
        for path in sorted(self._folder.iterdir()):
            if not path.name.startswith(".") and path.name not in _OF_A_DISK:
                raise ExportRefused(
                    f"{self._folder} is no export and not empty (it has {path.name}): name an "
                    "empty or new folder."
                )

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with (self._folder / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise ExportRefused(f"Another export writes to {self._folder} now.") from None
            yield

    # ---- 1

    def _new_plan(self) -> Plan | None:
        before = manifests(self._folder)
        heads = [
            ChainAt(self._topics[topic], part, next_offset, head.hex())
            for topic, part, next_offset, head in self._ledger.heads()
        ]
        known = {place_name(head.topic, head.partition): head.next for head in heads}
        to = {name: known.get(name, 0) for _, _, name in self._places}
        if before:
            start, number, ledger = before[-1].to, before[-1].number + 1, before[-1].ledger
        else:
            starts = self._ledger.history_from()
            start = {name: starts.get((t, p), 0) for t, p, name in self._places}
            number, ledger = 1, self._name
        if ledger == self._name and start == to:
            return None
        plan = Plan(number=number, ledger=ledger, start=start, to=to, heads=heads)
        self._check(plan)
        write_whole(self._folder / PLAN, plan)
        return plan

    def _check(self, plan: Plan) -> None:
        if plan.ledger != self._name or plan.start.keys() != {name for _, _, name in self._places}:
            raise ExportRefused(
                f"{self._folder} is an export of {plan.ledger}, and this is {self._name}: give "
                "each ledger a folder of its own."
            )
        behind = [name for name, start in plan.start.items() if start > plan.to[name]]
        if behind:
            raise ExportRefused(
                f"The ledger has read {behind[0]} up to {plan.to[behind[0]]}, and {self._folder} "
                f"has it up to {plan.start[behind[0]]}: wait until the ledger has caught up."
            )
        starts = self._ledger.history_from()
        for topic, part, name in self._places:
            if starts.get((topic, part), 0) > plan.start[name]:
                raise ExportRefused(
                    f"The ledger has no lines of {name} below {starts[topic, part]} any more, and "
                    f"{self._folder} ends at {plan.start[name]}: export into an empty folder."
                )

    # ---- 2

    def _write_files(self, plan: Plan) -> None:
        at = {(t, p): plan.start[name] for t, p, name in self._places}
        stops = {(t, p): plan.to[name] for t, p, name in self._places}
        cursor = plan.cursor
        while (day := self._next_day(at, stops, cursor)) is not None:
            ends = {
                each: self._ledger.first_after(*each, at[each], stops[each], (day + 1) * _DAY_US)
                for each in at
            }
            self._write_day(plan, day, at, ends, cursor)
            at, cursor = ends, None

    def _next_day(
        self,
        at: dict[tuple[int, int], int],
        stops: dict[tuple[int, int], int],
        cursor: ExportCursor | None,
    ) -> int | None:
        """Its number since the epoch; None behind the last."""
        if cursor is not None:
            day = (datetime.fromisoformat(cursor.day).replace(tzinfo=UTC) - _EPOCH).days
            for each, start in at.items():  # what earlier files hold
                at[each] = self._ledger.first_after(*each, start, stops[each], day * _DAY_US)
            return day
        days = []
        for (topic, part), start in at.items():
            page = self._ledger.lines(topic, part, start, stops[topic, part], 1).lines
            days += [page[0][0][3] // _DAY_US] if page else []
        return min(days, default=None)

    def _write_day(
        self,
        plan: Plan,
        day: int,
        at: dict[tuple[int, int], int],
        ends: dict[tuple[int, int], int],
        cursor: ExportCursor | None,
    ) -> None:
        date = (_EPOCH + timedelta(days=day)).date().isoformat()
        number = sum(file.day == date for file in plan.files)
        file: ParquetFile | None = None
        path = ""
        try:
            for topic, part, _ in self._places:
                offset = at[topic, part]
                if cursor is not None:
                    if (topic, part) < (cursor.topic, cursor.part):
                        continue
                    if (topic, part) == (cursor.topic, cursor.part):
                        offset = max(offset, cursor.offset)
                end = ends[topic, part]
                while page := self._ledger.lines(topic, part, offset, end, _PAGE).lines:
                    if file is None:
                        path = f"facts/day={date}/{plan.number:05}-{number:04}.parquet"
                        file = ParquetFile(self._folder / path)
                    file.add([self._row(*line) for line in page])
                    self._written += len(page)
                    self._said(self._written)
                    offset = page[-1][0][2] + 1
                    if file.rows >= self._file_rows:
                        self._note(plan, file, path, ExportCursor(date, topic, part, offset))
                        file, number = None, number + 1
            # The next day's cursor says that this one is whole.
            if file is not None:
                after = (_EPOCH + timedelta(days=day + 1)).date().isoformat()
                self._note(plan, file, path, ExportCursor(after, 0, 0, 0))
                file = None
        finally:
            if file is not None:
                file.drop()

    def _note(self, plan: Plan, file: ParquetFile, path: str, cursor: ExportCursor) -> None:
        size, digest = file.finish()
        day = path.split("/")[1].removeprefix("day=")
        plan.files.append(
            ExportedFile(path=path, day=day, rows=file.rows, bytes=size, sha256=digest)
        )
        plan.cursor = cursor
        write_whole(self._folder / PLAN, plan)

    def _row(self, line: tuple[Any, ...], refused: str | None) -> tuple[Any, ...]:
        topic, part, offset, log_at, recorded_at, occurred_at, outcome = line[:7]
        kind, quantity = line[8:10]
        return (
            *(TOPICS[topic], part, offset, log_at, recorded_at, occurred_at),
            *(str(OUTCOMES[outcome]), line[7]),
            None if kind is None else TYPES[kind],
            quantity,
            change_of(kind, quantity, *line[20:22]) if outcome == APPLIED else 0,
            *line[13:20],
            refused,
        )

    # ---- 3

    def _finish(self, plan: Plan) -> Manifest:
        manifest = Manifest(
            number=plan.number,
            ledger=plan.ledger,
            start=plan.start,
            to=plan.to,
            rows=sum(file.rows for file in plan.files),
            files=plan.files,
            heads=plan.heads,
            written_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        )
        write_whole(self._folder / manifest_name(plan.number), manifest)
        (self._folder / PLAN).unlink()
        settle(self._folder)
        return manifest
