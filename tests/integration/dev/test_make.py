"""What the Makefile sets up, beside what the other tests run on."""

import re
import subprocess
from pathlib import Path

from dev.workers import ROOT


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "--silent", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_make_install_brings_the_service_alone_and_it_runs_anywhere(tmp_path: Path) -> None:
    there = tmp_path / "opt"
    for _ in range(2):  # the second time over the first, whose stale files must go
        done = make("install", f"DIR={there}")
        assert done.returncode == 0, done.stderr
        stale = there / "app" / "stale.py"
        assert not stale.exists()
        stale.touch()

    onhand = there / ".venv" / "bin" / "onhand"
    for command, said in (("--version", "onhand, version"), ("traffic", "needs the folder dev/")):
        run = subprocess.run(
            [onhand, command], cwd=tmp_path, env={}, capture_output=True, text=True, check=False
        )
        assert said in run.stdout + run.stderr
    code = "import faust, rocksdict, app, app.wiring; print(app.__file__)"
    python = there / ".venv" / "bin" / "python"
    found = subprocess.run(
        [python, "-c", code], cwd="/", capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == str(there / "app" / "__init__.py")
    packages = {path.name for path in (there / ".venv").glob("lib/python*/site-packages/*")}
    assert not packages & {"pytest", "hypothesis", "mypy", "ruff", "confluent_kafka", "uv"}


def test_make_install_never_empties_the_checkout_itself() -> None:
    done = make("install", "DIR=.")

    assert done.returncode != 0
    assert "DIR is the checkout itself" in done.stdout
    assert (ROOT / "app").is_dir()


def test_whatever_the_documents_have_one_make_is_ignored_by_git_and_removed_by_make_clean() -> None:
    removed = make("--dry-run", "clean").stdout.split()
    ignored = {line.strip("/\n") for line in (ROOT / ".gitignore").read_text().splitlines()}
    documents = [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/*.md"),
        ROOT / "dev" / "kafka" / "__main__.py",
    ]
    text = "".join(path.read_text() for path in documents)
    folders = set(re.findall(r"ONHAND_DATA_DIR=\./([\w-]+)", text))
    folders |= set(re.findall(r"make kafka FOLDER=([\w-]+)", text))
    folders |= {".venv", ".kafka", "data"}

    assert {"data-b", "kafka-data"} <= folders
    assert folders <= set(removed)
    assert folders <= ignored


def test_no_remedy_that_is_printed_needs_a_pip_that_is_not_there() -> None:
    assert not (ROOT / ".venv" / "bin" / "pip").exists()
    for path in (*ROOT.glob("dev/**/*.py"), *ROOT.glob("app/**/*.py"), *ROOT.glob("*.md")):
        assert ".venv/bin/pip" not in path.read_text(), path


def test_plain_make_lists_every_target_that_the_readme_names() -> None:
    listed = set(re.findall(r"^  make (\w+)", make().stdout, re.MULTILINE))
    named = set(re.findall(r"`?make ([a-z0-9]+)", (ROOT / "README.md").read_text()))

    assert named <= listed
