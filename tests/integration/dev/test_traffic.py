"""`onhand traffic` where things go wrong: it always ends, with sentences alone."""

import json
import signal
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import ClassVar

import pytest

from dev.kafka import free_port
from dev.workers import ROOT

ONHAND = str(ROOT / ".venv" / "bin" / "onhand")


class Troubled(BaseHTTPRequestHandler):
    """A worker that lives and takes no facts."""

    asked: ClassVar[Event] = Event()

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def do_POST(self) -> None:
        self.asked.set()
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(503)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def troubled() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Troubled) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def traffic(*arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [ONHAND, "traffic", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_a_port_or_a_kafka_that_is_dead_is_one_sentence() -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    for arguments in (("--url", f"http://{nowhere}"), ("--kafka", nowhere), ("--url", "http://[")):
        with traffic(*arguments) as run:
            out, error = run.communicate(timeout=60)
        assert run.returncode == 2, error
        assert out == ""
        assert error.count("\n") == 1, error
        assert error.endswith(".\n")


def test_seconds_and_ctrl_c_end_it_while_nothing_is_taken(troubled: str) -> None:
    Troubled.asked.clear()
    with traffic("--url", troubled, "--rate", "9000") as interrupted:
        assert Troubled.asked.wait(60)
        interrupted.send_signal(signal.SIGINT)
        out, error = interrupted.communicate(timeout=60)
        assert (interrupted.returncode, error) == (1, "")
        assert "whether they were appended is not known" in out
    with traffic("--url", troubled, "--seconds", "1", "--rate", "9000", "--json") as timed:
        said, error = timed.communicate(timeout=60)
        assert (timed.returncode, error) == (1, "")
        assert json.loads(said)["unanswered"] > 0


@pytest.mark.parametrize(
    "wrong", [("--skus", "0"), ("--rate", "-5"), ("--rate", "0"), ("--stores", "0")]
)
def test_what_makes_no_traffic_is_refused(wrong: tuple[str, str]) -> None:
    with traffic(*wrong, "--seconds", "1") as run:
        _, error = run.communicate(timeout=60)
    assert run.returncode == 2
    assert "is not in the range" in error
