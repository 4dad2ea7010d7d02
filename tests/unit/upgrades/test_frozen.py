"""What each release has fixed: tests/golden/frozen-RELEASE.json, decision 0071.

A line that fails says that another build, or a program of somebody else, would be misunderstood.
Never change a file of a release. What is new stands in the file of the next one, which

    python -m tests.unit.upgrades.test_frozen > tests/golden/frozen-RELEASE.json

writes when that release is made.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from app import __version__
from dev.releases import releases
from tests.support.judges.frozen import forms, surface

FILES = sorted((Path(__file__).parents[2] / "golden").glob("frozen-*.json"))
RELEASES = [path.stem.removeprefix("frozen-") for path in FILES]


def _frozen(release: str) -> dict[str, Any]:
    (path,) = [path for path in FILES if path.stem == f"frozen-{release}"]
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("form", forms())
def test_what_builds_hand_to_each_other_keeps_its_form(release: str, form: str) -> None:
    frozen = _frozen(release)["forms"]
    if form in frozen:
        assert json.loads(json.dumps(forms()[form])) == frozen[form]


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("what", surface())
def test_what_others_have_written_down_is_still_there(release: str, what: str) -> None:
    assert {*_frozen(release)["surface"].get(what, ())} - {*surface()[what]} == set()


def test_each_release_has_its_file_and_its_commit_and_this_build_comes_behind_it() -> None:
    released = releases()

    assert [each.version for each in released] == RELEASES
    assert all(re.fullmatch("[0-9a-f]{40}", each.commit) for each in released)
    assert _numbers(__version__) > _numbers(released[-1].version)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


if __name__ == "__main__":
    print(json.dumps({"forms": forms(), "surface": surface()}, indent=1, ensure_ascii=False))  # noqa: T201  # what it is for
