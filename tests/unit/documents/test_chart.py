"""The chart renders the documented objects, and more where its values ask for it.

No cluster runs where this is built, and not everywhere is there a helm. So what helm made of the
chart is kept beside the tests, with the digest of the files that it made it of; where there is a
helm (on the PATH, or in HELM), it renders them again. `python -m tests.support.chart` keeps anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from app.commands import cli
from app.config import Settings
from dev.workers import ROOT
from tests.support.chart import HELM, KINDS, digest, kept_at, rendered
from tests.unit.documents.test_kubernetes import OBJECTS

Object = dict[str, Any]
PORTS = {"worker": 6066, "ledger": 6166}


def kept(kind: str) -> list[Object]:
    return [one for one in yaml.safe_load_all(kept_at(kind).read_text()) if one]


def programs(kind: str) -> Iterator[tuple[Object, Object]]:
    """Pods, and the one container of each."""
    for one in kept(kind):
        if one["kind"] in ("StatefulSet", "Job"):
            pod = one["spec"]["template"]["spec"]
            (container,) = pod["containers"]
            yield pod, container


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_kept_was_made_of_the_chart_as_it_is(kind: str) -> None:
    told = kept_at(kind).read_text().splitlines()[0]

    assert told == f"# {digest(kind)}", "run `python -m tests.support.chart`, with a helm"


@pytest.mark.parametrize("kind", KINDS)
def test_helm_makes_of_the_chart_what_is_kept(kind: str) -> None:
    if HELM is None:
        pytest.skip("helm is not installed here: what it made once is looked at instead.")
    assert list(filter(None, yaml.safe_load_all(rendered(kind)))) == kept(kind)


def missing(documented: Any, made: Any, at: str) -> Iterator[str]:
    """What the documentation has and the chart has not, or has otherwise."""
    if isinstance(documented, dict) and isinstance(made, dict):
        for name, value in documented.items():
            yield from missing(value, made.get(name), f"{at}.{name}")
    elif isinstance(documented, list) and isinstance(made, list):
        named = {one["name"]: one for one in made if isinstance(one, dict) and "name" in one}
        for number, value in enumerate(documented):
            other = made[number] if number < len(made) else None
            name = value.get("name") if isinstance(value, dict) else None
            yield from missing(value, named.get(name, other), f"{at}[{name or number}]")
    elif documented != made:
        yield f"{at}: {documented!r} is documented, {made!r} is made"


def test_the_chart_makes_all_that_is_documented() -> None:
    made = {(one["kind"], one["metadata"]["name"]): one for one in kept("plain")}

    assert {(one["kind"], one["metadata"]["name"]) for one in OBJECTS} == set(made)
    for one in OBJECTS:
        name = one["kind"], one["metadata"]["name"]
        assert list(missing(one, made[name], " ".join(name))) == []


def test_a_difference_from_what_is_documented_is_found() -> None:
    documented = {"a": [{"name": "x", "b": 1}, 2], "c": {"d": "e"}}
    assert (
        list(missing(documented, {"a": [{"name": "x", "b": 1}, 2, 3], "c": {"d": "e"}}, "")) == []
    )
    for made in ({"a": [{"name": "x", "b": 2}, 2], "c": {"d": "e"}}, {"a": documented["a"]}, {}):
        assert len(list(missing(documented, made, ""))) >= 1


@pytest.mark.parametrize("kind", KINDS)
def test_every_program_has_sound_settings_and_is_a_command_of_ours(
    kind: str, tmp_path: Path
) -> None:
    for name in ("tls/tls.crt", "tls/tls.key", "tls/ca.crt", "peers/peers", "tokens/tokens.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    for _, container in programs(kind):
        given = {one["name"]: one.get("value", "secret") for one in container["env"]}
        pod = given.pop("POD", None) and "stock-1"
        ours = {
            name: value.replace("$(POD)", str(pod)).replace("/secrets", str(tmp_path))
            for name, value in given.items()
        }
        settings = Settings.from_env(ours)

        found: Any = cli
        for word in container.get("args", ["worker"]):
            found = found.commands[word]
        known = {f"ONHAND_{field.upper()}" for field in Settings.__struct_fields__}
        assert set(ours) <= known
        if (port := PORTS.get(container["name"])) is not None:
            assert settings.web_port == urlsplit(settings.url).port == port
            assert container["ports"] == [{"name": "http", "containerPort": port}]


@pytest.mark.parametrize("kind", KINDS)
def test_every_program_is_confined_and_every_file_that_it_is_told_of_is_mounted(kind: str) -> None:
    for pod, container in programs(kind):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        mounts = {one["mountPath"]: one["name"] for one in container.get("volumeMounts", ())}
        volumes = {one["name"]: one for one in pod.get("volumes", ())}
        for one in container["env"]:
            folder, _, name = str(one.get("value", "")).rpartition("/")
            if folder.startswith("/secrets"):
                # The whole folder: a single file would never be seen to change.
                assert volumes[mounts[folder]]["secret"]["secretName"]
                assert name in {"tls.crt", "tls.key", "ca.crt", "peers", "tokens.json"}


def test_with_a_certificate_all_speak_tls() -> None:
    objects = kept("full")
    for _, container in programs("full"):
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            if probe in container:
                assert container[probe]["httpGet"]["scheme"] == "HTTPS"
        urls = [one["value"] for one in container["env"] if one["name"] == "ONHAND_URL"]
        assert all(url.startswith("https://") for url in urls)
    (monitor,) = (one for one in objects if one["kind"] == "ServiceMonitor")
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["scheme"] == "https"
    assert endpoint["authorization"]["credentials"]["name"] == "stock-scraper"


def test_only_workers_are_asked_by_clients_and_only_workers_ask_the_ledger() -> None:
    objects = {(one["kind"], one["metadata"]["name"]): one["spec"] for one in kept("full")}

    assert objects["Service", "stock-http"]["selector"] == {"app": "stock"}
    (rule,) = objects["NetworkPolicy", "stock-ledger"]["ingress"]
    assert rule["from"] == [{"podSelector": {"matchLabels": {"app": "stock"}}}]
    (rule,) = objects["NetworkPolicy", "stock"]["ingress"]
    assert {"namespaceSelector": {"matchLabels": {"tills": "yes"}}} in rule["from"]


def test_the_chart_is_of_the_release_that_is_out() -> None:
    told = yaml.safe_load((ROOT / "deploy/chart/Chart.yaml").read_text())
    (image,) = {container["image"] for _, container in programs("plain")}

    assert image == f"onhand:{told['appVersion']}"
