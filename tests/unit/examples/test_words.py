"""What a word is: as Java's `Pattern.compile("\\W+", UNICODE_CHARACTER_CLASS)` splits a line."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dev.wordcount import POEMS, words_by_the_rule
from examples.wordcount.program import words_of


def split(line: str) -> list[str]:
    return [word.decode() for word in words_of(line.encode())]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("All streams lead to Kafka", ["all", "streams", "lead", "to", "kafka"]),
        ("", [""]),  # nothing was split
        ("...", []),  # what is empty at the end is left out, and that is all
        ("« Que", ["", "que"]),  # the empty word before a separator counts
        (" a", ["", "a"]),
        ("a ", ["a"]),
        ("a_b c-d", ["a_b", "c", "d"]),
        ("l'e\u0301te\u0301", ["l", "e\u0301te\u0301"]),  # accents are part of a word
        ("مشکل\u200cها", ["مشکل\u200cها"]),  # and so is a joiner
        ("ΤΕΛΟΣ", ["τελος"[:-1] + "ς"]),
        ("I\u0307 İ", ["i\u0307", "i\u0307"]),
        ("٣ x²", ["٣", "x"]),  # a digit of any script; ² is none
    ],
)
def test_a_line_is_split_as_in_java(line: str, words: list[str]) -> None:
    assert split(line) == words
    assert words_by_the_rule(line) == words


@given(st.text() | st.text(st.characters(max_codepoint=127)))
def test_the_quick_way_and_the_rule_agree_on_any_line(line: str) -> None:
    assert split(line) == words_by_the_rule(line)


def test_bytes_that_are_no_text_separate_words() -> None:
    assert words_of(b"a\xffb \xc3") == [b"a", b"b"]


def test_the_poems_have_accents_in_two_characters() -> None:
    text = POEMS.read_text()

    assert text == unicodedata.normalize("NFD", text)
    assert "\u0301" in text
    assert "\u200c" in text
