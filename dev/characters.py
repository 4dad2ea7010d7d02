"""Write domain/characters.py: which characters a SKU or location may hold, for ever.

    npm pack @unicode/unicode-14.0.0@2.0.7 && tar xzf unicode-unicode-14.0.0-2.0.7.tgz
    python -m dev.characters package > domain/characters.py

The rules refuse what Unicode 14 does not assign. What the running interpreter knows of
Unicode differs from one Python to the next, so it may not decide what a log means; the
package named above holds the data of that very version.
"""

import re
import sys
import textwrap
from collections.abc import Collection, Iterable, Iterator
from itertools import pairwise
from pathlib import Path

DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
#: First six bits of a number -> how many digits follow, and the bits that are its own.
_LONG = {4: (1, 0x0F), 5: (1, 0x0F), 6: (2, 0x07), 7: (3, 0x07)}
SPACE = 0x20
BRAILLE_BLANK = 0x2800
JOINERS = frozenset({0x200C, 0x200D})

HEADER = '''"""Characters by what a name may do with them: Unicode 14, frozen with the rules.

Written by dev/characters.py; do not edit. Ranges of code points, hexadecimal, both ends
included. The space U+0020 and the joiners U+200C and U+200D stand in none of the first
four: `domain/names.py` says where in a name they may stand.
"""
'''


def ranges(folder: Path, name: str) -> set[int]:
    """Code points of a property, as the package keeps it: gaps and lengths, less one each."""
    text = (folder / name / "ranges.mjs").read_text(encoding="utf-8")
    (packed,) = re.findall(r"decodeRanges\('([\w-]*)'\)", text)
    points: set[int] = set()
    end, numbers = -1, _numbers(packed)
    for gap, more in zip(numbers, numbers, strict=True):
        first = end + 1 + gap
        end = first + more + 1
        points |= set(range(first, end))
    return points


def _numbers(packed: str) -> Iterator[int]:
    digits = iter(map(DIGITS.index, packed))
    for number in digits:
        more, mask = _LONG.get(number >> 3, (0, 0x3F))
        number &= mask
        for _ in range(more):
            number = number << 6 | next(digits)
        yield number


def written(points: Collection[int]) -> str:
    """As text: `ad 61c 115f-1160`."""
    ordered = sorted(points)
    breaks = [i for i, (a, b) in enumerate(pairwise(ordered), 1) if b != a + 1]
    runs = [ordered[a:b] for a, b in pairwise([0, *breaks, len(ordered)])]
    return " ".join(f"{r[0]:x}" if len(r) == 1 else f"{r[0]:x}-{r[-1]:x}" for r in runs)


def tables(folder: Path) -> Iterable[tuple[str, str, set[int]]]:
    """Each table's name, what it holds, and its code points."""

    def category(*names: str) -> set[int]:
        return set().union(*(ranges(folder, f"General_Category/{name}") for name in names))

    controls = category("Control")
    spaces = category("Space_Separator", "Line_Separator", "Paragraph_Separator") - {SPACE}
    ignorable = ranges(folder, "Binary_Property/Default_Ignorable_Code_Point")
    unassigned = category("Unassigned")
    yield "CONTROLS", "General category Cc.", controls
    yield "SPACES", "Categories Zs, Zl and Zp.", spaces
    invisible = (ignorable | {BRAILLE_BLANK}) - JOINERS
    yield "INVISIBLE", "Default_Ignorable_Code_Point, and the blank Braille pattern.", invisible
    yield "UNASSIGNED", "Category Cn, without the above.", unassigned - ignorable
    yield "LETTERS", "Categories L and M: what a joiner may join.", category("Letter", "Mark")


def main() -> None:
    """Print the module."""
    folder = Path(sys.argv[1])
    print(HEADER)
    print("from typing import Final")
    for name, what, points in tables(folder):
        lines = textwrap.wrap(written(points), 92, break_on_hyphens=False)
        text = "\n".join(f'    "{line} "' for line in lines)
        text = f'(\n{text[:-2]}"\n)' if len(lines) > 1 else f'"{lines[0]}"'
        print(f"\n#: {what}\n{name}: Final = {text}")


if __name__ == "__main__":
    main()
