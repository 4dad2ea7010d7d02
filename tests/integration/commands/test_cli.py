import json
import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

import click
import pytest

from app.commands import cli
from app.config import PREFIX, Settings
from dev.kafka import Kafka, free_port
from dev.workers import ROOT


def moment_ago(seconds: float) -> str:
    return datetime.fromtimestamp(time.time() - seconds, UTC).isoformat()


ROW = {
    "sku": "SKU/42 é",
    "location": "store-007",
    "on_hand": 1008,
    "received": 1010,
    "dispatched": 0,
    "sold": 3,
    "returned": 1,
    "adjusted": 0,
    "events": 4,
    "checksum": "00000001c3a9f2e1",
    "updated_at": "",
}
FRESHNESS = {
    "role": "active",
    "worker": "http://10.0.0.7:6066",
    "partition": 3,
    "position": "sales-3@1234,shipments-3@88",
    "lag_events": 1,
    "as_of": "",
}
OTHER = {**ROW, "location": "dc-1", "on_hand": -2, "received": 0, "sold": 2, "returned": 0}
SUMS = {**ROW, "on_hand": 1006, "sold": 5, "events": 8}


HOLDER = {"worker": "http://10.0.0.7:6066", "role": "active", "position": "", "lag_events": 2}
CLUSTER = {
    "version": 1,
    "workers": [
        {
            "url": "http://10.0.0.7:6066", "version": 1, "build": "0.1.0", "state": "running",
            "alive": False, "this": False, "silent_s": 130.0, "active": 1, "standby": 1,
        }
    ],
    "partitions": [
        {"partition": 0, "active": HOLDER, "standbys": [], "loading": []},
        {"partition": 1, "active": None, "standbys": [{**HOLDER, "role": "standby"}], "loading": [
            {"worker": "http://b", "state": "restoring", "restore": {"done": 50, "total": 200}},
        ]},
    ],
}  # fmt: skip


class Worker(BaseHTTPRequestHandler):
    """Answers as the API does, and remembers what it was asked."""

    asked: ClassVar[list[str]] = []
    posted: ClassVar[list[dict[str, object]]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path.startswith("/v1/inventory/SKU%2F42%20%C3%A9/"):
            status, body = 200, {**ROW, "freshness": FRESHNESS}
        elif self.path.startswith("/v1/inventory/SKU%2F42%20%C3%A9"):
            sums = {name: value for name, value in SUMS.items() if name != "location"}
            status, body = 200, {**sums, "items": [OTHER, ROW], "freshness": FRESHNESS}
        elif self.path.startswith("/v1/inventory?"):
            pages = {"": ([OTHER], "next"), "next": ([ROW], None)}
            wanted = parse_qs(urlsplit(self.path).query)
            items, cursor = pages[wanted.get("cursor", [""])[0]]
            status, body = 200, {"items": items, "next_cursor": cursor, "freshness": FRESHNESS}
        elif self.path == "/v1/cluster":
            status, body = 200, CLUSTER
        elif self.path.startswith("/v1/inventory/.."):
            status = 400
            body = {
                "title": "The request is not valid",
                "detail": "sku: must not be . or ..",
                "errors": [{"parameter": "sku", "detail": "must not be . or .."}],
            }
        elif self.path.startswith("/v1/inventory/loading"):
            status = 503
            body = {"title": "The worker is not ready", "detail": "It is restoring partition 3."}
        else:
            status, body = 404, {"title": "No event names this SKU", "detail": "SKU-9"}
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def do_POST(self) -> None:
        self.asked.append(self.path)
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.posted.append(body)
        refused = body["quantity"] > 10**9
        answer: object = {"accepted": 1, "position": "sales-3@7"}
        if refused:
            answer = {
                "title": "The request is wrong",
                "detail": "Nothing was appended: 1 of 1 lines are bad: quantity: too large.",
                "errors": [{"line": 1, "detail": "quantity: too large."}],
            }
        self.send_response(400 if refused else 202)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture(scope="module")
def worker() -> Iterator[str]:
    """The URL of something that answers as a worker does."""
    # By now, not by when the file was read: a long run may lie between.
    FRESHNESS["as_of"] = moment_ago(200)
    for row in (ROW, OTHER, SUMS):
        row["updated_at"] = moment_ago(5 * 3600 + 30)
    with ThreadingHTTPServer(("127.0.0.1", 0), Worker) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def onhand(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    environment = kept | {PREFIX + name: value for name, value in settings.items()}
    return subprocess.run(
        [ROOT / ".venv" / "bin" / "onhand", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


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


def on_a_terminal(*arguments: str, **variables: str) -> list[str]:
    """What the command prints where its output is a terminal."""
    ours, theirs = pty.openpty()
    subprocess.run(
        [ROOT / ".venv" / "bin" / "onhand", *arguments],
        env={**os.environ, "TERM": "xterm", **variables},
        stdout=theirs,
        timeout=60,
        check=False,
    )
    os.close(theirs)
    said = b""
    with suppress(OSError):  # the end of a terminal
        while data := os.read(ours, 10_000):
            said += data
    os.close(ours)
    return said.decode().replace("\r", "").splitlines()


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
        ("http://127.0.0.1:1/a b", "that is no address"),
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
        "Version 1: 0 workers, 1 of 2 partitions have an owner, 2 events not counted yet."
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


def test_settings_are_shown_with_where_they_come_from_and_without_passwords() -> None:
    done = onhand(
        "settings", KAFKA_SECURITY_PROTOCOL="SASL_SSL", KAFKA_SASL_USERNAME="u",
        KAFKA_SASL_PASSWORD="secret-word",
    )  # fmt: skip
    assert done.returncode == 0
    assert "secret-word" not in done.stdout
    shown = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()}
    assert shown["ONHAND_KAFKA_SASL_USERNAME"] == ["u", "environment"]
    assert shown["ONHAND_PARTITIONS"] == ["12", "default"]
    listed = json.loads(onhand("settings", "--json").stdout)["settings"]
    assert [one["name"] for one in listed] == [
        PREFIX + field.upper() for field in Settings.__struct_fields__
    ]


def test_every_help_is_whole_sentences_and_every_option_is_explained() -> None:
    def walk(command: click.Command) -> Iterator[tuple[click.Command, str]]:
        context = click.Context(command, info_name=command.name, max_content_width=100)
        yield command, command.get_help(context)
        for one in command.commands.values() if isinstance(command, click.Group) else ():
            yield from walk(one)

    for command, said in walk(cli):
        assert "..." not in said.partition("Commands:")[2], said
        assert command.help is not None
        assert command.help.strip().endswith("."), command.name
        for parameter in command.params:
            if isinstance(parameter, click.Option) and parameter.name != "version":
                assert (parameter.help or "").endswith("."), (command.name, parameter.name)


def test_no_is_exit_code_1_and_one_sentence(worker: str) -> None:
    unknown = onhand("stock", "SKU-9", "--url", worker)
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert unknown.stderr == "No event names this SKU: SKU-9.\n"

    loading = onhand("stock", "loading", "--url", worker)
    assert loading.stderr == "The worker is not ready: It is restoring partition 3.\n"


def test_what_could_not_be_asked_is_exit_code_2_and_never_a_traceback() -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    for done in (
        onhand("stock", "SKU-9", "--url", f"http://{nowhere}"),
        onhand("stock", "SKU-9", "--url", "http://[::1"),
        onhand("topics", "check", "--kafka", nowhere),
        onhand("topics", "create", "--kafka", nowhere),
        onhand("dlq", "list", "--kafka", nowhere),
        onhand("dlq", "show", "sales-3@7", "--kafka", nowhere),
        onhand("dlq", "show", "nonsense"),
        onhand("dlq", "replay", "--kafka", nowhere),
        onhand("worker", WEB_HOST="0.0.0.0"),
    ):
        assert done.returncode == 2, done.args
        assert done.stdout == ""
        assert done.stderr.endswith(".\n")
        assert done.stderr.count("\n") == 1, done.stderr


def test_bad_settings_are_all_told_at_once() -> None:
    done = onhand("topics", "check", PARTITIONS="0", STORE="postgres")

    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "ONHAND_PARTITIONS is '0': use a whole number from 1 to 10000.",
        "ONHAND_STORE is 'postgres': use one of rocksdb, memory.",
    ]


def test_topics_and_dead_letters_from_the_shell(kafka: Kafka) -> None:
    name = f"n{uuid.uuid4().hex[:8]}"
    settings = {"KAFKA": kafka.bootstrap, "NAME": name, "TOPIC_PREFIX": f"{name}."}

    missing = onhand("topics", "check", **settings)
    assert (missing.returncode, missing.stdout) == (1, "")
    assert "run `onhand topics create`" in missing.stderr

    made = onhand("topics", "create", **settings)
    assert made.returncode == 0
    assert made.stdout.splitlines()[0].split() == f"{name}.shipments 12 partitions created".split()
    assert json.loads(onhand("topics", "create", "--json", **settings).stdout)["problems"] == []
    assert onhand("topics", "check", **settings).returncode == 0
    assert json.loads(onhand("topics", "check", "--json", **settings).stdout) == {"problems": []}

    other = onhand("topics", "check", "--partitions", "8", "--json", **settings)
    assert other.returncode == 1
    assert len(json.loads(other.stdout)["problems"]) == 3

    assert onhand("dlq", "list", **settings).stdout == "No dead letters.\n"
    assert json.loads(onhand("dlq", "list", "--json", **settings).stdout) == {
        "total": 0, "counts": [], "recent": [], "strange": 0,
    }  # fmt: skip
    assert onhand("dlq", "show", "sales-3@7", **settings).returncode == 1
    assert onhand("dlq", "replay", **settings).stdout == (
        "Sent 0 again; 0 were sent before; 0 have other reasons.\n"
    )


def cpu_seconds(code: str) -> float:
    """CPU time of a fresh Python that runs this: the least of five."""
    ends = "; import resource as r; u = r.getrusage(r.RUSAGE_SELF); print(u.ru_utime + u.ru_stime)"
    command = [sys.executable, "-c", code + ends]
    runs = (subprocess.run(command, capture_output=True, cwd=ROOT, check=True) for _ in range(5))
    return min(float(run.stdout) for run in runs)


@pytest.mark.parametrize(
    "modules",
    ["app.commands", "app.config, app.commands.ask", "app.commands, app.topics, app.replay"],
)
def test_every_command_but_the_worker_starts_in_0_3_s(modules: str) -> None:
    heavy = "import sys; sys.exit(any(m in sys.modules for m in ('faust', 'numpy', 'aiohttp')))"
    code = f"import {modules}; {heavy}"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
    # A quiet machine imports asyncio in 0.04 s of CPU time; a busy one stretches both.
    stretched = max(1, cpu_seconds("import asyncio") / 0.04)
    assert cpu_seconds(f"import {modules}") < 0.3 * stretched


def test_the_workers_help_is_ours_and_its_options_are_passed_on(tmp_path: Path) -> None:
    """`faust` is asked for its version only: what it runs is tested end to end."""
    said = onhand("worker", "--help").stdout
    assert "onhand worker" in said
    assert "ONHAND_DATA_DIR" in said
    assert "--web-port" not in said

    done = onhand("worker", "-p", "nonsense", DATA_DIR=str(tmp_path))
    assert done.returncode == 2
    assert "nonsense" in done.stderr


def test_traffic_says_where_it_can_run_if_there_is_no_checkout(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "app", tmp_path / "app")
    code = "import sys; from app.commands import main; sys.argv[1:] = ['traffic']; main()"
    # -S: no .pth file, so that dev/ is not found; the path of what it needs is given.
    site = Path(pytest.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{site}"},
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "needs the folder dev/" in done.stderr
