"""`make readme`: what the documents say, held against the service as it is.

First without a broker (`dev/readme/documents.py`). Then every `sh` block of `DOCUMENTS` runs as
written and in order, in one shell, against a Kafka and workers of its own; the Python, Java and
kcat examples too. What stands behind a block as `text` or `json` must be what it prints: `…` stands
for anything, times and offsets may differ.

Only the addresses are not as written: free ports stand for 9092 and `PORTS`. On a machine without
curl, `dev/readme/curl.py` stands in for it.
"""

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import aiohttp

from dev.kafka import Kafka, KafkaUnavailable, free_port, start
from dev.kafka.jars import jars
from dev.kafka.java import java
from dev.readme.documents import Block, Fault, faults, read
from dev.reads.answers import owners
from dev.workers import LIBC, PR_SET_PDEATHSIG, ROOT, environment, status_of

DOCUMENTS = ("README.md", "docs/http.md", "docs/article.md", "docs/your-own-table.md")
RUNNABLE = ("sh", "python", "java")
BLOCK_TIMEOUT_S = 60.0
READY_TIMEOUT_S = 60.0
#: Of each topic, as the documents create them.
PARTITIONS = 12
#: As the documents have them.
PORTS = ("6066", "6067", "6068", "6166")
#: Whatever runs for long and is therefore left running.
_FOREGROUND = re.compile(r"^(?:\w+=\S+ )*(?:onhand(?: ledger)?|\S*python -m \w+) worker\b")


class Session:
    """One shell that runs block after block, in a folder that looks like the checkout.

    Args:
        kafka: the broker that stands for localhost:9092.
        folder: scratch; what the commands write goes there, not into the checkout.
    """

    def __init__(self, kafka: Kafka, folder: Path) -> None:
        self._home, self._state, self._log = folder / "home", folder / "state", folder / "log"
        self._home.mkdir()
        for entry in ROOT.iterdir():
            if entry.name not in ("data", "data-b", "data-h", ".git"):
                (self._home / entry.name).symlink_to(entry)
        self._ports = {"9092": kafka.bootstrap.rpartition(":")[2]}
        self._ports |= {port: str(free_port()) for port in PORTS}
        own = {"ONHAND_KAFKA": kafka.bootstrap, "ONHAND_WEB_PORT": self._ports["6066"]}
        self._environment = environment(own)
        if shutil.which("curl") is None:
            self._environment["PATH"] = f"{_a_curl(folder)}:{os.environ['PATH']}"
        self._workers: list[tuple[subprocess.Popen[bytes], str, Callable[[str], bool]]] = []

    def run(self, block: Block) -> str:
        """Run it; what it printed, with the documents' own ports.

        Raises:
            Failed: its exit code is not 0, or it took too long.
        """
        if block.language == "java":
            return self._output(block, self._java(block))
        if block.language == "python":
            return self._output(block, [sys.executable, "-c", self._with_ports(block.text)])
        lines = self._with_ports(block.text).splitlines()
        started = [line for line in lines if _FOREGROUND.match(line)]
        rest = [_dry(line) for line in lines if line not in started]
        remembered = f"[ ! -f {self._state} ] || . {self._state}\n"
        script = remembered + "set -euo pipefail\n" + "\n".join(rest)
        said = self._output(block, ["bash", "-c", f"{script}\nexport -p > {self._state}"])
        for line in started:
            self._start(block, line)
        return said

    def _with_ports(self, text: str) -> str:
        for written, real in self._ports.items():
            text = re.sub(rf"(?<=[:=]){written}\b", real, text)
        return text

    def _java(self, block: Block) -> list[str]:
        name = re.search(r"class (\w+)", block.text)
        assert name is not None
        source = self._home / f"{name[1]}.java"
        source.write_text(self._with_ports(block.text))
        return [str(java()), "-cp", f"{jars()}/*", str(source)]

    def _output(self, block: Block, command: list[str]) -> str:
        try:
            done = subprocess.run(
                command,
                cwd=self._home,
                env=self._environment,
                capture_output=True,
                stdin=subprocess.DEVNULL,
                timeout=BLOCK_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Failed(block, f"not done after {BLOCK_TIMEOUT_S:.0f} s") from None
        said = done.stdout.decode(errors="replace")
        if done.returncode:
            everything = (said + done.stderr.decode(errors="replace")).strip()
            raise Failed(block, f"exit code {done.returncode}: {everything[-600:]}")
        for written, real in self._ports.items():
            said = re.sub(rf"(?<=[:=]){real}\b", written, said)
        return said

    def _start(self, block: Block, line: str) -> None:
        """Leave a worker running; returns when it can answer."""
        found = re.search(r"ONHAND_WEB_PORT=(\d+)", line)
        port = found[1] if found else self._ports["6066"]
        script = f". {self._state}\nexec env {line}"
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                ["bash", "-c", script],
                cwd=self._home,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=_end_with_parent,
            )
        serves = _is_serving if "onhand worker" in line else _is_ready
        self._workers.append((process, port, serves))
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not all(serves(each) for _, each, serves in self._workers):
            if process.poll() is not None or time.monotonic() > deadline:
                tail = self._log.read_text(errors="replace")[-600:]
                raise Failed(block, f"the worker of {line!r} does not get ready: {tail}")
            time.sleep(0.1)

    def close(self) -> None:
        """End the workers."""
        for process, *_ in self._workers:
            process.kill()
            process.wait()


def _a_curl(folder: Path) -> Path:
    """A folder with what stands in for curl."""
    program = folder / "bin" / "curl"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{ROOT}/dev/readme/curl.py" "$@"\n')
    program.chmod(0o755)
    return program.parent


def _dry(line: str) -> str:
    """Make's targets set up, serve or test; running them here would be a circle."""
    return re.sub(r"^make (\w+).*", r"make --dry-run \1 >/dev/null", line)


class Failed(Exception):
    """A block did not do what the document says."""

    def __init__(self, block: Block, why: str) -> None:
        super().__init__(why)
        self.fault = Fault(block.path, block.line, why)


def _end_with_parent() -> None:
    if sys.platform == "linux":
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _is_serving(port: str) -> bool:
    """Whether an owner answers through it for each partition, and for some it is the owner."""
    url = f"http://127.0.0.1:{port}"
    found = asyncio.run(_owners(url))
    return all(found) and url in found


def _is_ready(port: str) -> bool:
    """Whether a worker of somebody's own tables says so."""
    return asyncio.run(status_of(f"http://127.0.0.1:{port}/ready")) == 200


async def _owners(url: str) -> list[str]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as http:
        return await owners(http, url, PARTITIONS)


def is_as_expected(expected: str, said: str) -> bool:
    """Compare what was printed with what the document shows; `…` there stands for anything."""
    wanted, found = (_normal(text) for text in (expected, said))
    pattern = ".*?".join(re.escape(piece) for piece in wanted.split("…"))
    return re.fullmatch(pattern, found, re.DOTALL) is not None


def _normal(text: str) -> str:
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:]+(\.\d+)?Z", "TIME", text)
    text = re.sub(r"@\d+\b", "@N", text)
    text = text.replace(":6067", ":6066")  # which of the two owns a partition is not promised
    return "".join(text.split())


def _cannot_run(block: Block) -> str | None:
    """Which tool of somebody else's is missing here."""
    if block.language == "sh":
        for tool in ("kcat",):
            if block.text.startswith(tool) and shutil.which(tool) is None:
                return tool
    if block.language == "java":
        modules = subprocess.run(
            [java(), "--list-modules"], capture_output=True, text=True, check=False
        )
        return None if "jdk.compiler@" in modules.stdout else "a JDK (this is a JRE)"
    return None


def run_all(root: Path) -> Iterator[Fault]:
    """Run the documents; stops at the first block that fails, since others build on it."""
    with tempfile.TemporaryDirectory(prefix="onhand-readme-") as folder, start() as kafka:
        session = Session(kafka, Path(folder))
        try:
            for path in DOCUMENTS:
                blocks = [b for b in read(root, path).blocks if b.language in RUNNABLE]
                count = 0
                for block in blocks:
                    if block.source is not None:
                        continue
                    if tool := _cannot_run(block):
                        print(f"{path}:{block.line}: not run, {tool} is not installed here")
                        continue
                    said = session.run(block)
                    count += 1
                    if block.expected is not None and not is_as_expected(block.expected, said):
                        raise Failed(block, f"the document shows other output than\n{said}")
                print(f"{path}: {count} blocks run as written")
        except Failed as failed:
            yield failed.fault
        finally:
            session.close()


def main() -> int:
    """Exit code 0 only if all that the documents say is so."""
    os.chdir(ROOT)
    if shutil.which("curl") is None:
        print("curl is not installed here: dev/readme/curl.py stands in for it.")
    found = list(faults(ROOT))
    for fault in found:
        print(fault, file=sys.stderr)
    try:
        for fault in run_all(ROOT):
            print(fault, file=sys.stderr)
            found.append(fault)
    except KafkaUnavailable as missing:
        print(missing, file=sys.stderr)
        return 2
    return 1 if found else 0
