"""There is no Docker daemon where this is built: what can be wrong in words is checked here."""

import re
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree

import pytest
import yaml

from app.commands import cli
from app.config import PREFIX, Settings
from dev.workers import ROOT

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if service["image"] == "onhand"]
WORKERS = [name for name in OURS if "command" not in SERVICES[name]]
DOCKERFILE = (ROOT / "Dockerfile").read_text().replace("\\\n", "")


def settings_of(service: str) -> Settings:
    image = dict(re.findall(rf"({PREFIX}\w+)=(\S+)", DOCKERFILE))
    return Settings.from_env(image | SERVICES[service]["environment"])


@pytest.mark.parametrize("service", OURS)
def test_every_variable_is_a_setting_and_all_of_them_are_sound(service: str) -> None:
    settings_of(service)

    known = {PREFIX + field.upper() for field in Settings.__struct_fields__}
    assert set(SERVICES[service]["environment"]) <= known


def test_there_are_two_workers_or_more() -> None:
    assert len(WORKERS) >= 2


@pytest.mark.parametrize("worker", WORKERS)
def test_a_worker_is_reached_by_others_under_its_service_name(worker: str) -> None:
    settings = settings_of(worker)
    url = urlsplit(settings.url)

    assert (url.hostname, url.port) == (worker, settings.web_port)
    assert settings.web_host == "0.0.0.0"


@pytest.mark.parametrize("worker", WORKERS)
def test_the_published_port_leads_to_the_one_that_it_listens_on(worker: str) -> None:
    (published,) = SERVICES[worker]["ports"]
    assert published.endswith(f":{settings_of(worker).web_port}")
    assert f"EXPOSE {settings_of(worker).web_port}\n" in DOCKERFILE


def test_no_two_services_publish_the_same_port_and_none_to_the_world() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", ())]

    assert len({port.rsplit(":", 1)[0] for port in published}) == len(published)
    assert all(port.startswith("127.0.0.1:") for port in published)


@pytest.mark.parametrize("worker", WORKERS)
def test_each_worker_keeps_its_store_in_a_volume_of_its_own(worker: str) -> None:
    volume, _, folder = SERVICES[worker]["volumes"][0].partition(":")

    assert Path(folder) == settings_of(worker).data_dir
    assert volume in COMPOSE["volumes"]
    assert [name for name in WORKERS if SERVICES[name]["volumes"][0].startswith(volume + ":")] == [
        worker
    ]
    assert f"VOLUME {folder}\n" in DOCKERFILE


@pytest.mark.parametrize("service", OURS)
def test_containers_and_host_find_kafka_where_it_says_it_is(service: str) -> None:
    environment = SERVICES["kafka"]["environment"]
    advertised = environment["KAFKA_ADVERTISED_LISTENERS"]
    inside, outside = (listener.split("://")[1] for listener in advertised.split(","))

    assert settings_of(service).kafka == inside
    assert Settings.from_env({}).kafka == outside
    for address in (inside, outside):
        assert f"://:{address.split(':')[1]}" in environment["KAFKA_LISTENERS"]
    assert SERVICES["kafka"]["ports"] == [f"127.0.0.1:{outside.split(':')[1]}:9092"]


def test_kafka_keeps_its_log_and_creates_no_topics_by_itself() -> None:
    kafka = SERVICES["kafka"]

    assert kafka["volumes"][0].split(":")[1] == kafka["environment"]["KAFKA_LOG_DIRS"]
    assert kafka["environment"]["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"


def test_kafka_is_the_version_that_the_tests_run_on() -> None:
    pom = ElementTree.parse(ROOT / "dev" / "kafka" / "pom.xml")
    space = {"m": "http://maven.apache.org/POM/4.0.0"}
    version = pom.findtext(".//m:dependency[m:groupId='org.apache.kafka']/m:version", None, space)

    assert SERVICES["kafka"]["image"] == f"apache/kafka:{version}"


@pytest.mark.parametrize("service", OURS)
def test_what_a_container_runs_is_a_command_of_ours(service: str) -> None:
    command = SERVICES[service].get("command", ["worker"])
    found: Any = cli
    for word in command:
        found = found.commands[word]

    assert 'ENTRYPOINT ["onhand"]\nCMD ["worker"]' in DOCKERFILE


def test_topics_are_there_before_a_worker_and_kafka_before_the_topics() -> None:
    assert SERVICES["topics"]["depends_on"]["kafka"]["condition"] == "service_healthy"
    assert "healthcheck" in SERVICES["kafka"]
    for worker in WORKERS:
        condition = SERVICES[worker]["depends_on"]["topics"]["condition"]
        assert condition == "service_completed_successfully"


def test_the_image_holds_what_make_install_installs_and_nothing_else() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    makefile = (ROOT / "Makefile").read_text()
    rooms = "app agents web audit ledger tables wire domain importers core"
    layers = set(rooms.split())

    assert set(re.findall(r"^SERVICE := (.*)", makefile, re.MULTILINE)[0].split()) == layers
    assert set(re.findall(r"^COPY (\S+)/ ", DOCKERFILE, re.MULTILINE)) == layers
    assert "RUN make install DIR=/srv/onhand\n" in DOCKERFILE
    assert "COPY --from=build /srv/onhand/ /srv/onhand/\n" in DOCKERFILE
    kept = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line.startswith("!")
    }
    assert kept == layers | {"LICENSE", "Makefile", "requirements.lock"}
    # The .venv of the first stage runs on the Python of the second.
    pythons = re.findall(r"^FROM (python:3\.(\d+)-\S+)", DOCKERFILE, re.MULTILINE)
    assert len(pythons) == 2
    assert pythons[0] == pythons[1]
    assert project["project"]["requires-python"] == ">=3.11,<3.15"
    assert 11 <= int(pythons[0][1]) < 15


def test_the_unit_file_runs_what_make_install_installs() -> None:
    makefile = (ROOT / "Makefile").read_text()
    folder = re.findall(r"^DIR \?= (\S+)", makefile, re.MULTILINE)[0]
    unit = (ROOT / "deploy" / "onhand@.service").read_text()

    assert f"ExecStart={folder}/.venv/bin/onhand worker\n" in unit
    assert f"WorkingDirectory={folder}\n" in unit
    examples = dict(re.findall(rf"^#   ({PREFIX}\w+)=(\S+)", unit, re.MULTILINE))
    Settings.from_env(examples | {"ONHAND_DATA_DIR": "/var/lib/onhand/a"})
    # A service that refuses to start while Kafka is away must be started again for ever.
    assert "Restart=always\n" in unit
    assert "StartLimitIntervalSec=0\n" in unit


def test_the_health_check_is_liveness_on_the_workers_own_port() -> None:
    check = re.search(r"HEALTHCHECK .*", DOCKERFILE)
    assert check is not None
    assert "/live'" in check[0]
    assert f"'{PREFIX}WEB_PORT', '{Settings().web_port}'" in check[0]
