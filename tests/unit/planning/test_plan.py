"""`onhand plan`: figures that the code and the documents have too, and a model that is sound."""

from __future__ import annotations

import json
import shlex

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from app import descriptors
from app.commands import cli
from app.config import Settings
from app.planning import constants
from app.planning.commands import size
from app.planning.model import ExpectedLoad, limits, plan
from core.window import _STORED
from dev.readme.documents import read
from dev.readme.running import is_as_expected
from dev.workers import ROOT
from tables.groupcommit import MAX_TRANSACTIONS_PER_S
from tables.home.rocks import _BELIEVED
from web.cluster.heartbeats import Claim, Heartbeat, bytes_of
from web.cluster.members import INTERVAL_S

PAGE = ROOT / "docs/scale.md"
LOADS = st.builds(
    ExpectedLoad,
    events_per_s=st.integers(1, 10**6),
    rows=st.integers(1, 10**9),
    days=st.integers(1, 1000),
    standbys=st.integers(0, 3),
    replication=st.integers(1, 3),
)
BUSY = ExpectedLoad(events_per_s=20_000, rows=10_000_000)


def run(*words: str) -> Result:
    result = CliRunner().invoke(cli, ["plan", *words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


# ---- the figures


def test_what_the_code_says_is_what_the_model_takes() -> None:
    claim = Claim(
        partition=100, state="standby", role="standby", epoch=10, handled=10**9,
        position=",".join(f"{role}-100@{10**8}" for role in Settings().source_topics),
        lag_events=10, as_of_ms=10**12, standby_lag_records=100,
    )  # fmt: skip
    beat = Heartbeat(1, 2, "0.2.0", "http://stock-12.internal:6066", "a" * 32, 10**6, window=10**5)
    one, bare = (len(bytes_of(replace(beat, claims=claims))) for claims in ((claim,), ()))

    assert constants.COMMITS_PER_S.value == MAX_TRANSACTIONS_PER_S
    assert constants.BEATS_PER_S.value == 1 / INTERVAL_S
    assert constants.STORE_FILES.value == int(_BELIEVED["max_open_files"])
    assert constants.OPEN_FILES.value == descriptors.WANTED
    assert constants.WINDOW_ENTRY.value == _STORED.itemsize
    assert constants.WINDOW.value == Settings().dedup_window
    assert constants.COMMIT_INTERVAL_S.value == Settings().commit_interval_ms / 1000
    assert constants.SESSION_S.value == Settings().session_timeout_ms / 1000
    assert constants.BEAT_BYTES.value == pytest.approx(bare, rel=0.2)
    assert constants.CLAIM_BYTES.value == pytest.approx(one - bare, rel=0.2)


@pytest.mark.parametrize("constant", constants.CONSTANTS, ids=lambda constant: constant.what)
def test_a_figure_that_was_measured_stands_where_the_model_says(
    constant: constants.Constant,
) -> None:
    path = constant.where.partition(":")[0].partition(",")[0]
    if constant.basis is not constants.Basis.CODE:
        said = (ROOT / path).read_text(encoding="utf-8")
        if constant.basis is constants.Basis.MEASURED and constant.value >= 1:
            assert f"{constant.value:,g}" in said.replace("\n", " "), constant
    elif "/" in path:
        assert (ROOT / path).exists()


def test_the_fitted_figures_give_what_was_measured() -> None:
    # docs/performance.md, one worker of 12 partitions: % of a core, idle and beside two loads.
    for events_per_s, cores in ((1_000, 0.108), (20_000, 0.264)):
        load = ExpectedLoad(events_per_s=events_per_s, rows=10**5, partitions=12, workers=1)
        assert plan(load).worker_cpu == pytest.approx(cores, rel=0.02)


# ---- the model


@given(LOADS)
def test_what_is_left_to_the_model_passes_no_limit(load: ExpectedLoad) -> None:
    planned = plan(load)

    assert limits(load, planned)[0].used <= 1
    assert planned.workers >= load.standbys + 2
    assert planned.partitions >= 4 * planned.workers


@given(LOADS, st.integers(1, 60), st.integers(1, 60))
def test_more_workers_leave_each_of_them_less(load: ExpectedLoad, few: int, more: int) -> None:
    fewer, many = (
        plan(replace(load, workers=count, partitions=960)) for count in sorted((few, few + more))
    )

    assert many.worker_cpu <= fewer.worker_cpu
    assert many.worker_memory_mb <= fewer.worker_memory_mb
    assert many.commit_interval_s <= fewer.commit_interval_s
    assert many.rebuild_s < fewer.rebuild_s


@given(LOADS)
def test_all_partitions_and_their_standbys_are_somewhere(load: ExpectedLoad) -> None:
    planned = plan(load)

    assert planned.owned * planned.workers >= planned.partitions
    standbys = min(load.standbys, planned.workers - 1)
    assert planned.followed * planned.workers >= planned.partitions * standbys


def test_one_worker_has_no_standby() -> None:
    assert plan(ExpectedLoad(events_per_s=1, rows=1, workers=1)).followed == 0


# ---- the command


def test_the_command_says_sizes_and_where_each_figure_is_from() -> None:
    result = run("--events-per-s", "1000", "--skus", "50000", "--locations", "200")

    assert result.exit_code == 0, result.output
    for constant in constants.CONSTANTS:
        assert constant.where in result.output
    assert "each owns 16 and follows 16" in result.output


def test_a_limit_that_would_be_passed_is_said_with_what_to_do_and_is_the_exit_code() -> None:
    words = ("--events-per-s", "20000", "--skus", "50000", "--locations", "200")

    result = run(*words, "--workers", "3", "--partitions", "1000")

    assert result.exit_code == 1
    assert "commits of a worker: PASSED. Beyond it: a fact waits" in result.output
    assert "open files of a worker: PASSED" in result.output


def test_programs_get_the_same_as_json() -> None:
    words = ("--events-per-s", "1000", "--skus", "10", "--locations", "3", "--rows", "25")

    told = json.loads(run(*words, "--json").output)

    assert told["load"]["rows"] == 25
    assert told["plan"]["workers"] == 3
    assert len(told["constants"]) == len(constants.CONSTANTS)
    assert told["limits"][0]["used"] >= told["limits"][-1]["used"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--skus", "1", "--locations", "1"), "Missing option '--events-per-s'"),
        (("--events-per-s", "0", "--skus", "1", "--locations", "1"), "0 is not in the range"),
        (
            ("--events-per-s", "1", "--skus", "1", "--locations", "1", "--workers", "9",
             "--partitions", "8"),
            "9 workers cannot share 8 partitions",
        ),
    ],
)  # fmt: skip
def test_what_makes_no_plan_is_refused_in_a_sentence(words: tuple[str, ...], said: str) -> None:
    result = run(*words)

    assert result.exit_code == 2
    assert said in result.output


def test_bytes_are_said_as_people_say_them() -> None:
    assert [size(n) for n in (0, 999, 1000, 1_230_000, 2e15, 5e18)] == [
        "0 B", "999 B", "1 kB", "1.23 MB", "2 PB", "5,000 PB",
    ]  # fmt: skip


# ---- docs/scale.md


def test_the_page_shows_what_the_command_says() -> None:
    blocks = [block for block in read(ROOT, "docs/scale.md").blocks if block.language == "sh"]
    for block in blocks:
        command, *words = shlex.split(block.text)
        assert command == "onhand"
        assert block.expected is not None
        output = CliRunner().invoke(cli, words).output
        assert is_as_expected(block.expected, output), output
    assert blocks


def test_the_page_has_the_table_that_the_model_makes() -> None:
    lines = []
    for workers in (3, 12, 48):
        for partitions in (48, 192, 1000):
            load = replace(BUSY, workers=workers, partitions=partitions)
            p = plan(load)
            nearest = limits(load, p)[0]
            lines.append(
                f"| {workers} | {p.partitions:,} | {p.owned} + {p.followed} | {p.worker_cpu:.2f} "
                f"| {size(p.worker_memory_mb * 1e6)} | {p.worker_files:,} "
                f"| {p.commit_interval_s:.2f} s | {p.commits_per_s:,.0f} "
                f"| {size(p.beats_bytes_per_s)} | {p.take_over_s:.1f} s | {p.placing_cpu_s:.1f} s "
                f"| {nearest.what}, {nearest.used:.2f} |"
            )

    assert "\n".join(lines) in PAGE.read_text(encoding="utf-8"), "\n".join(lines)


def test_more_rows_than_there_can_be_are_refused() -> None:
    load = ("--events-per-s", "9", "--skus", "10", "--locations", "10")

    assert run(*load, "--rows", "100").exit_code == 0
    refused = run(*load, "--rows", "101")

    assert refused.exit_code == 2
    assert "make 100 rows at most, not 101" in refused.output
