"""Two ways in turn: now the one first, now the other."""

from collections.abc import Callable
from statistics import median
from typing import TypeVar

Way = TypeVar("Way")


def row_of_pairs(
    name: str, way: Way, usual: Way, us: Callable[[Way], float], pairs: int, digits: int
) -> str:
    """Of a table: medians in µs, their ratio, and between what half of the ratios lie."""
    found = []
    for number in range(pairs):
        order = (usual, way) if number % 2 else (way, usual)
        took = {id(each): us(each) for each in order}
        found.append((took[id(way)], took[id(usual)]))
    ratios = sorted(mine / theirs for mine, theirs in found)
    mine, theirs = (median(each) for each in zip(*found, strict=True))
    quarter = len(ratios) // 4
    half = f"{ratios[quarter]:.{digits}f}–{ratios[-1 - quarter]:.{digits}f}"
    ratio = f"{median(ratios):.{digits}f} ×"
    return f"| {name} | {mine:.{digits - 1}f} | {theirs:.{digits - 1}f} | {ratio} | {half} |"
