"""What `python -m bench.fold` measures can be measured."""

import pytest

from bench.fold import in_binary_mode, parts, records, whole


@pytest.mark.parametrize("mode", ["structured", "binary"])
def test_each_step_of_the_fold_takes_some_time(mode: str) -> None:
    log = records(400) if mode == "structured" else in_binary_mode(records(400))

    assert all(cost > 0 for cost in whole(log, 100, rounds=1)[:2])
    assert all(cost > 0 for cost in parts(log, 100).values())
