import itertools
import re
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE
from threading import Thread

import psutil
import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # not in its __all__

from dev.kafka import Kafka, KafkaUnavailable, free_port, start
from dev.workers import ROOT


def a_topic(bootstrap: str, replicas: int = 1) -> str:
    name = f"t-{uuid.uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    admin.create_topics([NewTopic(name, 1, replicas)])[name].result(60)
    return name


def produce(bootstrap: str, topic: str, *values: bytes) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "log_level": 0})
    for value in values:
        producer.produce(topic, value)
    assert producer.flush(120) == 0


def consume(bootstrap: str, topic: str, count: int) -> list[bytes]:
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": uuid.uuid4().hex,
            "auto.offset.reset": "earliest",
            "log_level": 0,
        }
    )
    consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    values: list[bytes] = []
    deadline = time.monotonic() + 120
    while len(values) < count and time.monotonic() < deadline:
        message = consumer.poll(0.2)
        if message is not None and message.error() is None:
            value = message.value()
            assert value is not None
            values.append(value)
    consumer.close()
    return values


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_the_shared_broker_takes_and_gives_back_records(kafka: Kafka) -> None:
    topic = a_topic(kafka.bootstrap)

    produce(kafka.bootstrap, topic, b"one", b"two")

    assert consume(kafka.bootstrap, topic, 2) == [b"one", b"two"]


def test_data_outlives_a_kill_and_a_restart_on_the_same_port(tmp_path: Path) -> None:
    with start(tmp_path) as own:
        address = own.bootstrap
        topic = a_topic(address)
        produce(address, topic, b"kept")

        own.kill()
        assert not psutil.pid_exists(own.pid)
        own.restart()

        assert own.bootstrap == address
        assert consume(address, topic, 1) == [b"kept"]
    with start(tmp_path) as again:
        assert consume(again.bootstrap, topic, 1) == [b"kept"]


def test_two_brokers_run_side_by_side_and_each_stops_only_itself(kafka: Kafka) -> None:
    with start() as other:
        folder = other.nodes[0].folder
        port, pid = other.nodes[0].port, other.pid
        assert port != kafka.nodes[0].port
    assert not psutil.pid_exists(pid)
    assert not accepts(port)
    assert not folder.exists()
    assert accepts(kafka.nodes[0].port)


def test_a_paused_broker_can_be_resumed_and_a_paused_one_stopped() -> None:
    with start() as own:
        topic = a_topic(own.bootstrap)
        own.pause()
        assert psutil.Process(own.pid).status() == psutil.STATUS_STOPPED
        own.resume()
        produce(own.bootstrap, topic, b"after")
        own.pause()
    assert not psutil.pid_exists(own.pid)


def test_a_leader_killed_in_a_cluster_of_three_is_replaced() -> None:
    with start(brokers=3) as own:
        topic = a_topic(own.bootstrap, replicas=3)
        produce(own.bootstrap, topic, b"before")
        admin = AdminClient({"bootstrap.servers": own.bootstrap, "log_level": 0})
        leader = admin.list_topics(topic, 60).topics[topic].partitions[0].leader

        own.kill(leader)
        produce(own.bootstrap, topic, b"after")

        assert consume(own.bootstrap, topic, 2) == [b"before", b"after"]


def test_the_broker_dies_with_a_parent_that_was_killed() -> None:
    code = (
        "import time; from dev.kafka import start; print(start().pid, flush=True); time.sleep(99)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
    deadline = time.monotonic() + 120
    while psutil.pid_exists(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not psutil.pid_exists(pid)


def test_the_broker_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    started: list[Kafka] = []
    thread = Thread(target=lambda: started.append(start(tmp_path)))
    thread.start()
    thread.join()

    (own,) = started
    with own:
        assert consume(own.bootstrap, a_topic(own.bootstrap), 0) == []
        assert own.nodes[0].running


def test_make_kafka_says_its_address_and_ctrl_c_stops_it() -> None:
    command = [sys.executable, "-m", "dev.kafka"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as shell:
        try:
            assert shell.stdout is not None
            assert "Apache Kafka" in shell.stdout.readline()
            address = shell.stdout.readline().strip().removeprefix("export ONHAND_KAFKA=")
            assert "`make kafka FOLDER=kafka-data` keeps it" in shell.stdout.readline()
            a_topic(address)
            shell.send_signal(signal.SIGINT)
            assert shell.wait(120) == 0
        finally:
            shell.kill()
    assert not accepts(int(address.rsplit(":", 1)[1]))


def test_make_kafka_with_a_folder_says_that_it_keeps_its_data_and_does(tmp_path: Path) -> None:
    command = ["make", "--silent", "kafka", f"FOLDER={tmp_path / 'kept'}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as shell:
        try:
            assert shell.stdout is not None
            pid = int(re.findall(r"pid (\d+)", shell.stdout.readline())[0])
            address = shell.stdout.readline().strip().removeprefix("export ONHAND_KAFKA=")
            assert f"stays in {tmp_path / 'kept'}" in shell.stdout.readline()
            topic = a_topic(address)
            produce(address, topic, b"kept")
            psutil.Process(psutil.Process(pid).ppid()).send_signal(signal.SIGINT)
            assert shell.wait(120) == 0
        finally:
            shell.kill()
    with start(tmp_path / "kept") as again:
        assert consume(again.bootstrap, topic, 1) == [b"kept"]


def test_a_broker_that_cannot_start_is_reported_with_its_log(tmp_path: Path) -> None:
    data = tmp_path / "broker-1" / "data"
    data.mkdir(parents=True)
    (data / "meta.properties").write_text("version=1\nnode.id=7\ncluster.id=other\n")

    with pytest.raises(KafkaUnavailable, match=r"broker 1 ended at its start: see .*kafka\.log"):
        start(tmp_path)


def test_a_port_in_use_is_refused_and_its_broker_left_alone(kafka: Kafka, tmp_path: Path) -> None:
    with pytest.raises(KafkaUnavailable, match=r"port \d+ is in use"):
        start(tmp_path, port=kafka.nodes[0].port)

    a_topic(kafka.bootstrap)


def test_settings_that_kafka_refuses_are_reported_in_its_words(tmp_path: Path) -> None:
    with pytest.raises(KafkaUnavailable, match=r"format .* must be at least 1MB"):
        start(tmp_path, settings={"log.cleaner.dedupe.buffer.size": 1})


def test_a_port_that_another_process_was_given_is_not_given_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    code = "from dev.kafka import free_port; print(free_port(), flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=PIPE, stdout=PIPE, text=True) as one:
        assert one.stdout is not None
        taken = int(one.stdout.readline())
        offered: Iterator[int] = itertools.count(taken)
        monkeypatch.setattr("random.randrange", lambda *_: next(offered))

        assert free_port() > taken
        one.communicate("\n")
    offered = iter([taken])
    assert free_port() == taken  # it goes with the process
