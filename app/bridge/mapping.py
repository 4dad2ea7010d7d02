"""The map of a bridge as the settings name it, and which topics it may not read."""

from __future__ import annotations

from pathlib import Path

from agents.learning import Learning
from app.bridge.registry import Schemas
from app.config import Settings, SettingsError
from app.topics import desired
from core.words import in_words
from domain.rules.held import CURRENT
from importers.frames.maps import ForeignMap, read_map
from importers.mapfile import MapError


def map_of(settings: Settings) -> ForeignMap:
    """Read the map.

    Raises:
        SettingsError: no topic, one of ours, no map, or a map that cannot be used; a sentence
            for each problem.
    """
    topic, file = settings.bridge_topic, settings.bridge_map
    problems = []
    if not topic:
        problems.append("ONHAND_BRIDGE_TOPIC is not set: name the topic to read.")
    if not file:
        problems.append("ONHAND_BRIDGE_MAP is not set: name the file of the map (docs/bridge.md).")
    if topic in {one.name for one in desired(settings)}:
        problems.append(
            f"ONHAND_BRIDGE_TOPIC is {topic}, a topic of Onhand itself: name the topic of another "
            "program."
        )
    if problems:
        raise SettingsError(problems)
    try:
        text = Path(file).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError([f"{file} cannot be read: {in_words(error)}."]) from None
    try:
        by = read_map(text, topic, CURRENT.events)
    except MapError as error:
        raise SettingsError([f"{file}: {told}" for told in error.problems]) from None
    if by.book is not None and not (settings.bridge_registry or settings.bridge_schemas):
        raise SettingsError(
            [
                f"{file}: encoding is {by.book.encoding}, which is read by schemas: set "
                "ONHAND_BRIDGE_REGISTRY to the address of their registry, or "
                "ONHAND_BRIDGE_SCHEMAS to a folder of files (docs/bridge.md#avro-and-protobuf)."
            ]
        )
    return by


def learning_of(settings: Settings, by: ForeignMap, kept: Path | None) -> Learning | None:
    """What fetches the schemas of a map; None: it needs none.

    Args:
        settings: name the registry.
        by: the map.
        kept: a folder for its answers.
    """
    if by.book is None:
        return None
    return Learning(by.book, Schemas(settings, by.book.encoding, kept))
