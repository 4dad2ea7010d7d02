"""What `onhand` asks a worker, and how it shows the answer."""

import json
import signal
import socket
import subprocess
import threading

import pytest

from app.commands.stock import list_command, stock
from dev.kafka import free_port
from dev.workers import ROOT
from tests.support.cluster.cli import (
    FRESHNESS,
    OTHER,
    ROW,
    Worker,
    on_a_terminal,
    onhand,
)
from web.history.asking import PAST
from web.reads.parameters import LIST, READ


def test_a_row_is_a_table_for_people_with_who_says_so(worker: str) -> None:
    done = onhand("stock", "SKU/42 é", "store-007", "--url", worker)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "SKU/42 é\n"
        "LOCATION   ON HAND  RECEIVED  DISPATCHED  SOLD  RETURNED  ADJUSTED  EVENTS  UPDATED\n"
        "store-007    1,008     1,010           0     3         1         0       4  "
        "5 h ago\n"
        "active http://10.0.0.7:6066, partition 3, 1 event behind as of 3 min ago "
        "(sales-3@1234,shipments-3@88)\n"
    )


def test_a_sku_shows_its_locations_and_their_sums(worker: str) -> None:
    lines = onhand("stock", "SKU/42 é", URL=worker).stdout.splitlines()

    assert [line.split()[:2] for line in lines[2:5]] == [
        ["dc-1", "-2"],
        ["store-007", "1,008"],
        ["all", "1,006"],
    ]


def test_an_option_beats_its_variable(worker: str) -> None:
    assert onhand("stock", "SKU/42 é", "--url", worker, URL="http://127.0.0.1:1").returncode == 0


def test_a_position_to_wait_for_is_passed_on(worker: str) -> None:
    onhand("stock", "SKU/42 é", "store-007", "--url", worker, "--min-position", "sales-3@1,x-0@2")

    assert Worker.asked[-1].endswith("store-007?min_position=sales-3%401%2Cx-0%402")


def test_whatever_may_be_demanded_of_an_answer_is_an_option(worker: str) -> None:
    demands = ("--max-lag", "0", "--wait-ms", "5", "--as-of", "2026-11-23T10:00:00Z")
    more = ("--clock", "occurred", "--version", "2", "--at-position", "x-0@1")
    wanted = {
        *("wait_ms=5", "max_lag_events=0", "version=2", "as_of=2026-11-23T10%3A00%3A00Z"),
        *("clock=occurred", "at_position=x-0%401"),
    }

    onhand("stock", "SKU/42 é", "store-007", "--url", worker, *demands, *more)
    assert set(Worker.asked[-1].partition("/store-007?")[2].split("&")) == wanted
    onhand("list", "--url", worker, "--limit", "1", *demands, *more)
    assert set(Worker.asked[-1].partition("?")[2].split("&")) == {*wanted, "limit=1"}


def test_every_parameter_of_a_read_is_an_option() -> None:
    demanded = {parameter.name for parameter in stock.params}

    assert {*READ, *PAST} <= demanded
    assert {*LIST, *PAST} - {"cursor", "partial"} <= {each.name for each in list_command.params}


def test_json_is_the_answer_as_it_came_also_when_it_is_no(worker: str) -> None:
    found = onhand("stock", "SKU/42 é", "store-007", "--url", worker, "--json")
    assert json.loads(found.stdout) == {**ROW, "freshness": FRESHNESS}

    unknown = onhand("stock", "SKU-9", "--url", worker, "--json")
    assert json.loads(unknown.stdout)["detail"] == "SKU-9"
    assert unknown.returncode == 1


def test_of_several_workers_the_next_is_asked_where_one_does_not_answer(worker: str) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"

    repeated = onhand("stock", "SKU/42 é", "--url", nowhere, "--url", worker)
    assert (repeated.returncode, repeated.stderr) == (0, "")
    joined = onhand("stock", "SKU/42 é", "--url", f"{nowhere},{worker}")
    assert joined.returncode == 0

    none = onhand("stock", "SKU/42 é", "--url", f"{nowhere},http://127.0.0.1:1")
    assert none.returncode == 2
    assert nowhere in none.stderr
    assert "127.0.0.1:1 " in none.stderr


def test_colours_are_for_a_terminal_and_only_where_something_is_unusual(worker: str) -> None:
    plain = onhand("stock", "SKU/42 é", "--url", worker)
    assert "\x1b" not in plain.stdout

    shown = on_a_terminal("stock", "SKU/42 é", "--url", worker)
    assert "\x1b[31m" in next(line for line in shown if line.startswith("dc-1"))  # -2: red
    assert not [line for line in shown if "\x1b" in line and not line.startswith("dc-1")]
    assert "\x1b" not in "".join(on_a_terminal("stock", "SKU/42 é", "--url", worker, NO_COLOR="1"))

    FRESHNESS["role"] = "standby"
    try:
        last = on_a_terminal("stock", "SKU/42 é", "store-007", "--url", worker)[-1]
    finally:
        FRESHNESS["role"] = "active"
    assert last.startswith("\x1b[33mstandby ")


def test_a_list_goes_from_page_to_page_up_to_its_limit(worker: str) -> None:
    done = onhand("list", "--below", "5", "--sku-prefix", "S K", "--url", worker)
    assert [line.split()[2] for line in done.stdout.splitlines()[1:]] == ["dc-1", "store-007"]
    assert "on_hand_below=5" in Worker.asked[-2]
    assert "sku_prefix=S+K" in Worker.asked[-2]
    assert "cursor=next" in Worker.asked[-1]

    first = onhand("list", "--limit", "1", "--url", worker).stdout
    assert first.endswith("There are more: these are the first 1 (--limit).\n")
    found = json.loads(onhand("list", "--json", "--url", worker).stdout)
    assert found["items"] == [OTHER, ROW]


def test_a_fact_is_posted_with_an_id_that_is_told(worker: str) -> None:
    done = onhand("post", "sale", "SKU-1", "store-007", "2", "--source", "till-3", "--url", worker)

    assert (done.returncode, done.stderr) == (0, "")
    assert Worker.asked[-1] == "/v1/sales"
    fact = Worker.posted[-1]
    assert done.stdout.splitlines()[0] == f"Appended as sales-3@7, id {fact['id']} of till-3."
    assert fact == {
        "source": "till-3", "id": fact["id"], "sku": "SKU-1", "location": "store-007", "quantity": 2
    }  # fmt: skip
    refused = onhand("post", "sale", "SKU-1", "s1", "2000000000", "--id", "7", "--url", worker)
    assert refused.returncode == 1
    assert refused.stderr == "The request is wrong: quantity: too large.\n"
    nobody = onhand("post", "sale", "A", "s1", "1", "--id", "7", "--url", "http://127.0.0.1:1")
    assert nobody.returncode == 2
    assert "http://127.0.0.1:1 (connection refused): start one" in nobody.stderr
    assert nobody.stderr.endswith("Nothing was appended.\n")


def test_a_misspelt_reason_is_not_taken_for_no_dead_letters() -> None:
    done = onhand("dlq", "list", "--reason", "misroutet")

    assert done.returncode == 2
    assert done.stderr.startswith("'misroutet' is no reason: use one of not_json, ")
    assert "misrouted" in done.stderr


def test_what_is_wrong_is_told_once_and_whole(worker: str) -> None:
    done = onhand("stock", "..", "--url", worker)

    assert done.stderr == "The request is not valid: sku must not be . or ...\n"


def test_what_was_sent_and_not_answered_may_be_in_the_log() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"

        def hang_up() -> None:
            connection, _ = listening.accept()
            connection.recv(1)
            connection.close()

        threading.Thread(target=hang_up, daemon=True).start()
        unknown = onhand("post", "sale", "A", "s1", "1", "--id", "7", "--url", url)

    assert unknown.returncode == 2
    assert unknown.stderr.endswith("repeat it with --id 7.\n")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://127.0.0.1:1", "connection refused"),
        ("http://127.0.0.1:x", "that is no address"),
        ("http://no-such-host.invalid", "name or service not known"),
    ],
)
def test_why_a_worker_is_not_reached_is_told_in_words(url: str, why: str) -> None:
    done = onhand("stock", "A", "--url", url)

    assert done.returncode == 2
    assert f"{url} (" in done.stderr
    assert "Errno" not in done.stderr
    # A machine without a name server has words of its own for the last one.
    assert why in done.stderr or url.endswith(".invalid")


def test_an_address_with_a_space_is_no_address_of_a_worker() -> None:
    done = onhand("stock", "A", "--url", "http://127.0.0.1:1/a b")

    assert done.returncode == 2
    assert done.stderr.startswith("http://127.0.0.1:1/a b is no address of a worker: use http")


def test_an_adjustment_is_a_difference_and_a_plus_after_a_count_is_shown(worker: str) -> None:
    minus = onhand("adjust", "A", "s1", "-2", "--reason", "count", "--url", worker)
    assert (minus.returncode, minus.stderr) == (0, "")
    assert (Worker.posted[-1]["quantity"], Worker.posted[-1]["reason"]) == (-2, "count")

    sku = ("SKU/42 é", "store-007")
    plus = onhand("adjust", *sku, "98", "--reason", "count", "--url", worker)
    assert plus.returncode == 0
    assert "1,008 on hand become 1,106" in plus.stderr
    assert onhand("adjust", "A", "s1", "0", "--reason", "count", "--url", worker).returncode == 0
    assert onhand("adjust", "A", "s1", "1", "--url", worker).returncode == 2


def test_status_tells_of_workers_and_of_partitions_that_want_attention(worker: str) -> None:
    done = onhand("status", "--url", worker)

    assert (done.returncode, done.stderr) == (1, "")
    lines = done.stdout.splitlines()
    assert lines[0] == (
        "Version 1: 0 workers, 1 of 2 partitions have an owner, 4 events not counted yet."
    )
    assert "silent for 2 min" in lines[2]
    assert lines[3:] == [
        "Partition 1 has no owner: standby http://10.0.0.7:6066 answers meanwhile.",
        "Partition 1 is restoring at http://b, 50 of 200 records (25%).",
    ]
    found = json.loads(onhand("status", "--url", worker, "--json").stdout)
    assert found["workers"][0]["refused"] is None


def test_a_watch_goes_on_until_ctrl_c_and_ends_without_a_word(worker: str) -> None:
    command = [str(ROOT / ".venv" / "bin" / "onhand"), "status", "--watch", "--url", worker]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # Tests in the background of a shell ignore Ctrl-C, and so would their children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as watching:
        assert watching.stdout is not None
        seen = [line for line, _ in zip(watching.stdout, range(8), strict=False)]
        watching.send_signal(signal.SIGINT)
        try:
            assert watching.communicate(timeout=30)[1] == b""
        finally:
            watching.kill()
        assert watching.returncode == 0
    assert len([line for line in seen if line.startswith(b"Version 1")]) >= 2
