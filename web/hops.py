"""How one worker asks another: the public calls, with headers that say so.

`Onhand-Hop: 1`: answer from your own rows or not at all. `Onhand-Hop-Version`: only if
you are of this version. `Onhand-Partitions`: a list of these partitions; the others count
as missing. Whoever sends them gets no wrong answer, only fewer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from urllib.parse import urlencode

from web.peers import PeerAnswer

HOP = "Onhand-Hop"
HOP_VERSION = "Onhand-Hop-Version"
PARTITIONS = "Onhand-Partitions"
#: In the answer to a list or lookup: partitions that had not reached `min_position`.
NOT_CAUGHT_UP = "Onhand-Not-Caught-Up"


def headers(version: int) -> str:
    """The two lines that every request to another worker has."""
    return f"{HOP}: 1\r\n{HOP_VERSION}: {version}\r\n"


def is_for_another_version(given: Mapping[str, str], version: int) -> bool:
    """Whether another worker took this one for one of another version."""
    return given.get(HOP_VERSION, str(version)) != str(version)


def waiting(min_position: str, wait_s: float) -> dict[str, str]:
    """Query parameters that ask for at least this position, if any."""
    if not min_position:
        return {}
    return {"min_position": min_position, "wait_ms": str(max(0, int(wait_s * 1000)))}


def target_at_least(path: str, min_position: str, wait_s: float) -> str:
    """A path with `waiting`; positions need no escape: topics have letters, digits, `._-`."""
    if not min_position:
        return path
    return f"{path}?min_position={min_position}&wait_ms={max(0, int(wait_s * 1000))}"


def target(path: str, parameters: Mapping[str, str]) -> str:
    """Path and query; positions stay readable in logs."""
    return f"{path}?{urlencode(parameters, safe='@,:')}" if parameters else path


def numbers(partitions: Iterable[int]) -> str:
    """Partition numbers as a header's value."""
    return ",".join(map(str, partitions))


def not_caught_up(answer: PeerAnswer) -> set[int]:
    """Partitions that the other worker named as not caught up."""
    value = answer.header(NOT_CAUGHT_UP.lower()) or ""
    return {int(part) for part in value.split(",") if part.isdigit()}
