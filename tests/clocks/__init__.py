"""Worker processes whose wall clock is wrong."""

from datetime import datetime
from pathlib import Path

from tests.support.cluster.workers import Cluster

HOUR_S = 3600.0


class Clock:
    """The wall clock of one worker of a cluster; set it before the worker starts."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self._file = cluster.folder / f"{name}.clock"
        self._worker = worker = cluster.worker(name)
        here = str(Path(__file__).parent)
        wrong = {"PYTHONPATH": here, "CLOCK_FILE": str(self._file)}
        worker.settings = {**worker.settings, **wrong}
        self.step(0)

    def step(self, seconds: float) -> None:
        """From now on it is so much ahead of the broker's; less than 0: behind."""
        new = self._file.with_suffix(".new")
        new.write_text(str(seconds))
        new.replace(self._file)

    def first_seen(self) -> float:
        """What it showed when its worker wrote its first line of log, seconds since the epoch."""
        with self._worker.log.open() as log:
            stamp = next(log).partition(",")[0]
        return datetime.strptime(stamp, "%Y-%m-%d %H:%M:%S").astimezone().timestamp()
