"""What /openapi.json says, held against real workers: its examples, and whatever it allows."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from dev.kafka import Kafka
from tests.support.examples import Answers, schemathesis, two_workers
from tests.support.workers import Cluster
from web.calls import ANSWERS, CALLS

#: As much as fits into it is asked; tests/torture asks all.
SECONDS = 20


@pytest.fixture
async def workers(kafka: Kafka, tmp_path: Path) -> AsyncIterator[tuple[Cluster, Answers]]:
    async with two_workers(kafka.bootstrap, tmp_path) as both:
        yield both


def shape(value: Any) -> Any:
    """Names and kinds, without values; of a list its first item."""
    if isinstance(value, dict):
        return {name: shape(one) for name, one in value.items()}
    if isinstance(value, list):
        return [shape(one) for one in value[:1]]
    return type(value).__name__


async def test_answers_in_the_document_are_those_of_a_worker(
    workers: tuple[Cluster, Answers],
) -> None:
    _, worker = workers
    answers = await worker.of_every_call()

    assert answers.keys() == {call.id for call in CALLS.values()}
    for name, answer in answers.items():
        if isinstance(answer, str):
            shown = {line.split("{")[0].split(" ")[0] for line in ANSWERS[name].splitlines()}
            assert shown <= {line.split("{")[0].split(" ")[0] for line in answer.splitlines()}
        else:
            assert shape(answer) == shape(ANSWERS[name]), name


async def test_whatever_the_document_allows_or_forbids_is_answered_as_it_says(
    workers: tuple[Cluster, Answers], tmp_path: Path
) -> None:
    cluster, worker = workers
    await worker.of_every_call()

    # The same requests in every run; new ones are tried in tests/torture.
    pace = ("--generation-deterministic", "--max-time", str(SECONDS))
    passed = await schemathesis(cluster, worker, tmp_path, *pace)

    assert passed > 10
