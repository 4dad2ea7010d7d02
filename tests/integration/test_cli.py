import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar

import pytest

from app.config import PREFIX
from dev.kafka import Kafka, free_port

ROOT = Path(__file__).parents[2]
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
    "updated_at": "2026-11-23T10:00:00.123Z",
}
FRESHNESS = {
    "role": "active",
    "worker": "http://10.0.0.7:6066",
    "partition": 3,
    "position": "sales-3@1234,shipments-3@88",
    "lag_events": 1,
    "as_of": "2026-11-23T10:00:00.180Z",
}
OTHER = {**ROW, "location": "dc-1", "on_hand": -2, "received": 0, "sold": 2, "returned": 0}
SUMS = {**ROW, "on_hand": 1006, "sold": 5, "events": 8}


class Worker(BaseHTTPRequestHandler):
    """Answers as the API does, and remembers what it was asked."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path.startswith("/v1/inventory/SKU%2F42%20%C3%A9/"):
            status, body = 200, {**ROW, "freshness": FRESHNESS}
        elif self.path.startswith("/v1/inventory/SKU%2F42%20%C3%A9"):
            sums = {name: value for name, value in SUMS.items() if name != "location"}
            status, body = 200, {**sums, "items": [OTHER, ROW], "freshness": FRESHNESS}
        elif self.path.startswith("/v1/inventory/loading"):
            status = 503
            body = {"title": "The worker is not ready", "detail": "It is restoring partition 3."}
        else:
            status, body = 404, {"title": "No event names this SKU", "detail": "SKU-9"}
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture(scope="module")
def worker() -> Iterator[str]:
    """The URL of something that answers as a worker does."""
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
        "2026-11-23T10:00:00.123Z\n"
        "active http://10.0.0.7:6066, partition 3, 1 event behind as of 2026-11-23T10:00:00.180Z "
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
        "total": 0, "counts": [], "recent": [],
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
