"""Maps of a bridge: what is wrong with one is told at once, before any record is read."""

import sys

import pytest

from domain.rules.held import CURRENT
from importers.frames.maps import Begin, ForeignMap, Tombstones, read_map
from importers.frames.places import spelt, steps_of
from importers.frames.unframing import Frame
from importers.mapfile import MapError

GOOD = """
[constants]
type = "inventory.sale.completed.v1"
[paths]
sku = "value.article"
location = "value.shop"
quantity = "value.count"
"""


def a_map(text: str = GOOD) -> ForeignMap:
    return read_map(text, "orders", CURRENT.events)


def told(text: str) -> list[str]:
    with pytest.raises(MapError) as wrong:
        a_map(text)
    return wrong.value.problems


def test_a_map_says_only_what_is_not_usual() -> None:
    found = a_map()

    assert (found.name, found.frame) == ("orders", Frame.JSON)
    assert (found.tombstones, found.begin) == (Tombstones.SKIP, Begin.EARLIEST)
    assert found.paths["sku"] == ("value", "article")
    assert not found.accept_gaps


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        ("[paths]", "[path]", "Line 4: path is not known: did you mean paths?"),
        (
            "sku =",
            "sko =",
            "Line 5: [paths] sko is not known: did you mean sku?",
        ),
        (
            '"value.shop"',
            '"shop"',
            "Line 6: [paths] location is 'shop': use a path that begins with value, key, headers "
            "or each.",
        ),
        (
            '"value.shop"',
            "7",
            "Line 6: [paths] location is '7': use a path in quotes, such as value.sku.",
        ),
        (
            "sale.completed.v1",
            "sale.complete.v1",
            "Line 3: [constants] type is 'inventory.sale.complete.v1', no type of a fact: did you "
            "mean inventory.sale.completed.v1?",
        ),
        (
            'location = "value.shop"\n',
            "",
            "The map does not say what the location of a fact is: add it to [paths] or "
            "[constants].",
        ),
        (
            "[constants]\n",
            '[constants]\nsku = "A"\n',
            "Line 6: [paths] sku is in [constants] too: remove one of them.",
        ),
        (
            "[constants]\n",
            '[constants]\ntime = "now"\n',
            "Line 3: [constants] time cannot be the same for all: give its path, or leave it out.",
        ),
        (
            "[constants]\n",
            '[constants]\nid = "1"\n',
            "Line 3: [constants] id would make all facts one: give its path, or leave it out.",
        ),
        (
            "[constants]\n",
            'frame = "xml"\n[constants]\n',
            "Line 2: frame is 'xml': use one of json, connect, debezium, outbox, confluent.",
        ),
        (
            "[constants]\n",
            'frame = "debezium"\n[constants]\n',
            "The map does not say which changes are facts: add to [only] "
            '"value.op" = ["c"], with "r" for what a snapshot reads, "u" or "d".',
        ),
        (
            "[constants]\n",
            'encoding = "avro"\n[constants]\n',
            "Line 2: encoding is avro, whose values have the number of a schema: set frame to one "
            "of confluent, debezium, outbox.",
        ),
        (
            '"value.count"',
            '"each.count"',
            "Line 7: each.count is a place in a line, and the map has no list of lines: add each = "
            '"value.…".',
        ),
        (
            "[constants]\n",
            "accept_gaps = 1\n[constants]\n",
            "Line 2: accept_gaps is true or false.",
        ),
        (
            "[constants]\n",
            'name = "a b"\n[constants]\n',
            "Line 2: name has at most 100 letters, digits, dots, underscores and hyphens: set one.",
        ),
        (
            "[paths]",
            "[words.sku]\nA = 1\n[paths]",
            'Line 4: [words] sku is a table of texts: write "A" = "B".',
        ),
        (
            "[paths]",
            '[words.type]\nA = "B"\n[paths]',
            "Line 4: [words] type has no path in [paths]: name one of location, sku.",
        ),
        (
            "[paths]",
            '[only]\n"value.op" = 3\n[paths]',
            'Line 5: [only] value.op is a list of texts: write ["c", "u"].',
        ),
    ],
)
def test_what_is_wrong_is_one_sentence_with_its_line_and_the_remedy(
    before: str, after: str, sentence: str
) -> None:
    assert before in GOOD

    assert told(GOOD.replace(before, after, 1))[0] == sentence


@pytest.mark.parametrize(
    ("encoding", "module", "library"),
    [("avro", "fastavro", "fastavro"), ("protobuf", "google.protobuf", "protobuf")],
)
def test_a_library_that_is_not_there_is_one_sentence_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, encoding: str, module: str, library: str
) -> None:
    monkeypatch.delitem(sys.modules, f"importers.frames.{encoding}", raising=False)
    monkeypatch.setitem(sys.modules, module, None)

    assert told(f'frame = "confluent"\nencoding = "{encoding}"\n{GOOD}') == [
        f"Line 2: encoding is {encoding}, which is read by {library}, and that is not installed "
        "with the service: install requirements-bridge.lock into its environment."
    ]


def test_all_problems_are_told_at_once() -> None:
    assert len(told('frame = "x"\nbegin = "y"\n')) == 2 + 4


def test_what_is_no_toml_is_told_with_its_place() -> None:
    (sentence,) = told(GOOD.replace("[paths]", "[paths"))

    assert "at line 4, column 7" in sentence


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("value", ("value",)),
        ("value.lines.0.sku", ("value", "lines", "0", "sku")),
        ('headers."my.id"', ("headers", "my.id")),
        ("key.id", ("key", "id")),
    ],
)
def test_a_path_is_names_between_dots(text: str, steps: tuple[str, ...]) -> None:
    assert steps_of(text) == steps
    assert spelt(steps) == text


@pytest.mark.parametrize(
    "text",
    ["", ".", "value.", "value..a", "other.a", "headers", " value", 'value."a', "value.a b."],
)
def test_what_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="use "):
        steps_of(text)
