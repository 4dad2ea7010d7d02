"""Small CSV files that a shop keeps for Onhand: a catalogue of items, a list of places."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterator
from difflib import get_close_matches
from typing import Final

_TOLD: Final = 20
_DELIMITERS: Final = ",;\t"


class ListError(Exception):
    """A list that cannot be used; the message is one sentence for each problem, by line."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class ListReader:
    """Collects what is wrong while a list is read; of many problems the first are told.

    Args:
        data: the file.
        columns: that are known. Their order says nothing, and the file may have others.
        needed: of these, those that must be there.

    Raises:
        ListError: it is no such list.
    """

    def __init__(self, data: bytes, columns: Collection[str], needed: Collection[str]) -> None:
        self._problems: list[str] = []
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ListError(
                [f"The file is not UTF-8, at byte {error.start + 1:,}: save it as UTF-8."]
            ) from None
        heading = text.partition("\n")[0]
        delimiter = max(_DELIMITERS, key=heading.count)
        self._rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        header = next(self._rows, [])
        self._names = [name.strip().lower() for name in header]
        for name in needed:
            if name not in self._names:
                close = get_close_matches(name, self._names, n=1, cutoff=0.6)
                meant = f": did you mean {name} by {close[0]!a}?" if close else "."
                self._problems.append(
                    f"Line 1 has no column {name}; known are {', '.join(columns)}{meant}"
                )
        self._columns = [name if name in columns else "" for name in self._names]
        self.fail_if_wrong()

    def rows(self) -> Iterator[tuple[int, dict[str, str]]]:
        """Each row with the number of its last line; a column that is absent is empty."""
        absent = dict.fromkeys((name for name in self._columns if name), "")
        try:
            for row in self._rows:
                if not any(map(str.strip, row)):
                    continue
                if len(row) != len(self._columns):
                    self.wrong(
                        self._rows.line_num,
                        f"there are {len(row)} columns, and {len(self._columns)} in line 1",
                    )
                    continue
                cells = zip(self._columns, map(str.strip, row), strict=True)
                yield self._rows.line_num, absent | {name: cell for name, cell in cells if name}
        except csv.Error as error:
            self.wrong(self._rows.line_num, f"the row cannot be read ({error})")

    def has(self, column: str) -> bool:
        """Whether the file has it."""
        return column in self._columns

    def wrong(self, line: int, told: str) -> None:
        """Note a problem; `told` has no full stop."""
        self._problems.append(f"Line {line}: {told}.")

    def fail_if_wrong(self) -> None:
        """Raise what was noted."""
        if self._problems:
            more = len(self._problems) - _TOLD
            rest = [f"… and {more:,} more."] if more > 0 else []
            raise ListError(self._problems[:_TOLD] + rest)
