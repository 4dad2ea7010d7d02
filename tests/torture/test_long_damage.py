"""The damage tests in full."""

import random
from pathlib import Path

import pytest

from tests.damage import Life, lived_on


@pytest.mark.parametrize("seed", range(10))
def test_two_hundred_damaged_stores_give_what_they_once_held_or_say_so(
    tmp_path: Path, seed: int
) -> None:
    life = Life(tmp_path, random.Random(seed))
    for n in range(20):
        lived_on(life, tmp_path / f"d{n}", 1000 * seed + n)
