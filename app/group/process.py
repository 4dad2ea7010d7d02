"""The worker's process as Faust runs it, with our own first and last words."""

from __future__ import annotations

import logging
import os
import signal
import sys
from typing import Any

import faust
import faust.cli.worker

from app import __version__
from app.group.ports import Worker
from app.settings.doubts import doubts_about

log = logging.getLogger("app")


class OnhandWorker(faust.Worker):
    """Faust's worker without its banner, its spinner and its cries."""

    app: Worker  # type: ignore[assignment]  # Faust's App, and ours
    #: Other workers ask this process, by its address.
    is_asked = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Without `-l info` Faust draws one. It hides the terminal's cursor, which a process that
        # refuses to start leaves hidden, and has the root logger make every debug line for it.
        self.spinner = None

    async def on_first_start(self) -> None:
        """Logging is set up here: from now on there is somebody to talk to."""
        await super().on_first_start()
        self.say_what_starts()
        for sentence in doubts_about(self.app.settings, is_asked=self.is_asked):
            log.warning("%s", sentence)

    def say_what_starts(self) -> None:
        """The first lines of the log."""
        settings = self.app.settings
        log.info(
            "Onhand %s starts: version %d, group %s, process %d.",
            __version__,
            settings.version,
            settings.group,
            os.getpid(),
        )
        log.info(
            "Kafka: %s (%s). Partitions: %d, standbys of each: %d.",
            settings.kafka,
            settings.kafka_security_protocol,
            settings.partitions,
            settings.standbys,
        )
        log.info(
            "Store: %s in %s. Address: %s, listening on %s:%d.",
            settings.store,
            settings.data_dir.absolute() / settings.group,
            settings.url,
            settings.web_host,
            self.app.conf.web_port,
        )

    def _install_signal_handlers_unix(self) -> None:
        super()._install_signal_handlers_unix()
        # A terminal that is closed, a connection that is lost: as a plain `kill`, which
        # commits and leaves the group. Not under nohup.
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            self.loop.add_signal_handler(signal.SIGHUP, self._on_sigterm)

    def _on_sigint(self) -> None:
        self._flag_as_shutdown_by_signal()
        self._schedule_shutdown(signal.SIGINT)  # not Faust's -INT- -INT- -INT-

    def stop_and_shutdown(self) -> None:
        """Nothing runs after this."""
        super().stop_and_shutdown()
        if self.app.starts_anew:
            log.info("Starting anew, to idle.")
            logging.shutdown()
            # The same process to whoever supervises it.
            os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606  # no shell
        log.info("Stopped.")


def say_nothing(self: faust.cli.worker.worker, worker: Any) -> None:
    """In the place of Faust's banner, which names its own parts and not ours."""


faust.cli.worker.worker.on_worker_created = say_nothing  # type: ignore[method-assign]  # it is its hook for this
