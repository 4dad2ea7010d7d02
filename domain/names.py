"""What a SKU or a location may be called: the one rule, for the log, HTTP and the schemas.

A name is what people read, type and put into a path. So it holds nothing that cannot be seen
(controls, odd spaces, invisible characters) and has one spelling (NFC). Which characters
these are stands in `domain/characters.py` and never changes: the interpreter's own Unicode
would let one log give other rows under another Python. Of what Unicode 14 assigns, all later
versions keep the normal form, so NFC may be asked of any interpreter.
"""

import re
import unicodedata
from functools import lru_cache
from typing import Final

from domain.characters import CONTROLS, INVISIBLE, LETTERS, SPACES, UNASSIGNED

MAX_NAME_CHARS: Final = 128
JOINERS: Final = "\u200c\u200d"
DOTS: Final = (".", "..")


def in_class(ranges: str) -> str:
    """Write ranges of `domain/characters.py` as they stand between brackets in a pattern.

    As characters, not as escapes: Python and ECMAScript spell those differently. None of the
    tables holds `]`, `^`, `-` or a backslash.
    """
    ends = (run.partition("-") for run in ranges.split())
    return "".join(
        chr(int(first, 16)) + (f"-{chr(int(last, 16))}" if last else "") for first, _, last in ends
    )


#: What stands in no name. The joiners are for `LONE_JOINER` to judge.
FORBIDDEN: Final = f"[{in_class(' '.join((CONTROLS, SPACES, INVISIBLE, UNASSIGNED)))}]"
#: A joiner that has not a letter, or a mark on one, at both sides: Persian and Hindi words
#: need it between them.
LONE_JOINER: Final = (
    f"(?:^|[^{in_class(LETTERS)}])[{JOINERS}]|[{JOINERS}](?:$|[^{in_class(LETTERS)}])"
)

# Nearly all names: printable ASCII without spaces, and longer than a dot or two.
_USUAL = re.compile(r"[!-~]{3,}")
_KINDS = {
    "a control character": CONTROLS,
    "a space other than U+0020": SPACES,
    "an invisible character": INVISIBLE,
    "a character that Unicode 14 does not know": UNASSIGNED,
}


@lru_cache(maxsize=1)
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Compiled when the first unusual name comes: it takes as long as a command's start."""
    return re.compile(FORBIDDEN), re.compile(LONE_JOINER.replace("$", r"\Z"))


def fault_of(name: str) -> str | None:
    """Tell why this can be no SKU or location, or None.

    Returns:
        A sentence without its subject and its full stop, in ASCII: "must not be empty".
    """
    if _USUAL.fullmatch(name) and len(name) <= MAX_NAME_CHARS:
        return None
    if not name:
        return "must not be empty"
    if name in DOTS:
        return "must not be . or .."
    if name != name.strip(" "):
        return "must not begin or end with a space"
    if found := _patterns()[1].search(name):
        joiner = next(c for c in found[0] if c in JOINERS)
        return f"must not hold {_code(joiner)} but between two letters"
    return fault_of_part(name)


def fault_of_part(text: str) -> str | None:
    """Tell why no name can begin so, or hold this; as `fault_of`."""
    if len(text) > MAX_NAME_CHARS:
        return f"must be at most {MAX_NAME_CHARS} characters long"
    if found := _patterns()[0].search(text):
        return f"must not hold {_code(found[0])}, {_kind(found[0])}"
    if not unicodedata.is_normalized("NFC", text):
        normal = unicodedata.normalize("NFC", text)
        at = next((i for i, (a, b) in enumerate(zip(text, normal, strict=False)) if a != b), 0)
        return f"must be in Unicode's form NFC: {_code(normal[at])} for {_code(text[at])}"
    return None


def _code(character: str) -> str:
    return f"U+{ord(character):04X}"


def _kind(character: str) -> str:
    return next(kind for kind, ranges in _KINDS.items() if _holds(ranges, ord(character)))


def _holds(ranges: str, point: int) -> bool:
    ends = (run.partition("-") for run in ranges.split())
    return any(int(first, 16) <= point <= int(last or first, 16) for first, _, last in ends)
