"""docs/architecture.md stays a page that somebody can read."""

import re

import pytest

from dev.readme.documents import SERVICE
from dev.workers import ROOT

PAGE = (ROOT / "docs/architecture.md").read_text()
ROOMS = sorted(
    str(path.parent.relative_to(ROOT))
    for room in SERVICE
    for path in (ROOT / room).rglob("__init__.py")
)
MECHANISMS = re.findall(r"^## (.+)\n\n- \*\*Guarantees", PAGE, re.MULTILINE)


@pytest.mark.parametrize("room", ROOMS)
def test_each_room_has_one_line(room: str) -> None:
    assert PAGE.count(f"[{room}/](../{room})") >= 1
    assert len(re.findall(rf"^\| .*\[{room}/\]\(\.\./{room}\)", PAGE, re.MULTILINE)) == 1


def test_each_mechanism_says_what_it_does_not_guarantee_how_it_recovers_and_where_it_is() -> None:
    assert len(MECHANISMS) >= 12
    for title in MECHANISMS:
        chapter = PAGE.split(f"## {title}\n")[1].split("\n## ")[0]
        for said in ("- **Does not guarantee.**", "- **How it recovers.**", "- **Where.**"):
            assert said in chapter, (title, said)


def test_the_page_is_short_enough_to_be_read() -> None:
    assert len(PAGE.splitlines()) <= 290
