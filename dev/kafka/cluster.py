"""Run the real Apache Kafka (KRaft) for the demo, the tests and the benchmarks.

Every port is chosen free on 127.0.0.1, every file is in the broker's own folder, and only
processes started here are ever signalled, by their pid. `python -m dev.kafka` runs one in
the foreground.
"""

import base64
import shutil
import signal
import tempfile
import time
import uuid
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from dev.kafka.broker import STOP_TIMEOUT_S, Node, brokers_known, free_port
from dev.kafka.jars import jars, jars_of
from dev.kafka.java import KafkaUnavailable, java, one_at_a_time, said_if_slow

LEARN_TIMEOUT_S = 120.0  # to write the file takes 4 s, and minutes where all cores are busy
START_TIMEOUT_S = 120.0  # 3 s here; a machine with ten other things to do needs 50


class Kafka:
    """A running cluster of one or more brokers; a context manager that stops it.

    `kill`, `pause`, `resume` and `restart` take the number of one broker (from 1) or act on
    all. Make it by `start`.
    """

    def __init__(self, nodes: list[Node], temporary: Path | None) -> None:
        self.nodes = nodes
        self._temporary = temporary

    @property
    def bootstrap(self) -> str:
        """`127.0.0.1:PORT`, of several brokers joined by commas."""
        return ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    @property
    def pid(self) -> int:
        """Process id of the first broker."""
        return self.nodes[0].pid

    def wait(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Return when every running broker answers and knows all the running ones.

        Raises:
            KafkaUnavailable: one ended or did not answer in time; names its log.
        """
        deadline = time.monotonic() + timeout_s
        expected = sum(node.running for node in self.nodes)
        for node in self._chosen(None):
            while brokers_known(node.port) < expected:
                if not node.running or time.monotonic() > deadline:
                    why = "did not answer in time" if node.running else "ended at its start"
                    tail = node.log.read_text(errors="replace").strip().splitlines()[-1:]
                    raise KafkaUnavailable(
                        f"Kafka broker {node.number} {why}: see {node.log} ({''.join(tail)})."
                    )
                time.sleep(0.02)

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """End all, by force after the time; a folder that `start` made itself is removed."""
        # Data that nobody will read again needs no orderly end, which takes a cluster 6 s.
        # The first end is orderly all the same, for it makes later starts quick.
        hard = self._temporary is not None and self.nodes[0].archive.exists()
        for node in self.nodes:
            node.signal(signal.SIGKILL if hard else signal.SIGTERM)
        for node in self.nodes:
            node.end(hard=hard, timeout_s=timeout_s)
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def kill(self, broker: int | None = None) -> None:
        """SIGKILL; the data stays for `restart`."""
        for node in self._chosen(broker):
            node.end(hard=True)

    def pause(self, broker: int | None = None) -> None:
        """SIGSTOP: connections stay open and nothing answers."""
        for node in self._chosen(broker):
            node.pause()

    def resume(self, broker: int | None = None) -> None:
        """SIGCONT."""
        for node in self._chosen(broker):
            node.signal(signal.SIGCONT)

    def restart(self, broker: int | None = None) -> None:
        """Stop if running, then start on the same ports and data; returns when it answers."""
        for node in self.nodes if broker is None else [self.nodes[broker - 1]]:
            node.end(hard=False)
            node.spawn()
        self.wait()

    def _chosen(self, broker: int | None) -> Iterator[Node]:
        return (n for n in self.nodes if n.running and broker in (None, n.number))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def start(
    folder: Path | None = None,
    port: int | None = None,
    settings: Mapping[str, object] | None = None,
    brokers: int = 1,
    version: str | None = None,
    listeners: Mapping[str, tuple[str, int]] | None = None,
) -> Kafka:
    """Start Kafka and return when it answers, in about 3 s.

    Args:
        folder: where its data and logs go; data found there is used again. None: a
            temporary one, removed by `stop`.
        port: of the first broker; None: a free one.
        settings: broker settings that go over ours, by their Kafka names.
        brokers: how many, each also a controller.
        version: another Kafka than the one that is locked.
        listeners: beside ours, of one broker: security protocol and port by name.

    Raises:
        KafkaUnavailable: no Java, no jars, or a broker did not start.
    """
    executable, lib = java(), jars() if version is None else jars_of(version)
    launch = [str(executable), "-cp", f"{lib}/*"]
    archive = _archive(executable, lib)
    temporary = Path(tempfile.mkdtemp(prefix="onhand-kafka-")) if folder is None else None
    home = (folder or temporary or Path()).resolve()
    nodes = [
        Node(n, home / f"broker-{n}", port if port and n == 1 else free_port(), launch, archive)
        for n in range(1, brokers + 1)
    ]
    kafka = Kafka(nodes, temporary)
    cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    if cluster_id.startswith("-"):  # Kafka's own uuids never do: it would look like an option
        cluster_id = "a" + cluster_id[1:]
    try:
        with said_if_slow("Kafka: starting …", after_s=5):
            for node in nodes:
                node.prepare(
                    {**_properties(node, nodes, listeners or {}), **(settings or {})}, cluster_id
                )
                node.spawn()
            kafka.wait()
    except BaseException:
        kafka.stop()
        raise
    return kafka


def learn_classes() -> None:
    """Have Java's file of loaded classes written, unless it is there: starts take half the time.

    The first broker that is stopped in order writes it; processes that start many at once would
    all be slow until then, and all write it.
    """
    executable, lib = java(), jars()
    with one_at_a_time():
        if not _archive(executable, lib).exists():
            start().stop(LEARN_TIMEOUT_S)


def _archive(executable: Path, lib: Path) -> Path:
    return lib.with_name(f"{lib.name}-{zlib.crc32(bytes(executable)):08x}.jsa")


def _properties(
    node: Node, nodes: list[Node], more: Mapping[str, tuple[str, int]]
) -> dict[str, object]:
    copies = min(3, len(nodes))
    voters = ",".join(f"{n.number}@127.0.0.1:{n.controller_port}" for n in nodes)
    listeners = f"CLIENT://127.0.0.1:{node.port},CONTROLLER://127.0.0.1:{node.controller_port}"
    protocols = "CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT"
    for name, (protocol, port) in more.items():
        listeners += f",{name}://127.0.0.1:{port}"
        protocols += f",{name}:{protocol}"
    return {
        "process.roles": "broker,controller",
        "node.id": node.number,
        "listeners": listeners,
        "inter.broker.listener.name": "CLIENT",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": protocols,
        "controller.quorum.voters": voters,
        "log.dirs": node.folder / "data",
        "auto.create.topics.enable": "false",
        "offsets.topic.num.partitions": 4,
        "offsets.topic.replication.factor": copies,
        "transaction.state.log.num.partitions": 8,
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": max(1, copies - 1),
        # No consumers to wait for: tests start a group of known members.
        "group.initial.rebalance.delay.ms": 0,
        # Tests of failover choose sessions shorter than the default least of 6 s.
        "group.min.session.timeout.ms": 1000,
        # A broker killed and started again waits until its old session is over (9 s by default).
        "broker.session.timeout.ms": 3000,
        "broker.heartbeat.interval.ms": 500,
        # 128 MB of a 512 MB heap by default; 1.2 million keys a pass are plenty here.
        "log.cleaner.dedupe.buffer.size": 32 * 2**20,
    }
