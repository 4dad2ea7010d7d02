"""Run Kafka's MirrorMaker 2, which copies topics from one cluster to another: for the backup drill.

Its settings are those of the backup recipe in docs/operations.md, so that the drill tests what
an operator is told to do.
"""

import re
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from dev.kafka.broker import LOGGING, STOP_TIMEOUT_S, die_with_parent
from dev.kafka.jars import MIRROR_MAKER, jars
from dev.kafka.java import java

RECIPE = Path(__file__).resolve().parents[2] / "docs" / "operations.md"
_JVM = ["-Xmx384m", "-XX:+UseSerialGC"]
_PROGRAM = "org.apache.kafka.connect.mirror.MirrorMaker"


def recipe() -> dict[str, str]:
    """The settings that docs/operations.md tells an operator to use, by name."""
    found = re.search(r"```properties\n(.*?)```", RECIPE.read_text(), re.DOTALL)
    assert found is not None, f"{RECIPE.name} has no block of properties"
    lines = (line.partition("#")[0].strip() for line in found[1].splitlines())
    pairs = (line.partition("=") for line in lines if line)
    return {name.strip(): value.strip() for name, _, value in pairs}


class Mirror:
    """One MirrorMaker process; a context manager that ends it.

    Args:
        settings: by their names, as in its properties file.
        folder: for that file and the log.
    """

    def __init__(self, settings: Mapping[str, str], folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / "mirror.log"
        self._file = folder / "mirror.properties"
        self._file.write_text("".join(f"{name} = {to}\n" for name, to in settings.items()))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, also again after `kill`; copying begins some seconds later."""
        lib = jars(MIRROR_MAKER)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(java()), *_JVM, *LOGGING, "-cp", f"{lib}/*", _PROGRAM, str(self._file)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )

    @property
    def running(self) -> bool:
        """Whether the process exists."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """SIGKILL; returns when it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        """SIGTERM, or SIGKILL if that takes long."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def tail(self, lines: int = 20) -> str:
        """Its last words."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
