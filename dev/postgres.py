"""A real PostgreSQL of one's own: a free port, a folder that goes away, no account needed."""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from dev.kafka import free_port
from dev.workers import LIBC, PR_SET_PDEATHSIG

PROGRAMS = ("postgres", "initdb")
DEADLINE_S = 60.0


class PostgresMissing(Exception):
    """There is no PostgreSQL here; the message says what to install."""


class Postgres:
    """A server. `kill` is what a power cut does to it, `start` what follows.

    Args:
        folder: empty.
        is_durable: what is committed outlives the machine. Where what is killed is the server
            and never the machine, the kernel keeps what it has, and nobody has to wait for it.
    """

    def __init__(self, folder: Path, *, is_durable: bool = False) -> None:
        missing = [name for name in PROGRAMS if shutil.which(name) is None]
        if missing:
            raise PostgresMissing(
                f"{' and '.join(missing)} not found on PATH: install PostgreSQL's server (Debian: "
                "apt-get install postgresql, then put /usr/lib/postgresql/*/bin on PATH)."
            )
        self.port, self._folder, self._made = free_port(), folder, 0
        self._settings = {} if is_durable else {"fsync": "off"}
        self._process: subprocess.Popen[bytes] | None = None
        # PostgreSQL does not run as root.
        self._as: dict[str, Any] = {}
        if os.geteuid() == 0:
            user = pwd.getpwnam("nobody")
            self._as = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
            os.chown(folder, user.pw_uid, user.pw_gid)
        words = ("--auth=trust", "--username=onhand", "--encoding=UTF8", "--no-sync", "--no-locale")
        made = subprocess.run(
            ["initdb", *words, "--pgdata", str(folder / "data")],
            capture_output=True, text=True, cwd=folder, **self._as,
        )  # fmt: skip
        assert made.returncode == 0, made.stderr
        self.start()

    def start(self) -> None:
        """Start, and wait until it answers."""
        log = self._folder / "log"
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": self._folder,
            "shared_buffers": "64MB",
            "max_wal_size": "4GB",
            **self._settings,
        }
        with log.open("ab") as written:
            self._process = subprocess.Popen(
                ["postgres", "-D", str(self._folder / "data")]
                + [word for name, value in settings.items() for word in ("-c", f"{name}={value}")],
                stdin=subprocess.DEVNULL, stdout=written, stderr=written, cwd=self._folder,
                start_new_session=True, preexec_fn=_end_with_us, **self._as,
            )  # fmt: skip
        engine = sa.create_engine(self.url("postgres"), poolclass=sa.NullPool)
        deadline = time.monotonic() + DEADLINE_S
        while True:
            try:
                with engine.connect():
                    return
            except sa.exc.OperationalError:
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)

    def url(self, database: str) -> str:
        """As ONHAND_LEDGER_URL."""
        return f"postgresql+psycopg://onhand@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """Its URL; empty."""
        self._made += 1
        engine = sa.create_engine(
            self.url("postgres"), poolclass=sa.NullPool, isolation_level="AUTOCOMMIT"
        )
        with engine.connect() as connection:
            connection.execute(sa.text(f"CREATE DATABASE ledger{self._made}"))
        return self.url(f"ledger{self._made}")

    def kill(self) -> None:
        """All of it at once, without a last word."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        deadline = time.monotonic() + DEADLINE_S
        while _is_alive(self._process.pid):  # its backends are children of nobody for a moment
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def stop(self) -> None:
        """End it; nobody needs its last checkpoint."""
        if self._process is not None and self._process.poll() is None:
            self.kill()


def _end_with_us() -> None:
    """In the child: a run that is killed leaves no server behind. SIGQUIT: at once, whole."""
    if sys.platform == "linux":
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGQUIT)


def _is_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@contextlib.contextmanager
def postgres_started(*, is_durable: bool = False) -> Iterator[Postgres]:
    """For as long as this is open; raises PostgresMissing."""
    # Not in a folder of pytest's, which only root may enter.
    folder = Path(tempfile.mkdtemp(prefix="onhand-postgres-"))
    try:
        server = Postgres(folder, is_durable=is_durable)
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
