"""Damage on disk costs one partition a restore, and nobody a row, an answer or a worker."""

from pathlib import Path

from dev.kafka import Kafka
from tests.support.breaking.moments import MOMENTS, Case, Stock

#: Each moment three times.
SEEDS = 3 * len(MOMENTS)


async def test_damage_at_any_moment_gives_right_rows_or_an_honest_refusal_and_ends_nobody(
    kafka: Kafka, tmp_path: Path
) -> None:
    stock = Stock(kafka.bootstrap)
    lived = await stock.lived(tmp_path)
    given_up = 0
    for seed in range(SEEDS):
        case = Case(stock, tmp_path / f"{seed}", seed)
        await case.run(lived)
        given_up += case.given_up

    assert given_up >= SEEDS // 3  # much of the damage was met
