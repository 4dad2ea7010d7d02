"""Alerts and dashboard ask for what /metrics gives; promtool runs the alerts' own tests."""

import json
import os
import re
import shutil
import subprocess
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from app.commands.past.watch import Watched
from audit.auditing import Audited
from audit.comparing import Held
from core.stages import Role
from dev.readme.documents import _anchors
from dev.workers import ROOT
from domain.checks import Refusal
from ledger.keeping import Kept
from tests.unit.web.metrics_at_rest import (
    alert_metrics_at_rest,
    bridge_metrics_at_rest,
    metrics_at_rest,
)
from web.history.probes import Probes
from web.http.problems import Problem

MONITORING = ROOT / "monitoring"
ALERTS: list[dict[str, Any]] = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"][
    0
]["rules"]
DASHBOARD: dict[str, Any] = json.loads((MONITORING / "dashboard.json").read_text())
QUERIES = [
    *(rule["expr"] for rule in ALERTS),
    *(target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]),
    *(one["query"] for one in DASHBOARD["templating"]["list"] if one["type"] == "query"),
]
#: Labels that Prometheus adds to what it reads.
ADDED = {"job", "instance"}


def metrics_of_others() -> dict[str, dict[str, set[str]]]:
    """Of a watching audit and of a ledger; as `metrics_at_rest`."""
    watched = Watched(lambda one: {})
    held = Held(where="http://a:1", role="active", partition=0, positions={})
    watched.note(Audited(partition=0, records=1, copies=[held]))
    keeper: Any = SimpleNamespace(kept=Kept(lag={("sales", 0): 1}))
    given: dict[str, dict[str, set[str]]] = {}
    for registry in (watched.registry, Probes(keeper).registry):
        for sample in (one for family in registry.collect() for one in family.samples):
            labels = given.setdefault(sample.name, {})
            for name, value in sample.labels.items():
                labels.setdefault(name, set()).add(value)
    return given


def test_every_query_asks_for_a_metric_and_labels_that_a_worker_gives() -> None:
    given = metrics_at_rest() | metrics_of_others() | bridge_metrics_at_rest()
    given |= alert_metrics_at_rest()
    for query in QUERIES:
        names = set(re.findall(r"\b(?:onhand|process)_\w+", query))
        assert names or query.startswith("up"), query
        assert names <= set(given), (query, names - set(given))
        allowed = ADDED.union(*(given[name] for name in names), {"le"})
        used = set(re.findall(r"(\w+)=~?\"", query))
        for grouped in re.findall(r"by \(([^)]*)\)", query):
            used |= set(re.split(r",\s*", grouped))
        assert used <= allowed, (query, used - allowed)


def test_series_that_an_alert_watches_begin_at_0_before_anything_happens() -> None:
    given = metrics_at_rest()

    assert given["onhand_dead_letters_total"]["reason"] == {reason.value for reason in Refusal}
    bridge = bridge_metrics_at_rest()
    assert bridge["onhand_bridge_dead_letters_total"]["reason"] == {*map(str, Refusal)}
    assert "dead" in alert_metrics_at_rest()["onhand_alerts_told"]["state"]
    assert given["onhand_events_applied_total"]["topic"] == {"shipments", "sales"}
    assert given["onhand_events_duplicate_total"]["topic"] == {"shipments", "sales"}
    assert given["onhand_append_seconds_count"]["outcome"] == {"appended", "unknown"}
    assert given["onhand_query_seconds_count"]["role"] >= set(map(str, Role))
    watched = {word for query in QUERIES for word in re.findall(r'outcome=~"([^"]*)"', query)}
    problems = {name for words in watched for name in words.split("|")}
    assert problems <= given["onhand_query_seconds_count"]["outcome"]
    assert problems <= set(map(str, Problem))


def test_each_alert_has_its_chapter_in_the_runbook() -> None:
    anchors = _anchors((ROOT / "docs" / "runbook.md").read_text())

    for rule in ALERTS:
        file, _, chapter = rule["annotations"]["runbook"].partition("#")
        assert (file, chapter in anchors) == ("docs/runbook.md", True), rule["alert"]
    assert len({rule["alert"] for rule in ALERTS}) == len(ALERTS)


def test_the_dashboard_is_whole() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
    assert len(places) == len(panels)
    assert all(panel["title"] and panel["targets"] for panel in panels)


def test_alerts_ring_when_they_should_and_not_otherwise() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        # Everything else that `make test` needs comes by itself; CI installs this, and must.
        missing = pytest.fail if os.environ.get("CI") else pytest.skip
        missing("There is no promtool: install it (Debian: `apt install prometheus`).")
    for arguments in (("check", "rules", "alerts.yaml"), ("test", "rules", "alerts_test.yaml")):
        done = subprocess.run(
            [promtool, *arguments], cwd=MONITORING, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
