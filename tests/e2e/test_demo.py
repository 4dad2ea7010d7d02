"""`make demo`, as a visitor runs it."""

import json
import re
import signal
import subprocess
import sys
from urllib.request import Request, urlopen

import psutil

from app.config import PREFIX
from dev.kafka import Kafka
from dev.workers import ROOT, environment
from tests.support.breaking.kafka_tools import admin

DEMO = [sys.executable, "-m", "dev.demo"]


def processes_named_in(said: str) -> list[int]:
    return [int(pid) for pid in re.findall(r"pid (\d+)", said)]


def test_the_demo_kills_a_worker_and_finds_every_row_equal() -> None:
    done = subprocess.run(
        [*DEMO, "--seconds", "15"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "kill -9 worker a" in done.stdout
    assert len(re.findall(r"rows compared, [1-9][\d,]* equal, 0 differ", done.stdout)) == 2
    pids = processes_named_in(done.stdout)
    assert len(pids) >= 3
    assert not [pid for pid in pids if psutil.pid_exists(pid)]


def test_the_demo_plays_on_a_kafka_that_runs_and_leaves_it_as_it_was(kafka: Kafka) -> None:
    """Without Java on this machine."""
    before = set(admin(kafka.bootstrap).list_topics(timeout=60).topics)
    done = subprocess.run(
        [*DEMO, "--seconds", "8"],
        cwd=ROOT,
        env=environment({f"{PREFIX}KAFKA": kafka.bootstrap}) | {"PATH": "/nowhere"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert f"2/5 Kafka      at {kafka.bootstrap}, which ran already" in done.stdout
    assert len(re.findall(r"rows compared, [1-9][\d,]* equal, 0 differ", done.stdout)) == 2
    after = set(admin(kafka.bootstrap).list_topics(timeout=60).topics)
    assert not [topic for topic in after - before if topic.startswith("demo-")]
    groups = admin(kafka.bootstrap).list_consumer_groups().result(60).valid
    assert not [group.group_id for group in groups if group.group_id.startswith("demo-")]


def test_ctrl_c_stops_everything_that_the_demo_started() -> None:
    said = ""
    with subprocess.Popen([*DEMO], cwd=ROOT, stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            said += line
            if line.startswith("    Page"):
                break
        page = said.split()[-1]
        with urlopen(Request(page, headers={"Accept": "text/html"}), timeout=30) as answer:
            assert b"demo/panel.js" in answer.read()
        with urlopen(f"{page}v1/cluster", timeout=30) as answer:
            assert len(json.load(answer)["workers"]) == 2
        demo.send_signal(signal.SIGINT)
        said += demo.communicate(timeout=60)[0]

    assert demo.returncode == 0, said
    pids = processes_named_in(said)
    assert len(pids) >= 3
    assert not [pid for pid in pids if psutil.pid_exists(pid)]
