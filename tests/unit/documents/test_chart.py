"""The chart renders the documented objects, and more where its values ask for it.

No cluster runs where this is built, and not everywhere is there a helm. So what helm made of the
chart is kept beside the tests, with the digest of the files that it made it of; where there is a
helm (on the PATH, or in HELM), it renders them again.
`python -m tests.support.deploying.chart` keeps anew.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import pytest
import yaml

from app.commands import cli
from app.config import Settings
from dev.workers import ROOT
from tests.support.deploying.chart import CHART, HELM, KEPT, KINDS, digest, kept_at, rendered
from tests.support.deploying.kubernetes import VERSIONS, faults_of
from tests.support.http.certificates import Authority
from tests.unit.documents.test_kubernetes import OBJECTS

Object = dict[str, Any]
PORTS = {"worker": 6066, "ledger": 6166, "bridge": 6266}
#: Another program's: Kubernetes itself does not know it.
FOREIGN = "ServiceMonitor"


def kept(kind: str) -> list[Object]:
    return [one for one in yaml.safe_load_all(kept_at(kind).read_text()) if one]


def programs(kind: str) -> Iterator[tuple[Object, Object]]:
    """Pods, and the one container of each."""
    for one in kept(kind):
        if one["kind"] in ("StatefulSet", "Deployment", "Job"):
            pod = one["spec"]["template"]["spec"]
            (container,) = pod["containers"]
            yield pod, container


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_kept_was_made_of_the_chart_as_it_is(kind: str) -> None:
    told = kept_at(kind).read_text().splitlines()[0]

    assert told == f"# {digest(kind)}", "run `python -m tests.support.deploying.chart`, with a helm"


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


def told_of(container: Object) -> list[str]:
    """Paths of the files that a program is told to read, by settings or by arguments."""
    told = [str(one.get("value", "")) for one in container["env"]] + container.get("args", [])
    return [path for path in told if path.startswith(("/secrets/", "/files/"))]


@pytest.mark.parametrize("kind", KINDS)
def test_every_program_has_sound_settings_and_is_a_command_of_ours(
    kind: str, tmp_path: Path
) -> None:
    pem = Authority().pem
    for _, container in programs(kind):
        for path in told_of(container):
            file = tmp_path / path[1:]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(pem)
        secrets = {"ONHAND_ALERTS_URL": "https://hooks.example/stock"}
        given = {
            one["name"]: one.get("value", secrets.get(one["name"], "secret"))
            for one in container["env"]
        }
        pod = given.pop("POD", None) and "stock-1"
        ours = {
            name: f"{tmp_path}{value}" if value in told_of(container) else value
            for name, value in given.items()
        }
        ours = {name: value.replace("$(POD)", str(pod)) for name, value in ours.items()}
        settings = Settings.from_env(ours)

        found: Any = cli
        for word in container.get("args", ["worker"]):
            found = found.commands[word] if hasattr(found, "commands") else found
        assert not hasattr(found, "commands")
        known = {f"ONHAND_{field.upper()}" for field in Settings.__struct_fields__}
        assert set(ours) <= known
        if (port := PORTS.get(container["name"])) is not None:
            is_bridge = container["name"] == "bridge"
            listens = settings.bridge_port if is_bridge else settings.web_port
            assert listens == urlsplit(settings.url).port == port
            assert container["ports"] == [{"name": "http", "containerPort": port}]


@pytest.mark.parametrize("kind", KINDS)
def test_every_program_is_confined_and_every_file_that_it_is_told_of_is_mounted(kind: str) -> None:
    for pod, container in programs(kind):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        mounts = {one["mountPath"]: one for one in container.get("volumeMounts", ())}
        volumes = {one["name"]: one for one in pod.get("volumes", ())}
        for path in told_of(container):
            folder, _, name = path.rpartition("/")
            # The whole folder: a single file would never be seen to change.
            mount = mounts[folder]
            assert mount["readOnly"] is True
            volume = volumes[mount["name"]]
            if folder.startswith("/secrets"):
                assert volume["secret"]["secretName"]
                assert name in {"tls.crt", "tls.key", "ca.crt", "peers", "tokens.json"}
            else:
                assert ("secret" in volume) != ("configMap" in volume)


def test_files_come_to_every_program_from_the_objects_that_are_named() -> None:
    named = yaml.safe_load((KEPT / "full-values.yaml").read_text())["files"]
    pods = list(programs("full"))
    # Workers, ledger, two bridges, and the hook: it too has to reach a Kafka with an authority.
    assert len(pods) == 5
    for pod, container in pods:
        mounts = {one["mountPath"]: one["name"] for one in container["volumeMounts"]}
        volumes = {one["name"]: one for one in pod["volumes"]}
        for name, source in named.items():
            volume = volumes[mounts[f"/files/{name}"]]
            if "secret" in source:
                # For the group of the pod's user, and nobody else.
                wanted = {"secretName": source["secret"], "defaultMode": 0o440}
                assert volume["secret"] == wanted
            else:
                assert volume["configMap"] == {"name": source["configMap"]}


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("files.kafka.key=ca.crt", "files.kafka: name either a secret or a configMap."),
        ("files.kafka.secret=a,files.kafka.configMap=b", "name either a secret or a configMap."),
        ("tokens.secret=stock-tokens", "name peers.secret too."),
        ("bridges.orders.topic=orders", "bridges.orders: name its map, a file below /files."),
        ("bridges.orders.map=/files/maps/orders.toml", "bridges.orders: name its topic."),
        ("token.secret=stock-tokens", "token"),
    ],
)
def test_values_that_make_no_sense_are_refused_by_name(value: str, why: str) -> None:
    if HELM is None:
        pytest.skip("helm is not installed here.")
    with pytest.raises(subprocess.CalledProcessError) as refused:
        rendered("plain", "--set", value)

    assert why in refused.value.stderr


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_kubernetes_finds_no_fault_in_what_the_chart_makes(kind: str, version: str) -> None:
    objects = [one for one in kept(kind) if one["kind"] != FOREIGN]

    assert len(objects) >= 4
    assert {str(one["metadata"]): faults_of(version, one) for one in objects} == {
        str(one["metadata"]): [] for one in objects
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_a_fault_in_any_object_of_the_chart_is_found(version: str) -> None:
    for sound in kept("full"):
        if sound["kind"] == FOREIGN:
            continue
        spoilt = deepcopy(sound)
        spoilt["spec"]["unheardOf"] = 1
        assert any("unheardOf" in fault for fault in faults_of(version, spoilt)), sound["kind"]

    (worker,) = (one for one in kept("plain") if one["kind"] == "StatefulSet")
    pod = worker["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    for part, wrong in (
        (worker["spec"], {"replicas": "3"}),
        (pod, {"terminationGracePeriodSeconds": "90s"}),
        (container["readinessProbe"]["httpGet"], {"ports": "http"}),
        (container["volumeMounts"][0], {"mountpath": "/data"}),
        (container["env"][0], {"valueFrom": {"fieldRef": {}}}),
        (container["securityContext"], {"readOnlyRootFilesystem": "yes"}),
    ):
        before = dict(part)  # no deeper: the parts that come are within it
        part.update(wrong)
        assert faults_of(version, worker) != [], wrong
        part.clear()
        part.update(before)
    assert faults_of(version, worker) == []


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
    workers = {"podSelector": {"matchLabels": {"app": "stock"}}}
    tills, watches = (
        {"namespaceSelector": {"matchLabels": {name: "yes"}}} for name in ("tills", "watches")
    )
    (rule,) = objects["NetworkPolicy", "stock-ledger"]["ingress"]
    assert rule["from"] == [workers, watches]
    (rule,) = objects["NetworkPolicy", "stock"]["ingress"]
    assert tills in rule["from"]
    assert watches not in rule["from"]
    for bridge in ("orders", "returns"):
        (rule,) = objects["NetworkPolicy", f"stock-bridge-{bridge}"]["ingress"]
        assert rule["from"] == [watches]


def test_with_policies_every_program_goes_where_it_is_let_to_and_nowhere_else() -> None:
    allowed = yaml.safe_load((KEPT / "full-values.yaml").read_text())["networkPolicy"]["egress"]
    programs = {
        one["spec"]["template"]["metadata"]["labels"]["app"]
        for one in kept("full")
        if one["kind"] in ("StatefulSet", "Deployment")
    }
    policies = [one["spec"] for one in kept("full") if one["kind"] == "NetworkPolicy"]

    assert {one["podSelector"]["matchLabels"]["app"] for one in policies} == programs
    for policy in policies:
        assert policy["policyTypes"] == ["Ingress", "Egress"]
        names, each_other, *others = policy["egress"]
        assert names["ports"] == [{"port": 53, "protocol": kind} for kind in ("UDP", "TCP")]
        assert list(each_other["to"][0]) == ["podSelector"]
        assert others == allowed


@pytest.mark.parametrize("kind", KINDS)
def test_every_program_says_what_it_needs_and_may_not_take_all_memory(kind: str) -> None:
    for _, container in programs(kind):
        assert set(container["resources"]["requests"]) == {"cpu", "memory"}
        assert set(container["resources"]["limits"]) == {"memory"}


SCHEMA = json.loads((CHART / "values.schema.json").read_text())


@pytest.mark.parametrize("file", [CHART / "values.yaml", KEPT / "full-values.yaml"])
def test_the_charts_own_values_are_in_its_schema(file: Path) -> None:
    jsonschema.Draft7Validator(SCHEMA).validate(yaml.safe_load(file.read_text()))


def test_every_value_that_the_chart_has_is_in_its_schema_and_no_other() -> None:
    def names(values: Any, schema: Any, at: str) -> None:
        if "properties" in schema and schema.get("additionalProperties") is False:
            told = set(schema["properties"]) - {"global", "ephemeral-storage"}
            assert set(values) == told, at
            for name in told:
                names(values[name], schema["properties"][name], f"{at}.{name}")

    values = yaml.safe_load((CHART / "values.yaml").read_text())
    # Given by nobody's values as they are.
    for part in (values["resources"], values["bridgeResources"]):
        part["limits"].setdefault("cpu", "2")
    for part in (values["ledger"], values["topics"]):
        part["resources"]["limits"].setdefault("cpu", "2")
    names(values, SCHEMA, "values")


@pytest.mark.parametrize(
    "misspelt",
    [
        {"token": {"secret": "stock-tokens"}},
        {"tokens": {"secrets": "stock-tokens"}},
        {"tokens": "stock-tokens"},
        {"tls": {"secretName": "stock-tls"}},
        {"networkpolicy": {"enabled": True}},
        {"networkPolicy": {"enabled": "no"}},
        {"settings": {"TOKENS": "/files/tokens/tokens.json"}},
        {"secretSettings": {"ONHAND_KAFKA_SASL_PASSWORD": "secret"}},
        {"bridges": {"orders": {"topics": "orders"}}},
        {"partitions": "48"},
    ],
)
def test_values_that_are_misspelt_are_refused_and_never_passed_over(misspelt: Object) -> None:
    """`token.secret` would leave all open, and nobody would see it."""
    assert not jsonschema.Draft7Validator(SCHEMA).is_valid(misspelt)


def test_the_chart_is_of_the_release_that_is_out() -> None:
    told = yaml.safe_load((ROOT / "deploy/chart/Chart.yaml").read_text())
    (image,) = {container["image"] for _, container in programs("plain")}

    assert image == f"onhand:{told['appVersion']}"
