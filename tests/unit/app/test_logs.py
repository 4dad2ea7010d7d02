import json
import logging
import logging.config
import tomllib
from pathlib import Path

import pytest
from aiokafka.errors import UnknownMemberIdError

from app.logs import _OURS, Bounded, Ordinary, configuration


def logged(kind: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Set up as a worker does, say four things, put all back."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        logging.config.dictConfig(configuration("INFO", kind))
        logging.getLogger("app").info("Partition %d: %s", 7, "é\nok")
        logging.getLogger("aiokafka.consumer.group_coordinator").warning(
            "Heartbeat failed for group %s because it is rebalancing", "onhand-v1"
        )
        logging.getLogger("aiokafka").info("Chatter")
        try:
            raise ValueError("why")
        except ValueError:
            logging.getLogger("tables").exception("Failed")
    finally:
        root.handlers, root.level = before, level
        for name in configuration("INFO", kind)["loggers"]:
            logging.getLogger(name).setLevel(logging.NOTSET)
    return capsys.readouterr().err.splitlines()


def test_json_logs_are_one_document_a_line_with_the_traceback_inside(
    capsys: pytest.CaptureFixture[str],
) -> None:
    said, failed = (json.loads(line) for line in logged("json", capsys))

    assert said["message"] == "Partition 7: é\nok"
    assert (said["level"], said["logger"]) == ("INFO", "app")
    assert said["time"].endswith("Z")
    assert "ValueError: why" in failed["exception"]


def test_text_logs_leave_out_what_happens_at_every_rebalance(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = logged("text", capsys)

    assert lines[0].endswith("INFO     app: Partition 7: é")
    assert not [line for line in lines if "rebalancing" in line or "Chatter" in line]
    assert lines[-1] == "ValueError: why"


def test_what_aiokafka_still_tried_when_nobody_waited_is_no_traceback_and_a_bug_is() -> None:
    def is_said(error: Exception) -> bool:
        text = "Task exception was never retrieved\nfuture: <Task finished>"
        exc_info = (type(error), error, None)
        record = logging.LogRecord("asyncio", logging.ERROR, "x.py", 1, text, (), exc_info)
        return Ordinary().filter(record)

    assert not is_said(UnknownMemberIdError("onhand-v1"))
    assert is_said(KeyError("x"))


# ---- lines of one cause


def test_each_of_our_rooms_is_ours() -> None:
    # Tools, examples and the client, which a worker never imports.
    others = {"dev", "examples", "onhand_client"}
    project = tomllib.loads(Path("pyproject.toml").read_text())

    assert set(project["tool"]["importlinter"]["root_packages"]) - others == _OURS


class Clock:
    """Lines as they come over time, through the filter, to the text that is written."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self._bounded = Bounded()

    def say(self, message: str, *args: object, name: str = "aiokafka", level: int = 30) -> str:
        record = logging.LogRecord(name, level, "x.py", 1, message, args, None)
        record.created = self.now
        return record.getMessage() if self._bounded.filter(record) else ""


def test_of_one_cause_a_few_lines_then_one_a_minute_that_counts_the_rest() -> None:
    clock = Clock()
    said = []
    for _ in range(211 * 180):
        said.append(clock.say("Unable connect to node %s: [Errno 111]", 1))
        clock.now += 1 / 211
    said = list(filter(None, said))

    assert len(said) == Bounded.THEIRS + 2
    assert "(And 12,6" in said[-1]


def test_another_number_in_the_text_is_no_other_cause() -> None:
    clock = Clock()
    said = [clock.say(f"Task <Task 0x{n:x}> of node {n} failed at '{n}'") for n in range(100)]

    assert len(list(filter(None, said))) == Bounded.THEIRS


def test_a_cause_that_comes_now_and_then_is_always_told() -> None:
    clock = Clock()
    for _ in range(50):
        assert clock.say("The broker is slow.") == "The broker is slow."
        clock.now += 61


def test_one_cause_hides_no_other_and_none_of_ours_the_end_or_the_news() -> None:
    clock = Clock()
    for _ in range(100):
        clock.say("Noise.")
        assert clock.say("%s is running.", "x", level=logging.INFO)
        assert clock.say("The worker ends.", level=logging.CRITICAL)
    assert clock.say("Something else.")
    partitions = [clock.say("Partition %d waits.", n, name="tables.x") for n in range(12)]
    assert all(partitions)


def test_causes_without_end_take_no_memory_without_end() -> None:
    clock = Clock()
    for number in range(5_000):
        word = "".join(chr(97 + int(digit)) for digit in str(number))
        clock.say(f"Cause {word}.")

    assert len(clock._bounded._seen) <= 1_000


def test_a_clock_that_is_set_back_hides_no_line_until_it_is_that_late_again() -> None:
    clock = Clock()
    for _ in range(10):
        clock.say("The broker is slow.")
    clock.now -= 3600

    assert clock.say("The broker is slow.").startswith("The broker is slow.")
