"""What a program says of itself: its steps, each a table, and the calls that give their rows.

A step reads topics, and may emit to topics that the next one reads: a chain. What no step
emits is the log that everything is counted from: it is never written here and kept for ever.
What a step emits belongs to the program's version and has that in its name, as a table has:
the next version counts anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from app.config import Settings
from core.projection import Projection, imported
from tables.config import TableConfig
from web.rows.routes import KeyRoute, TopRoute


class Step(msgspec.Struct, frozen=True):
    """One table.

    projection: what it counts, as `module:NAME`; another process imports it by that.
    reads: topics, as the projection calls them. emits: the same.
    window: of the duplicates window, in offsets, if its events have ids.
    """

    projection: str
    reads: Sequence[str]
    emits: Sequence[str] = ()
    window: int = 100_000


class Program(msgspec.Struct, frozen=True):
    """Tables that live together in each worker, and the calls that read the last one.

    name: of the program; ONHAND_NAME, where it is set, counts.
    steps: in the order in which records pass through them; each topic is read by one.
    run_by: the command that runs it, for people.
    """

    name: str
    steps: Sequence[Step]
    routes: Sequence[KeyRoute | TopRoute]
    run_by: str

    def settings(self, **options: object) -> Settings:
        """Those of the environment; raises `app.config.SettingsError`."""
        return Settings.of_program(self.name, **options)

    def topic(self, settings: Settings, role: str) -> str:
        """Full name of a topic."""
        emitted = any(role in step.emits for step in self.steps)
        return f"{settings.group}-{role}" if emitted else settings.topic_prefix + role


class Names(msgspec.Struct, frozen=True):
    """What one step's things are called, and where they are."""

    table: str
    changelog: str
    dead_letters: str
    folder: Path


def step_names(step: Step, settings: Settings) -> Names:
    """By the name of its projection."""
    table = imported(step.projection).name
    return Names(
        table,
        f"{settings.group}-{table}-changelog",
        f"{settings.group}-{table}-dlq",
        Path(settings.data_dir) / settings.group / table,
    )


def table_config(program: Program, step: Step, settings: Settings) -> TableConfig:
    """Of one step's table."""
    counted: Projection = imported(step.projection)
    names = step_names(step, settings)
    return TableConfig(
        projection=counted,
        kafka=settings.client_kwargs(),
        topics={program.topic(settings, role): role for role in step.reads},
        outputs={role: program.topic(settings, role) for role in step.emits},
        changelog=names.changelog,
        dead_letters=names.dead_letters,
        transactional_id=lambda partition: f"{settings.group}-{names.table}-{partition}",
        partitions=settings.partitions,
        window=step.window if counted.identity else 0,
        commit_interval_s=settings.commit_interval_ms / 1000,
        session_timeout_s=settings.session_timeout_ms / 1000,
        url=settings.url,
    )
