"""One Kafka broker process: ports, configuration, start, signals, end."""

import contextlib
import ctypes
import fcntl
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from dev.kafka.java import KafkaUnavailable

# Half the heap of Kafka's own start script, which expects a machine of its own.
JVM = ["-Xms256m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError"]
# A format lives for less than a second: no time for the optimising compiler.
FORMAT_JVM = ["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
LOGGING = ["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
STOP_TIMEOUT_S = 15.0
_PR_SET_PDEATHSIG = 1
# The kernel's "parent" that a child dies with is the thread that started it, and a caller's
# thread may be a short-lived one (asyncio.to_thread): this one lives as long as the process.
_spawner = ThreadPoolExecutor(1, "kafka-parent")
# Ports that this process was given: its own locks do not keep itself out.
_given: set[int] = set()


def free_port() -> int:
    """A port that nobody listens on, and that nobody else is given while this process lives.

    Between this answer and a listener's start lie seconds, and a worker that was killed wants its
    own port again: two test runs side by side would soon take each other's.

    It lies below the range the kernel gives to clients (32768 up on Linux). From there a client
    that retries a stopped broker could be given the broker's own port, connect to itself, and
    keep the broker from coming back.
    """
    while True:
        port = random.randrange(20_000, 32_000)
        if port not in _given and port_is_free(port) and _is_claimed(port):
            _given.add(port)
            return port


def _is_claimed(port: int) -> bool:
    """Lock one byte of a file that all processes of this user share; it goes with the process."""
    try:
        fcntl.lockf(_claims(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    return True


@cache
def _claims() -> int:
    # Open for as long as the process lives: to close it would give all its locks away.
    path = Path(tempfile.gettempdir()) / f"onhand-ports-{os.getuid()}"
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)


def port_is_free(port: int) -> bool:
    """Whether a broker could listen on 127.0.0.1:`port` now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


class Node:
    """One broker process; broker and controller in one. `Kafka` is what to use."""

    def __init__(
        self, number: int, folder: Path, port: int, launch: list[str], archive: Path
    ) -> None:
        """Nothing starts yet; `launch` is the Java command up to the options.

        `archive` is the JVM's file of loaded classes (CDS). With it a broker starts in half the
        time, and half the CPU; the first orderly end of any broker writes it.
        """
        self.number = number
        self.folder = folder
        self.port = port
        self.controller_port = free_port()
        self.archive = archive
        self._launch = launch
        self._archiving: Path | None = None
        self.log = folder / "kafka.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process id; the broker must have been started."""
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process exists (it may be paused)."""
        return self._process is not None and self._process.poll() is None

    def prepare(self, properties: Mapping[str, object], cluster_id: str) -> None:
        """Write the configuration, and format the folder unless it holds data already."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lines = [f"{name}={value}\n" for name, value in properties.items()]
        (self.folder / "server.properties").write_text("".join(lines))
        if (self.folder / "data" / "meta.properties").exists():
            return
        arguments = ["format", "--cluster-id", cluster_id, "--config"]
        known = [f"-XX:SharedArchiveFile={self.archive}"] if self.archive.exists() else []
        command = self._java([*FORMAT_JVM, *known], "kafka.tools.StorageTool", *arguments)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            why = "".join(done.stderr.strip().splitlines()[:1])
            raise KafkaUnavailable(f"Kafka could not format {self.folder}: {why}")

    def spawn(self) -> None:
        """Start the process; on Linux it dies with this one, however that ends.

        Raises:
            KafkaUnavailable: somebody listens on its port: his answers would pass for ours.
        """
        for port in (self.port, self.controller_port):
            if not port_is_free(port):
                raise KafkaUnavailable(f"Kafka broker {self.number}: port {port} is in use.")
        self._archiving = None
        classes = f"-XX:SharedArchiveFile={self.archive}"
        if not self.archive.exists():
            self._archiving = self.folder / "classes.jsa"
            self._archiving.unlink(missing_ok=True)
            classes = f"-XX:ArchiveClassesAtExit={self._archiving}"
        with self.log.open("ab") as log:
            self._process = _spawner.submit(
                subprocess.Popen,
                self._java([*JVM, classes], "kafka.Kafka"),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C is for us: we stop the broker after what depends on it.
                start_new_session=True,
                preexec_fn=die_with_parent,
            ).result()

    def signal(self, number: signal.Signals) -> None:
        """Send one signal to this process, if it still exists."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def pause(self) -> None:
        """SIGSTOP; returns when the process has stopped."""
        if self.running:
            self.signal(signal.SIGSTOP)
            with contextlib.suppress(ChildProcessError):  # it ended instead
                os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOWAIT)

    def end(self, *, hard: bool, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """SIGTERM, or SIGKILL if `hard` or after the time; returns when it is gone."""
        if self._process is None:
            return
        self.signal(signal.SIGKILL if hard else signal.SIGTERM)
        self.signal(signal.SIGCONT)
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._archiving is not None and self._process.returncode == 128 + signal.SIGTERM:
            # Java's answer to an orderly SIGTERM: the file is whole.
            with contextlib.suppress(OSError):
                shutil.move(self._archiving, self.archive.with_suffix(f".{self.pid}"))
                self.archive.with_suffix(f".{self.pid}").rename(self.archive)
            self._archiving = None

    def _java(self, options: list[str], main: str, *arguments: str) -> list[str]:
        configuration = str(self.folder / "server.properties")
        return [*self._launch, *options, *LOGGING, main, *arguments, configuration]


def brokers_known(port: int) -> int:
    """How many brokers the one at `port` lists; 0 while it does not answer."""
    # Metadata request, version 1, all topics: api key, version, correlation, client, topics.
    request = struct.pack(">hhihi", 3, 1, 0, -1, -1)
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            answer = connection.recv(12, socket.MSG_WAITALL)
    except OSError:
        return 0
    # Length, correlation, then the array of brokers, which begins with its count.
    return int(struct.unpack(">iii", answer)[2]) if len(answer) == 12 else 0


def _linux_prctl() -> Callable[..., int] | None:
    if sys.platform != "linux":
        return None
    prctl: Callable[..., int] = ctypes.CDLL(None).prctl
    return prctl


_prctl = _linux_prctl()  # looked up before any fork: dlopen is not safe after it


def die_with_parent() -> None:
    """In the child, before exec: SIGKILL when the parent is gone, however it went."""
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
