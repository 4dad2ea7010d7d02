"""The topics of a program: create what is missing, refuse what would lose counts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from app.config import Settings
from app.programs.program import Program, step_names
from app.topics import (
    Created,
    Misfit,
    Topic,
    changelog_of,
    dead_letters_of,
    log_of,
    make,
    members_of,
    misfits,
)


def topics_of(program: Program, settings: Settings) -> list[Topic]:
    """Every topic of it, by the way that records go."""
    roles = dict.fromkeys(role for step in program.steps for role in (*step.reads, *step.emits))
    found = [log_of(settings, program.topic(settings, role)) for role in roles]
    for step in program.steps:
        names = step_names(step, settings)
        found += [
            changelog_of(settings, names.changelog),
            dead_letters_of(settings, names.dead_letters),
        ]
    return [*found, members_of(settings)]


async def create_topics(program: Program, settings: Settings) -> list[Created]:
    """Create what is missing; raises `app.admin.TopicsError`."""
    return await make(settings, topics_of(program, settings))


async def topic_problems(program: Program, settings: Settings) -> list[Misfit]:
    """What a worker must not start on; none is good."""
    wanted = topics_of(program, settings)
    counts = {topic.name: topic.partitions for topic in wanted}

    def wrong(settings: Settings, present: Mapping[str, int]) -> Iterable[Misfit]:
        for name, count in present.items():
            if count != counts[name]:
                yield Misfit(
                    name,
                    f"Topic {name} has {count} partitions and must have {counts[name]}: set "
                    "ONHAND_PARTITIONS to what the log has, for that never changes, or create the "
                    "topic anew.",
                    "partitions",
                )

    return await misfits(settings, wanted, wrong, f"{program.run_by} topics")
