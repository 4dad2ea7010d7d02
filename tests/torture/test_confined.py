"""A worker with no more than deploy/onhand@.service leaves it.

How it is confined: tests/support/deploying/confined.py.
A system call that is not among those of the unit would end it, whatever came of it.
"""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from dev.kafka import Kafka
from dev.workers import ROOT, WORKER, Worker, environment, until
from tests.support.cluster.workers import Cluster
from tests.support.deploying.confined import allowed_calls, missing
from tests.support.deploying.units import UNITS, told
from tests.support.inputs.sheets import SALES

(UNIT,) = (unit for unit in UNITS if unit.name == "onhand@.service")
CONFINED = ("-m", "tests.support.deploying.confined", str(UNIT), "--", sys.executable)

#: What somebody tries who has taken over the process; prints what came of each, by name.
TRIED = """
import ctypes, errno, json, os, socket, sys
found = {}
def unshare(flags):
    if ctypes.CDLL(None, use_errno=True).unshare(flags) < 0:
        raise OSError(ctypes.get_errno(), "unshare")
def attempt(name, work):
    try:
        work()
    except OSError as error:
        found[name] = errno.errorcode[error.errno]
    else:
        found[name] = "done"
attempt("own folder", lambda: open("/mnt/state/a", "w").close())
attempt("own temporary", lambda: open("/tmp/a", "w").close())
attempt("anybody's folder", lambda: open("/var/tmp/a", "w").close())
attempt("a namespace", lambda: unshare(0x20000))
attempt("setuid", lambda: os.chmod("/mnt/state/a", 0o4755))
attempt("packets", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM))
attempt("internet", lambda: socket.socket().close())
attempt("disk", lambda: os.stat(sys.argv[1]))
attempt("others' files", lambda: os.stat(sys.argv[2]))
attempt("others", lambda: os.kill(1, 0))
attempt("scheduler", lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)))
found["homes"] = [*os.listdir("/home")]
found["processes"] = sum(name.isdigit() for name in os.listdir("/proc"))
found["capabilities"] = open("/proc/self/status").read().split("CapEff:")[1].split()[0]
found["file mode"] = oct(os.stat("/mnt/state/a").st_mode & 0o777)
print(json.dumps(found))
"""


@pytest.fixture(autouse=True)
def possible() -> None:
    if (why := missing()) is not None:
        pytest.skip(why)


def as_confined(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    outside = folder / "outside"
    outside.touch(mode=0o666)
    disks = [path for path in Path("/dev").iterdir() if path.is_block_device()]
    told_of = [str(disks[0] if disks else "/dev/sda"), str(outside)]
    return subprocess.run(
        [sys.executable, *CONFINED, "-c", code, *told_of],
        cwd=ROOT,
        env=environment({"ONHAND_DATA_DIR": str(folder / "state")}),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_who_takes_it_over_gets_its_data_and_the_network_and_nothing_else(tmp_path: Path) -> None:
    ended = as_confined(tmp_path, TRIED)

    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == {
        "own folder": "done", "own temporary": "done", "internet": "done",
        "anybody's folder": "EROFS", "a namespace": "EPERM", "setuid": "EPERM",
        "packets": "EAFNOSUPPORT", "disk": "ENOENT", "others' files": "ENOENT", "others": "EPERM",
        "scheduler": "EPERM", "homes": [], "processes": 1, "capabilities": "0" * 16,
        "file mode": "0o600",
    }  # fmt: skip


@pytest.mark.parametrize(
    "call",
    [
        "os.setuid(0)",
        "os.chroot('/tmp')",
        "ctypes.CDLL(None).mount(b'/', b'/tmp', b'', 4096, None)",
        "ctypes.CDLL(None).ptrace(0, 0, 0, 0)",
    ],
)
def test_what_is_not_among_its_system_calls_ends_it(tmp_path: Path, call: str) -> None:
    ended = as_confined(tmp_path, f"import ctypes, os; print('begun', flush=True); {call}")

    assert ended.stdout == "begun\n", ended.stderr
    assert ended.returncode == -signal.SIGSYS


def test_the_sets_of_system_calls_are_read_as_systemd_means_them() -> None:
    allowed = allowed_calls(told(UNIT)["SystemCallFilter"])

    assert {"read", "execve", "clone3", "epoll_wait", "setrlimit", "mmap"} <= allowed
    assert allowed.isdisjoint({"setuid", "chown", "mount", "bpf", "ptrace", "reboot", "seccomp"})


async def test_a_worker_counts_answers_loads_and_comes_back_with_what_its_unit_leaves_it(
    kafka: Kafka, tmp_path: Path
) -> None:
    cluster = Cluster(kafka.bootstrap, tmp_path, 2)
    await cluster.create_topics()
    worker = Worker("a", tmp_path, cluster.settings, command=(*CONFINED, *WORKER))
    sale = {"source": "till", "id": "1", "sku": "PEN", "location": "shop-7", "quantity": 3}
    try:
        timeout = aiohttp.ClientTimeout(total=120)
        async with aiohttp.ClientSession(timeout=timeout) as http:
            worker.start()
            await worker.ready(300)
            async with http.post(f"{worker.url}/v1/sales", json=sale) as answer:
                assert answer.status == 202, await answer.text()
            form = aiohttp.FormData()
            form.add_field("file", io.BytesIO(b"sku,qty\nPEN,2\n"), filename="sales.csv")
            form.add_field("map", SALES)
            # By a process of its own.
            async with http.post(f"{worker.url}/v1/documents", data=form) as answer:
                assert answer.status == 202, await answer.text()
            await has_sold(http, worker, 5)
            async with http.get(f"{worker.url}/metrics") as answer:
                assert "process_open_fds" in await answer.text()
            assert await worker.stop(200) == 0, worker.tail()

            # What it left on its disk is its own, and nobody else's.
            stores = [path for path in worker.data.rglob("*") if path.is_file()]
            assert stores
            assert all(path.stat().st_mode & 0o077 == 0 for path in stores)
            worker.start()
            await worker.ready(300)
            await has_sold(http, worker, 5)
            assert await worker.stop(200) == 0, worker.tail()
    finally:
        worker.kill()


async def has_sold(http: aiohttp.ClientSession, worker: Worker, count: int) -> None:
    """Wait until so many are counted."""

    async def is_counted() -> bool:
        assert worker.alive, worker.tail()
        async with http.get(f"{worker.url}/v1/inventory/PEN/shop-7") as answer:
            row: dict[str, Any] = await answer.json()
            return answer.status == 200 and row["sold"] == count

    await until(is_counted, f"counted: {count}", 120, every_s=0.1)
