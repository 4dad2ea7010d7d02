"""The check of the documents can fail: each kind of untruth is found, with its line."""

import re
import shlex
from pathlib import Path

import pytest

from dev.readme import curl
from dev.readme.documents import faults, read
from dev.readme.running import DOCUMENTS, is_as_expected
from dev.workers import ROOT

RUNBOOK = (ROOT / "docs/runbook.md").read_text()
HTTP = (ROOT / "docs/http.md").read_text()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The checkout's code under documents of the test's own, which leave nothing out."""
    for entry in ROOT.iterdir():
        if entry.name not in ("docs", "README.md", "CHANGELOG.md", "data"):
            (tmp_path / entry.name).symlink_to(entry)
    (tmp_path / "CHANGELOG.md").write_text("")
    (tmp_path / "README.md").write_text("")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/operations.md").write_text("# Operations\n\n## In short\n")
    return tmp_path


def found(checkout: Path, path: str, text: str) -> list[str]:
    """What is said of this text, apart from what a whole document would have to mention."""
    (checkout / path).write_text(text)
    told = [str(fault) for fault in faults(checkout) if fault.path == path]
    return [fault for fault in told if "does not mention" not in fault]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a [link](docs/nowhere.md)", "README.md:1: links to docs/nowhere.md, which is not there"),
        (
            "\n[x](docs/operations.md#long)",
            "README.md:2: links to docs/operations.md#long: no such",
        ),
        ("[`test_no_such`](tests/unit/test_documents.py)", "has no test_no_such"),
        ("see `tables/nowhere.py`", "there is no tables/nowhere.py"),
        ("`make coffee`", "the Makefile has no target coffee"),
        ("```sh\nmake coffee\n```", "README.md:2: the Makefile has no target coffee"),
        ("set `ONHAND_COLOUR`", "there is no setting ONHAND_COLOUR"),
        ("watch `onhand_coffee_total`", "there is no metric onhand_coffee_total"),
        ("`onhand dlq burn`", "`onhand dlq burn`: no command burn"),
        ("`onhand stock SKU --colour`", "`onhand stock SKU --colour`: no option --colour"),
        ("`POST /v1/gifts`", "there is no call /v1/gifts"),
        (
            "<!-- from domain/stock.py -->\n```python\nrow = table.get(key)\n```",
            "README.md:2: domain/stock.py does not say this (any more)",
        ),
    ],
)
def test_what_is_not_there_is_found_with_its_line(checkout: Path, text: str, expected: str) -> None:
    told = found(checkout, "README.md", text)

    assert len(told) == 1, told
    assert expected in told[0]


def test_what_is_there_is_left_alone(checkout: Path) -> None:
    text = """[x](docs/operations.md#in-short) [out](https://kafka.apache.org)
[`test_what_is_there_is_left_alone`](tests/unit/test_documents.py)
`tables/home/store.py`, `make unit`, `ONHAND_KAFKA`,
`onhand_commit_seconds_bucket`, `POST /v1/sales`
```sh
ONHAND_WEB_PORT=7000 onhand worker -l info
onhand dlq list --limit 3
```
<!-- from core/fold.py -->
```python
topic = address.topic
```
"""
    assert found(checkout, "README.md", text) == []


def test_the_runbook_quotes_only_what_a_worker_says(checkout: Path) -> None:
    sentence = "> Partition … feels unwell. It needs …\n"

    told = found(checkout, "docs/runbook.md", RUNBOOK + sentence)

    assert [fault.partition(": ")[2] for fault in told if "no worker says" in fault] == [
        "no worker says 'feels unwell. It needs'"
    ]


def test_a_warning_without_an_entry_in_the_runbook_is_found(checkout: Path) -> None:
    kept = [line for line in RUNBOOK.splitlines() if "Facts are answered with 503" not in line]

    told = found(checkout, "docs/runbook.md", "\n".join(kept))

    assert any("no entry for 'Facts are answered with 503 for now" in fault for fault in told)


def test_a_problem_that_the_http_page_leaves_out_is_found(checkout: Path) -> None:
    (checkout / "docs/http.md").write_text(HTTP.replace("| 503 | `too-stale` |", "| 500 | `x` |"))

    told = [fault.text for fault in faults(checkout) if fault.path == "docs/http.md"]

    assert "does not mention | 503 | `too-stale` |" in told


def test_a_block_expects_what_stands_directly_behind_it(checkout: Path) -> None:
    (checkout / "README.md").write_text(
        "```sh\none\n```\n```json\n{}\n```\n"
        "```sh\ntwo\n```\nwords\n```text\nno output of two\n```\n"
    )

    blocks = read(checkout, "README.md").blocks

    assert [(b.line, b.language, b.expected) for b in blocks if b.language == "sh"] == [
        (1, "sh", "{}"),
        (7, "sh", None),
    ]


@pytest.mark.parametrize(
    ("expected", "said", "same"),
    [
        ('{"on_hand":8, … }', '{"on_hand":8,"sold":2}\n', True),
        ('{"on_hand":8, … }', '{"on_hand":9,"sold":2}\n', False),
        ('{"at":"2026-11-23T10:00:00.123Z"}', '{"at":"2027-01-01T00:00:00.5Z"}', True),
        ("sales-8@0", "sales-8@17", True),
        ("sales-8@0", "sales-9@0", False),
        ("304", "200", False),
        ("LOCATION   ON HAND\nstore-007        8", "LOCATION  ON HAND\nstore-007  8\n", True),
        ("", "something", False),
    ],
)
def test_times_and_offsets_may_differ_and_nothing_else(
    expected: str, said: str, same: bool
) -> None:
    assert is_as_expected(expected, said) is same


def commands() -> list[list[str]]:
    """The arguments of each curl command, as a shell would give them."""
    found = []
    for path in DOCUMENTS:
        for block in read(ROOT, path).blocks:
            if block.language == "sh":
                text = re.sub(r"\\\n", " ", block.text).replace("at=$(curl", "curl")
                lexer = shlex.shlex(text, posix=True, punctuation_chars="|;\n")
                lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t", True, ""
                command: list[str] = []
                for token in [*lexer, "\n"]:
                    if set(token) <= set("|;\n"):
                        if command[:1] == ["curl"]:
                            found.append(command[1:])
                        command = []
                    else:
                        command.append(token)
    return found


def test_every_curl_of_the_documents_can_be_stood_in_for() -> None:
    asked = [curl.options().parse_args(command) for command in commands()]

    assert len(asked) > 20
    assert all(re.match(r"(http://)?(localhost|127\.0\.0\.1):606", one.url) for one in asked)


def test_what_the_documents_of_the_house_say_is_so() -> None:
    assert [str(fault) for fault in faults(ROOT)] == []
