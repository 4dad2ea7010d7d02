"""The `onhand` command of a checkout: that of the service, and what is for people who develop.

The service knows nothing of this module; it registers itself with the service's command.
"""

from __future__ import annotations

import sys
from typing import Any

import click

from app.commands import cli
from app.commands import main as service_main
from app.commands.running import as_json, kafka_option, settings_from

__all__ = ["cli", "main", "traffic"]


@click.command(short_help="Play a chain of shops.")
@kafka_option
@click.option(
    "--rate",
    default=500.0,
    show_default=True,
    type=click.FloatRange(0, 1_000_000, min_open=True),
    help="Records a second.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0, min_open=True),
    help="How long. Default: until Ctrl-C.",
)
@click.option("--seed", default=1, show_default=True, help="The same seed tells the same story.")
@click.option(
    "--skus",
    default=2_000,
    show_default=True,
    type=click.IntRange(1, 1_000_000),
    help="How many SKUs the chain sells.",
)
@click.option(
    "--stores",
    default=40,
    show_default=True,
    type=click.IntRange(1, 10_000),
    help="How many stores it has.",
)
@click.option("--url", help="Post to this worker, instead of appending to Kafka.")
@as_json
def traffic(
    rate: float,
    seconds: float | None,
    seed: int,
    skus: int,
    stores: int,
    url: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Send the facts of a believable chain of shops: late tills, returns, retries, rubbish."""
    from dev.traffic.sending import main as send

    settings = settings_from(**options)
    sys.exit(
        send(settings.kafka, settings.topic_prefix, rate, seconds, seed, skus, stores, url, as_json)
    )


cli.add_command(traffic)


def main() -> int:
    """Entry point of the checkout's `onhand`."""
    return service_main()
