"""No Kubernetes runs where this is built: what can be wrong in words is checked here."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from app.config import PREFIX, Settings
from dev.readme.documents import read

ROOT = Path(__file__).parents[3]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
OBJECTS: list[dict[str, Any]] = [
    found
    for block in read(ROOT, "docs/operations.md").blocks
    if block.language == "yaml"
    for found in yaml.safe_load_all(block.text)
]
(STATEFUL_SET,) = (found["spec"] for found in OBJECTS if found["kind"] == "StatefulSet")
(BUDGET,) = (found["spec"] for found in OBJECTS if found["kind"] == "PodDisruptionBudget")
SERVICES = {
    found["metadata"]["name"]: found["spec"] for found in OBJECTS if found["kind"] == "Service"
}
POD = STATEFUL_SET["template"]["spec"]
(WORKER,) = POD["containers"]
LABELS = STATEFUL_SET["template"]["metadata"]["labels"]
PROBES = [f"{kind}Probe" for kind in ("startup", "liveness", "readiness")]


def settings_of(pod: str) -> Settings:
    given = {each["name"]: each.get("value", pod) for each in WORKER["env"]}
    ours = {name: value.replace("$(POD)", pod) for name, value in given.items() if name != "POD"}
    return Settings.from_env(ours)


def test_every_variable_is_in_the_example_of_all_settings() -> None:
    example = (ROOT / ".env.example").read_text()
    known = set(re.findall(rf"^({PREFIX}\w+)=", example, re.MULTILINE))

    assert {each["name"] for each in WORKER["env"]} - {"POD"} <= known


def test_workers_reach_each_other_by_the_pods_name_also_while_not_ready() -> None:
    settings = settings_of("stock-1")
    headless = SERVICES[STATEFUL_SET["serviceName"]]
    url = urlsplit(settings.url)

    assert (url.hostname, url.port) == (f"stock-1.{STATEFUL_SET['serviceName']}", settings.web_port)
    assert settings.web_host == "0.0.0.0"
    assert headless["clusterIP"] == "None"
    assert headless["publishNotReadyAddresses"] is True


def test_clients_are_led_to_ready_workers_alone() -> None:
    (clients,) = (found for found in SERVICES.values() if found.get("clusterIP") != "None")

    assert not clients.get("publishNotReadyAddresses", False)


def test_every_port_is_the_one_of_the_image() -> None:
    (port,) = WORKER["ports"]
    assert f"EXPOSE {port['containerPort']}\n" in DOCKERFILE
    assert port["containerPort"] == settings_of("stock-0").web_port
    for service in SERVICES.values():
        (published,) = service["ports"]
        assert published.get("targetPort", published["port"]) in (
            port["name"],
            port["containerPort"],
        )


@pytest.mark.parametrize("probe", PROBES)
def test_probes_ask_what_a_worker_answers(probe: str) -> None:
    asked = WORKER[probe]["httpGet"]
    served = (ROOT / "web/operations/ops.py").read_text()

    assert asked["path"] == ("/ready" if probe == "readinessProbe" else "/live")
    assert f'"{asked["path"]}"' in served
    assert asked["port"] == WORKER["ports"][0]["name"]


def test_nobody_is_killed_while_it_still_stops() -> None:
    unit = (ROOT / "deploy/onhand@.service").read_text()
    (stop_s,) = re.findall(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)
    sleep = WORKER["lifecycle"]["preStop"]["exec"]["command"]

    assert sleep[0] == "sleep"
    assert POD["terminationGracePeriodSeconds"] > int(sleep[1]) + int(stop_s)


def test_each_worker_keeps_its_store_on_a_disk_that_its_user_may_write() -> None:
    (claim,) = STATEFUL_SET["volumeClaimTemplates"]
    (mount,) = WORKER["volumeMounts"]

    assert mount["name"] == claim["metadata"]["name"]
    assert Path(mount["mountPath"]) == settings_of("stock-0").data_dir
    assert f"--uid {POD['securityContext']['runAsUser']} " in DOCKERFILE
    assert POD["securityContext"]["fsGroup"] == POD["securityContext"]["runAsUser"]


def test_all_that_selects_workers_selects_these() -> None:
    (apart,) = POD["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    selectors = [each["matchLabels"] for each in (STATEFUL_SET["selector"], BUDGET["selector"])]
    selectors += [apart["labelSelector"]["matchLabels"]]
    selectors += [service["selector"] for service in SERVICES.values()]

    assert all(selector == LABELS for selector in selectors)
    assert BUDGET["maxUnavailable"] == 1


def test_memory_is_bounded_and_the_cpu_is_not() -> None:
    assert set(WORKER["resources"]["requests"]) == {"cpu", "memory"}
    assert set(WORKER["resources"]["limits"]) == {"memory"}
