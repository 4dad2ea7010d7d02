"""What other languages' installers bring, for tests alone: beside Kafka's jars, once."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from dev.kafka.java import CACHE, one_at_a_time

SETUP_S = 180


def run(what: str, *command: object, cwd: Path, timeout_s: float) -> str:
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, capture_output=True, text=True, timeout=timeout_s
    )
    assert done.returncode == 0, f"{what}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


def installed(source: Path, name: str, files: tuple[str, ...], tool: str, *command: str) -> Path:
    """A folder of this name with what `files` of `source` ask for; made once, by their own tool."""
    if shutil.which(tool) is None:
        pytest.skip(f"There is no {tool} here to install {name} with.")
    folder = CACHE / name
    with one_at_a_time():
        texts = [(source / file).read_text() for file in files]
        done = folder / "done"
        if not done.exists() or done.read_text() != "".join(texts):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            for file, text in zip(files, texts, strict=True):
                (folder / file).write_text(text)
            try:
                run(tool, tool, *command, cwd=folder, timeout_s=SETUP_S)
            except (AssertionError, subprocess.TimeoutExpired):
                pytest.skip(f"{tool} cannot install {name}: it reaches no registry.")
            done.write_text("".join(texts))
    return folder
