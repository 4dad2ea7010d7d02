import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from app.commands import cli
from app.config import PREFIX, Settings
from dev.kafka import Kafka, free_port
from dev.workers import ROOT
from tests.support.cluster.bridges import COMMAND as BRIDGE
from tests.support.cluster.bridges import MAP
from tests.support.cluster.cli import onhand


def test_settings_are_shown_with_where_they_come_from_and_without_passwords() -> None:
    done = onhand(
        "settings", KAFKA_SECURITY_PROTOCOL="SASL_SSL", KAFKA_SASL_USERNAME="u",
        KAFKA_SASL_PASSWORD="secret-word", LEDGER_URL="postgresql://u@db/l?password=secret-word",
    )  # fmt: skip
    assert done.returncode == 0
    assert "secret-word" not in done.stdout
    shown = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()}
    assert shown["ONHAND_KAFKA_SASL_USERNAME"] == ["u", "environment"]
    assert shown["ONHAND_PARTITIONS"] == ["12", "default"]
    listed = json.loads(onhand("settings", "--json").stdout)["settings"]
    assert [one["name"] for one in listed] == [
        PREFIX + field.upper() for field in Settings.__struct_fields__
    ]


def test_every_help_is_whole_sentences_and_every_option_is_explained() -> None:
    def walk(command: click.Command) -> Iterator[tuple[click.Command, str]]:
        context = click.Context(command, info_name=command.name, max_content_width=100)
        yield command, command.get_help(context)
        for one in command.commands.values() if isinstance(command, click.Group) else ():
            yield from walk(one)

    for command, said in walk(cli):
        assert "..." not in said.partition("Commands:")[2], said
        assert command.help is not None
        assert command.help.strip().endswith("."), command.name
        for parameter in command.params:
            if isinstance(parameter, click.Option) and parameter.name != "version":
                assert (parameter.help or "").endswith("."), (command.name, parameter.name)


def test_no_is_exit_code_1_and_one_sentence(worker: str) -> None:
    unknown = onhand("stock", "SKU-9", "--url", worker)
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert unknown.stderr == "No event names this SKU: SKU-9.\n"

    loading = onhand("stock", "loading", "--url", worker)
    assert loading.stderr == "The worker is not ready: It is restoring partition 3.\n"


def test_what_could_not_be_asked_is_exit_code_2_and_never_a_traceback() -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    for done in (
        onhand("stock", "SKU-9", "--url", f"http://{nowhere}"),
        onhand("stock", "SKU-9", "--url", "http://[::1"),
        onhand("topics", "check", "--kafka", nowhere),
        onhand("topics", "create", "--kafka", nowhere),
        onhand("dlq", "list", "--kafka", nowhere),
        onhand("dlq", "show", "sales-3@7", "--kafka", nowhere),
        onhand("dlq", "show", "nonsense"),
        onhand("dlq", "replay", "--kafka", nowhere),
        onhand("worker", WEB_HOST="0.0.0.0"),
    ):
        assert done.returncode == 2, done.args
        assert done.stdout == ""
        assert done.stderr.endswith(".\n")
        assert done.stderr.count("\n") == 1, done.stderr


def test_bad_settings_are_all_told_at_once() -> None:
    done = onhand("topics", "check", PARTITIONS="0", STORE="postgres")

    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "ONHAND_PARTITIONS is '0': use a whole number from 1 to 10000.",
        "ONHAND_STORE is 'postgres': use one of rocksdb, memory.",
    ]


def test_topics_and_dead_letters_from_the_shell(kafka: Kafka) -> None:
    name = f"n{uuid.uuid4().hex[:8]}"
    settings = {"KAFKA": kafka.bootstrap, "NAME": name, "TOPIC_PREFIX": f"{name}."}

    missing = onhand("topics", "check", **settings)
    assert (missing.returncode, missing.stdout) == (1, "")
    assert "run `onhand topics create`" in missing.stderr

    made = onhand("topics", "create", **settings)
    assert made.returncode == 0
    assert made.stdout.splitlines()[0].split() == f"{name}.shipments 12 partitions created".split()
    assert json.loads(onhand("topics", "create", "--json", **settings).stdout)["problems"] == []
    assert onhand("topics", "check", **settings).returncode == 0
    assert json.loads(onhand("topics", "check", "--json", **settings).stdout) == {"problems": []}

    other = onhand("topics", "check", "--partitions", "8", "--json", **settings)
    assert other.returncode == 1
    assert len(json.loads(other.stdout)["problems"]) == 3

    assert onhand("dlq", "list", **settings).stdout == "No dead letters.\n"
    assert json.loads(onhand("dlq", "list", "--json", **settings).stdout) == {
        "total": 0, "counts": [], "recent": [], "strange": 0,
    }  # fmt: skip
    assert onhand("dlq", "show", "sales-3@7", **settings).returncode == 1
    assert onhand("dlq", "replay", **settings).stdout == (
        "Sent 0 again; 0 were sent before; 0 have other reasons.\n"
    )


#: What a command imports before it has anything to do; more would be felt at each one.
LIGHT = {"app", "core", "click", "msgspec"}
#: What one that talks to Kafka imports besides.
OF_KAFKA = {"aiokafka", "async_timeout", "cramjam", "domain", "packaging", "tables", "wire"}
#: Of its imports these are parts, or stand in for what a newer Python has itself.
PARTS = {"__main__", "cython_runtime", "typing_extensions"}


@pytest.mark.parametrize(
    ("modules", "allowed"),
    [
        ("app.commands", LIGHT),
        ("app.config, app.commands.ask", LIGHT),
        ("app.commands, app.topics", LIGHT | OF_KAFKA),
        ("app.commands, app.replay", LIGHT | OF_KAFKA),
    ],
)
def test_every_command_but_the_worker_imports_little(modules: str, allowed: set[str]) -> None:
    """How long that takes: `python -m bench.micro start`."""
    code = (
        f"import sys; there = set(sys.modules); import {modules}; print(*{{*sys.modules}} - there)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    packages = {name.partition(".")[0] for name in done.stdout.split()}
    ours = packages - set(sys.stdlib_module_names) - PARTS

    assert {name for name in ours if not name.startswith("_cython")} <= allowed


def test_the_workers_help_is_ours_and_its_options_are_passed_on(tmp_path: Path) -> None:
    """`faust` is asked for its version only: what it runs is tested end to end."""
    said = onhand("worker", "--help").stdout
    assert "onhand worker" in said
    assert "ONHAND_DATA_DIR" in said
    assert "--web-port" not in said

    done = onhand("worker", "-p", "nonsense", DATA_DIR=str(tmp_path))
    assert done.returncode == 2
    assert "nonsense" in done.stderr


def test_traffic_says_where_it_can_run_if_there_is_no_checkout(tmp_path: Path) -> None:
    for room in ("app", "core"):
        shutil.copytree(ROOT / room, tmp_path / room)
    code = "import sys; from app.commands import main; sys.argv[1:] = ['traffic']; main()"
    # -S: no .pth file, so that dev/ is not found; the path of what it needs is given.
    site = Path(pytest.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{site}"},
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "needs the folder dev/" in done.stderr


WORKER = ("-m", "faust", "-A", "app", "worker")
STARTS = {
    "a worker": (WORKER, {}),
    "a worker without a disk": (WORKER, {"ONHAND_STORE": "memory"}),
    "a ledger": (("-m", "faust", "-A", "app.ledger", "worker"), {}),
    "a bridge": (BRIDGE, {"ONHAND_BRIDGE_TOPIC": "tills"}),
    "a program": (("-m", "examples.wordcount", "worker"), {}),
    "a program without a disk": (
        ("-m", "examples.wordcount", "worker"), {"ONHAND_STORE": "memory"}
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", STARTS)
def test_whoever_cannot_make_its_data_folder_says_so_in_one_sentence(
    what: str, tmp_path: Path
) -> None:
    command, more = STARTS[what]
    (tmp_path / "tills.toml").write_text(f'name = "tills"\n{MAP}')
    (tmp_path / "file").touch()
    settings = {
        "ONHAND_KAFKA": "127.0.0.1:1",
        "ONHAND_DATA_DIR": str(tmp_path / "file" / "data"),
        "ONHAND_BRIDGE_MAP": str(tmp_path / "tills.toml"),
        **more,
    }
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=os.environ | settings,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 2, done.stderr
    (said,) = done.stderr.splitlines()
    assert str(tmp_path / "file" / "data") in said
    assert said.endswith("Check the disk and the folder.")
