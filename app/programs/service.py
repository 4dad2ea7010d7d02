"""A program's worker: Faust's life cycle, with its tables and its web hung into it."""

from __future__ import annotations

import logging
from typing import Any

import click

from app.counting.worker import CountingApp, settle_memory, share_memory_between_threads
from app.group.options import option_problems
from app.group.process import OnhandWorker
from app.programs.logs import topic_problems
from app.programs.program import Program
from app.service import refuse_to_start
from app.settings.listening import port_problems
from web.program import ProgramWeb

log = logging.getLogger(__name__)


class ProgramApp(CountingApp):
    """What Faust calls us for; the order is told in `app/counting/worker.py`."""

    program: Program
    web_part: ProgramWeb

    def on_webserver_init(self, web: Any) -> None:
        """Our handlers live on the server that Faust starts."""
        self.web_part.attach(web.web_app)

    async def on_start(self) -> None:
        """Check, connect, then let the consumer join the group."""
        await self._check()
        share_memory_between_threads()
        await super().on_start()
        await self.begin()
        settle_memory()
        await self.web_part.start()

    async def _check(self) -> None:
        settings = self.settings
        found = option_problems(settings, click.get_current_context(silent=True))
        found += map(str, await topic_problems(self.program, settings))
        found += port_problems(settings.web_host, settings.web_port)
        if found := found or await self.disagreement():
            refuse_to_start(found)

    async def stop(self) -> None:
        """Leave in order; also called by Faust on SIGTERM."""
        if not self._stopping:
            self._stopping = True
            log.info("Stopping: finishing requests, committing what is folded, leaving the group.")
            await self.leave(self.web_part.stop)
        await super().stop()


class ProgramWorker(OnhandWorker):
    """Says what starts."""

    def say_what_starts(self) -> None:
        """The first line of the log is the program's, the others are as of any worker."""
        app: Any = self.app
        program: Program = app.program
        log.info("%s: %s.", program.name, " → ".join(step.projection for step in program.steps))
        super().say_what_starts()
