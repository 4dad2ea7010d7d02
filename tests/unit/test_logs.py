import json
import logging
import logging.config

import pytest

from app.logs import configuration


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
