"""What is wrong with a TOML file that somebody wrote, told at once: a sentence each, by line."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Any


class MapError(Exception):
    """A map that cannot be used; the message is one sentence for each problem, by line."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class MapReader:
    """Collects what is wrong while a map is read.

    Args:
        text: of the file.

    Raises:
        MapError: it is not TOML.
    """

    def __init__(self, text: str) -> None:
        text = text.removeprefix("\ufeff")  # as some editors begin a file
        try:
            self._document: Mapping[str, Any] = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise MapError([f"The map is not TOML: {error}. Mend that place."]) from None
        self._lines = text.splitlines()
        self._problems: list[str] = []

    def _table(self, name: str) -> Mapping[str, Any]:
        found = self._document.get(name, {})
        if isinstance(found, dict):
            return found
        self._wrong("", name, f"is a table: write [{name}] above its lines")
        return {}

    def _choice(self, name: str, kind: type[StrEnum]) -> str | None:
        found = self._document.get(name)
        if found is None or found in list(kind):
            return found
        self._wrong("", name, f"is {quoted(found)}: use one of {', '.join(kind)}")
        return None

    def _unknown(self, table: Mapping[str, Any], name: str, known: Collection[str]) -> None:
        for key in table:
            if key not in known:
                close = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
                meant = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}."
                where = f"[{name}] {key}" if name else key
                self._problems.append(f"{self._place_of(key, name)}{where} is not known: {meant}")

    def _wrong(self, table: str, key: str, told: str) -> None:
        where = f"[{table}] {key}" if table else key
        end = "" if told.endswith("?") else "."
        self._problems.append(f"{self._place_of(key, table)}{where} {told}{end}")

    def _place_of(self, key: str, table: str | None = None) -> str:
        """`Line 3: `, where a line of this table begins with the key; tomllib does not tell."""
        inside = ""
        for number, line in enumerate(self._lines, 1):
            bare = line.strip()
            if header := re.match(r"\[\s*([^\[\]]+?)\s*\]", bare):
                inside = header[1].replace(" ", "")
                if table == "" and inside == key:
                    return f"Line {number}: "
                if table and inside == f"{table}.{key}":
                    return f"Line {number}: "
            elif table in (None, inside) and (
                re.match(rf"[\"']?{re.escape(key)}[\"']?\s*[=.]", bare)
                or (table is None and key in bare)
            ):
                return f"Line {number}: "
        return ""


def quoted(value: Any) -> str:
    """As a sentence shows it: short, in ASCII."""
    text = str(value)
    return ascii(text if len(text) <= 60 else text[:57] + "...")
