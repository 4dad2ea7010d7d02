"""What is wrong with a topic that the service lives on, seen while it runs."""

from typing import NamedTuple


class Trouble(NamedTuple):
    """kind: missing, partitions, copies, settings, recreated or cut. text: one sentence or two."""

    topic: str
    kind: str
    text: str
