"""Names by group, in the order of bytes: an inverted index in little memory.

A Python object for each name would take a hundred bytes; here a name takes its own length and
one byte more. Names hold no NUL, and groups may hold anything.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Final

#: Bytes of names in a block: so many are moved where a name comes between others.
BLOCK_BYTES: Final = 2048
#: What Python takes for a group beside the bytes of its names.
_GROUP_BYTES: Final = 300
#: And for a block.
_BLOCK_OVERHEAD: Final = 41
_END: Final = b"\x00"
#: No UTF-8 holds this byte, so it sorts behind every name.
_BEHIND_ALL: Final = b"\x00\xff"


class Postings:
    """For each group a list of blocks; a block is a NUL, and each name with one behind it."""

    def __init__(self) -> None:
        self._blocks: dict[bytes, list[bytes]] = {}
        #: About so much memory is held.
        self.held_bytes = 0

    def add(self, group: bytes, name: bytes) -> None:
        """Put a name where it belongs; once more does nothing. Names in order cost least."""
        blocks = self._blocks.get(group)
        if blocks is None:
            self._blocks[group] = [_END + name + _END]
            self.held_bytes += _GROUP_BYTES + len(group) + len(name)
            return
        last = blocks[-1]
        if name > last[last.rindex(_END, 0, -1) + 1 : -1]:
            if len(last) < BLOCK_BYTES:
                blocks[-1] = last + name + _END
                self.held_bytes += len(name) + 1
            else:
                blocks.append(_END + name + _END)
                self.held_bytes += _BLOCK_OVERHEAD + len(name)
            return
        self._merge(blocks, [name])

    def add_all(self, group: bytes, names: list[bytes]) -> None:
        """The same for many names of a group, which are in order: each block is made anew once."""
        blocks = self._blocks.get(group)
        if blocks is None:
            self._blocks[group] = blocks = [_END]
            self.held_bytes += _GROUP_BYTES + len(group)
        self._merge(blocks, names)

    def _merge(self, blocks: list[bytes], names: list[bytes]) -> None:
        done = 0
        while done < len(names):
            number = _block_of(blocks, names[done])
            end = len(names)
            if number + 1 < len(blocks):
                end = bisect_left(names, _first(blocks[number + 1]), done + 1)
            old = blocks[number]
            merged = _names(old) + names[done:end]
            merged.sort()  # of two lists in order: in one pass
            new = _cut(list(dict.fromkeys(merged)))
            blocks[number : number + 1] = new
            self.held_bytes += sum(map(len, new)) - len(old) + (len(new) - 1) * _BLOCK_OVERHEAD
            done = end

    def names(self, group: bytes, start: bytes, limit: int) -> list[bytes]:
        """At most `limit` names of a group from `start` on, in order."""
        blocks = self._blocks.get(group)
        if blocks is None:
            return []
        number = _block_of(blocks, start)
        names = _names(blocks[number])
        found = names[bisect_left(names, start) :][:limit]
        while len(found) < limit and (number := number + 1) < len(blocks):
            found += _names(blocks[number])[: limit - len(found)]
        return found


def _block_of(blocks: list[bytes], name: bytes) -> int:
    """The last block that begins with this name or one before it; else the first."""
    return max(0, bisect_right(blocks, _END + name + _BEHIND_ALL) - 1)


def _first(block: bytes) -> bytes:
    return block[1 : block.index(_END, 1)]


def _names(block: bytes) -> list[bytes]:
    return block[1:-1].split(_END) if len(block) > 1 else []


def _cut(names: list[bytes]) -> list[bytes]:
    """As one block, or as several where that would be too large."""
    whole = _END + _END.join(names) + _END
    if len(whole) <= 2 * BLOCK_BYTES:
        return [whole]
    each = max(1, len(names) * BLOCK_BYTES // len(whole))
    return [_END + _END.join(names[at : at + each]) + _END for at in range(0, len(names), each)]
