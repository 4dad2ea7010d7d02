"""The key space of a partition, in its changelog and in its store.

| key | what | changelog | store |
|---|---|---|---|
| NUL `meta` | how far the partition has come: `Meta` | last of each group | yes |
| NUL `w` … | a segment of a duplicates window (`core/window.py`) | yes | yes |
| NUL `local` | what the store says of itself: `Local` | never | last of each write |
| NUL `n` … | the number of a write (`tables/home/rocks.py`) | never | of the last 8,192 |
| from `FIRST_ROW` on | the projection's rows; none begins with NUL | yes | yes |
"""

from __future__ import annotations

from typing import Final

from core.window import SEGMENT_PREFIX

META_KEY: Final = b"\x00meta"
#: All segments lie from the first on, before the second.
SEGMENTS: Final = SEGMENT_PREFIX, b"\x00x"
LOCAL_KEY: Final = b"\x00local"
#: All marks lie from the first on, before the second.
MARKS: Final = b"\x00n", b"\x00o"
#: Rows sort behind every key of ours.
FIRST_ROW: Final = b"\x01"
