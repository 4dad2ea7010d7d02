"""What `onhand status` says of a cluster in trouble."""

import copy
import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from app.commands import ask
from app.commands.status import look, shown

URL = "http://10.0.0.7:6066"
CUT = "Topic sales no longer holds the next offset of partition 1: it was cut or recreated."


def ago(seconds: float) -> str:
    return datetime.fromtimestamp(time.time() - seconds, UTC).isoformat()


def a_holder(role: str = "active", lag: int = 0, age_s: float = 0.3, **more: Any) -> dict[str, Any]:
    return {
        "worker": URL, "role": role, "position": "sales-0@9", "lag_events": lag,
        "as_of": ago(age_s), **more,
    }  # fmt: skip


def a_cluster(*holders: dict[str, Any]) -> dict[str, Any]:
    """One partition for each of these; nobody owns what is not held as its owner does."""
    partitions = [
        {
            "partition": number,
            "active": holder if holder["role"] == "active" else None,
            "standbys": [] if holder["role"] == "active" else [holder],
            "loading": [],
        }
        for number, holder in enumerate(holders)
    ]
    worker = {
        "url": URL, "version": 1, "build": "0.1.0", "state": "running", "alive": True,
        "this": True, "silent_s": 0.0, "active": len(holders), "standby": 0,
    }  # fmt: skip
    return {"version": 1, "workers": [worker], "partitions": partitions}


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What is shown of a cluster, line by line; `warnings` of its worker."""

    def lines(cluster: dict[str, Any], *warnings: str) -> list[str]:
        answers = {
            "/v1/cluster": copy.deepcopy(cluster),
            "/metrics": None,
            "/ready": {"ready": True, "partitions": [], "warnings": list(warnings)},
        }

        def answer(workers: object, path: str, **_: object) -> ask.Answer:
            body = "onhand_oldest_unapplied_seconds 0.0\n" if path == "/metrics" else None
            return ask.Answer(URL, 200, (body or json.dumps(answers[path])).encode())

        monkeypatch.setenv("NO_COLOR", "1")
        monkeypatch.setattr(ask, "ask", answer)
        return shown(look([URL])).splitlines()

    return lines


def test_where_kafka_has_said_nothing_lately_nobody_knows_what_is_not_counted(said: Any) -> None:
    lines = said(a_cluster(a_holder("former", age_s=200), a_holder(age_s=190), a_holder(age_s=190)))

    assert lines[0] == (
        "Version 1: 1 worker, 2 of 3 partitions have an owner, nobody knows how many events are "
        "not counted yet."
    )
    assert lines[2].split()[4] == "unknown"  # BEHIND, which was 0 s
    assert lines[3:] == [
        f"Partition 0 has no owner: former {URL} answers meanwhile.",
        "How far partitions 0–2 are behind is not known: Kafka last said it 3 min ago.",
    ]


def test_a_number_that_leaves_partitions_out_says_so(said: Any) -> None:
    lines = said(a_cluster(a_holder(lag=7), a_holder(age_s=60)))

    assert lines[0].endswith(", 7 events not counted yet as far as is known.")
    assert lines[-1] == "How far partition 1 is behind is not known: Kafka last said it 1 min ago."


def test_of_a_partition_without_an_owner_a_standby_knows_how_much_waits(said: Any) -> None:
    lines = said(a_cluster(a_holder(lag=1), a_holder("standby", lag=4)))

    assert lines[0].endswith(" 5 events not counted yet.")


def test_a_partition_that_stands_still_is_named_with_its_reason_and_those_alike_once(
    said: Any,
) -> None:
    stopped = a_holder("former", lag=3, stopped_because=CUT)
    lines = said(a_cluster(a_holder(), stopped, stopped, a_holder(stopped_because=CUT)))

    assert lines[3:] == [
        f"Partitions 1–2 have no owner: former {URL} answers meanwhile.",
        f"Partitions 1–3 stand still at {URL}: {CUT}",
    ]
    assert lines[2].split()[4] == "unknown"


def test_what_holds_a_partition_up_is_told_once_it_is_no_ordinary_transaction(said: Any) -> None:
    def held(since_s: float) -> dict[str, Any]:
        up = {"position": "sales-0@17", "cause": "transaction", "since": ago(since_s)}
        return a_holder(lag=5, held_up=[up])

    assert said(a_cluster(held(200)))[3:] == [
        "Partition 0 is held up at sales-0@17 for 3 min: an open transaction."
    ]
    assert said(a_cluster(held(0.2)))[3:] == []


def test_what_workers_are_warned_of_is_shown(said: Any) -> None:
    grown = "Topic sales has 24 partitions, and must have 12."

    assert said(a_cluster(a_holder()), grown)[3:] == [f"Warning of {URL}: {grown}"]
