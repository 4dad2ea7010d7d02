"""A count session: a thing that can be told from its like counts once, however often it is read."""

from __future__ import annotations

import msgspec

from importers.items import NotAnItem, ScannedItem, Unit, Why


class Session:
    """Distinct things. A tag is read hundreds of times, and by two antennas.

    Args:
        name: of the session or document, for the ids of facts. Without it there are no ids, for
            the same tag may rightly come again another day.
    """

    def __init__(self, name: str | None = None) -> None:
        self._name = name
        self._seen: set[tuple[str, str]] = set()
        self._units: dict[str, Unit] = {}

    def take(self, item: ScannedItem) -> ScannedItem | NotAnItem:
        """Give the item its event id, or say that it was read before.

        A serial in a symbol and the same serial on a tag are one thing, also where the tag was
        written with another length of company prefix: GTIN and serial tell. An item without
        serial always counts, each scan is one more. An item that comes in another unit than
        before is refused: grams and pieces of one SKU would be added up.
        """
        unit = self._units.setdefault(item.sku, item.unit)
        if item.unit is not unit:
            return NotAnItem(
                text=item.text,
                why=Why.MEASURE,
                sentence=f"{item.sku} was counted in {unit} before in this session and cannot be "
                f"in {item.unit} now: scan the symbol of the same kind.",
            )
        if item.once is None:
            return item
        thing = (item.sku, item.beside.get("serial", item.once))
        if thing in self._seen:
            return NotAnItem(
                text=item.text,
                why=Why.REPEATED,
                sentence=f"{item.once} was read before in this session: it is one thing, and "
                "counts once.",
            )
        self._seen.add(thing)
        if self._name is None:
            return item
        return msgspec.structs.replace(item, event_id=f"{self._name}:{item.once}")
