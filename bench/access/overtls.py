"""What TLS costs a read: `python -m bench.access.overtls [--pairs 15]`.

Quick reads of one client, one after the other, over one connection to a server without Kafka: by
TLS 1.3 and without it, now the one first, now the other. CPU of the server's thread alone, with
the kernel's part; and new connections, each with its handshake and one read.
"""

import argparse
import asyncio
import gc
import shlex
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Thread

from aiohttp import web

from bench.access.pairs import row_of_pairs
from bench.micro import CURL, heads, queries
from web.access.access import OPEN
from web.http.connections import ConnectionLimits, guard

READS, CONNECTIONS = 4_000, 200


def a_certificate(folder: Path) -> ssl.SSLContext:
    """Signed by itself, as docs/security.md makes one."""
    key, cert = folder / "key.pem", folder / "cert.pem"
    asked = shlex.split(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1"
    )
    asked += ["-subj", "/CN=localhost", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(asked, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context


class Served:
    """A server in a thread of its own.

    Args:
        tls: None: plain HTTP.
    """

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self._is_tls = tls is not None
        self._loop = asyncio.new_event_loop()
        Thread(target=self._loop.run_forever, daemon=True).start()
        self._port = asyncio.run_coroutine_threadsafe(self._start(tls), self._loop).result(30)

    async def _start(self, tls: ssl.SSLContext | None) -> int:
        quick, app = queries().quick, web.Application()
        limits = ConnectionLimits()
        shortcut = lambda data, take: OPEN.at_once(data, take, quick)  # noqa: E731
        guard(app, limits, shortcut, tls=None if tls is None else lambda: tls)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return int(runner.addresses[0][1])

    def cpu_s(self) -> float:
        """That its thread has taken so far."""
        said: Future[float] = Future()
        self._loop.call_soon_threadsafe(lambda: said.set_result(time.thread_time()))
        return said.result(30)

    @contextmanager
    def connected(self) -> Iterator[socket.socket]:
        """A client, its handshake done."""
        with socket.create_connection(("127.0.0.1", self._port)) as plain:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if not self._is_tls:
                yield plain
                return
            trusting = ssl.create_default_context()
            trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
            with trusting.wrap_socket(plain) as covered:
                yield covered


def _read(one: socket.socket, head: bytes) -> None:
    one.sendall(head)
    got = one.recv(2**16)
    if not got.startswith(b"HTTP/1.1 200"):
        raise SystemExit(f"a read was answered: {got[:200]!r}")


def reads(served: Served, asked: list[bytes]) -> int:
    """On one connection; how many."""
    with served.connected() as one:
        for number in range(READS):
            _read(one, asked[number % len(asked)])
    return READS


def connections(served: Served, asked: list[bytes]) -> int:
    """Each new, with one read."""
    for number in range(CONNECTIONS):
        with served.connected() as one:
            _read(one, asked[number % len(asked)])
    return CONNECTIONS


def _us(work: Callable[[Served, list[bytes]], int], asked: list[bytes], served: Served) -> float:
    began = served.cpu_s()
    count = work(served, asked)
    return (served.cpu_s() - began) / count * 1e6


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.access.overtls", description=__doc__)
    parser.add_argument("--pairs", type=int, default=15)
    pairs = parser.parse_args().pairs
    asked = heads(*CURL)
    with tempfile.TemporaryDirectory() as folder:
        plain, covered = Served(None), Served(a_certificate(Path(folder)))
        gc.freeze()
        print("| CPU of the server | TLS, µs | plain, µs | ratio | half of the pairs |")
        print("|---" * 5 + "|")
        for name, work in (("a read", reads), ("a connection with one read", connections)):
            us = partial(_us, work, asked)
            print(row_of_pairs(name, covered, plain, us, pairs, 2))


if __name__ == "__main__":
    main()
