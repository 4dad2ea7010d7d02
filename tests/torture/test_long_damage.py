"""The damage tests in full."""

import random
import shutil
from pathlib import Path

import pytest

from dev.kafka import Kafka
from tests.support.breaking.damage import Life, lived_on
from tests.support.breaking.moments import Case, Stock


@pytest.mark.parametrize("seed", range(10))
def test_two_hundred_damaged_stores_give_what_they_once_held_or_say_so(
    tmp_path: Path, seed: int
) -> None:
    life = Life(tmp_path, random.Random(seed))
    for n in range(20):
        lived_on(life, tmp_path / f"d{n}", 1000 * seed + n)


async def test_two_hundred_damages_at_any_moment_cost_nobody_a_row_or_a_worker(
    kafka: Kafka, tmp_path: Path
) -> None:
    stock = Stock(kafka.bootstrap)
    lived = await stock.lived(tmp_path)
    given_up = 0
    for seed in range(1000, 1200):
        case = Case(stock, tmp_path / f"{seed}", seed)
        await case.run(lived)
        given_up += case.given_up
        shutil.rmtree(case.folder)

    assert given_up > 60
