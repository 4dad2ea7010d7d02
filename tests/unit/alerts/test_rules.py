"""When something is to be told: levels, what holds between them, and the file of rules."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.alerts.told import Compared
from domain.alerts import AlertLevel, AlertRule, AlertRules, AlertRulesError, read_alert_rules
from domain.rows import Row

RAISED, CLEARED = AlertLevel.RAISED, AlertLevel.CLEARED
LOW = AlertRule("low", below=10, above=14)
STOCK_OUT = AlertRule("stock-out", below=1, above=0)
OVERSOLD = AlertRule("oversold", below=0, above=-1)


@pytest.mark.parametrize(
    ("on_hand", "after_cleared", "after_raised"),
    [(9, RAISED, RAISED), (10, CLEARED, RAISED), (14, CLEARED, RAISED), (15, CLEARED, CLEARED)],
)
def test_between_the_two_levels_holds_what_was_told(
    on_hand: int, after_cleared: AlertLevel, after_raised: AlertLevel
) -> None:
    assert LOW.level(on_hand, CLEARED) is after_cleared
    assert LOW.level(on_hand, RAISED) is after_raised


def test_without_hysteresis_each_quantity_has_one_level() -> None:
    for on_hand in range(-3, 4):
        assert {STOCK_OUT.level(on_hand, told) for told in AlertLevel} == {
            RAISED if on_hand < 1 else CLEARED
        }
        assert {OVERSOLD.level(on_hand, told) for told in AlertLevel} == {
            RAISED if on_hand < 0 else CLEARED
        }


@given(st.lists(st.integers(-20, 40)), st.integers(-20, 40))
def test_what_is_told_depends_on_the_level_and_not_on_the_way(way: list[int], now: int) -> None:
    """Two ways to one quantity end alike, unless it lies where the last word holds."""
    ends = set()
    for start in AlertLevel:
        told = start
        for on_hand in [*way, now]:
            told = LOW.level(on_hand, told)
        ends.add(told)

    if not LOW.below <= now <= LOW.above:
        assert ends == {RAISED if now < LOW.below else CLEARED}


def test_a_rule_is_for_names_and_for_beginnings_of_names() -> None:
    rules = AlertRules(
        [
            AlertRule("all", 1, 0),
            AlertRule("some", 1, 0, skus=("A-*", "B"), locations=("store-*",)),
        ]
    )

    assert list(rules.of("A-7", "store-1")) == ["all", "some"]
    assert list(rules.of("B", "store-1")) == ["all", "some"]
    for sku, location in (("BB", "store-1"), ("A-7", "dock"), ("a-7", "store-1")):
        assert list(rules.of(sku, location)) == ["all"]


def test_a_message_says_the_row_and_is_the_same_whoever_makes_it() -> None:
    row = Row(received=4, sold=1, events=2, checksum=255, updated_at=1_764_000_000_123)
    compared = Compared("topic-1", 3)

    first = compared.next_message("low", LOW, ("A", "shop"), row, None)
    again = Compared("topic-1", 3).next_message("low", LOW, ("A", "shop"), row, None)

    assert first == again
    assert first is not None
    assert first.body == (
        '{"type":"inventory.alert.raised","timestamp":"2025-11-24T16:00:00.123Z","data":'
        '{"rule":"low","level":"raised","seq":1,"sku":"A","location":"shop","on_hand":3,'
        '"below":10,"above":14,"events":2,"checksum":"00000000000000ff","version":3}}'
    )
    anew = Compared("topic-2", 3).next_message("low", LOW, ("A", "shop"), row, None)
    assert anew is not None
    assert anew.id != first.id
    assert "." not in first.id  # it would be taken for what separates it from the time


def test_a_file_of_rules_is_read() -> None:
    rules = read_alert_rules(
        """
        [[rule]]
        name = "low"
        below = 10
        above = 14
        skus = ["A-*"]
        [[rule]]
        name = "oversold"
        below = 0
        """
    )

    assert rules.rules == (AlertRule("low", 10, 14, ("A-*",)), AlertRule("oversold", 0, -1))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("rule = [", "It is not TOML"),
        ("", "It has no rule"),
        ("rules = 1\n[[rule]]\nname='a'\nbelow=1", "rules is not known"),
        ("[[rule]]\nname='a'", "Rule 1: Object missing required field `below`"),
        ("[[rule]]\nname='a'\nbelow='1'", "Rule 1: Expected `int`, got `str` - at `$.below`"),
        ("[[rule]]\nname='a'\nbelow=1\nlevel=3", "Rule 1: Object contains unknown field `level`"),
        ("[[rule]]\nname='A b'\nbelow=1", "name it by at most 64 small letters"),
        ("[[rule]]\nname='a'\nbelow=10\nabove=8", "above is 8, below which it is raised already"),
        ("[[rule]]\nname='a'\nbelow=1\nskus=[]", "skus is empty"),
        ("[[rule]]\nname='a'\nbelow=1\nlocations=['*-1']", "use a name, or its beginning"),
        ("[[rule]]\nname='a'\nbelow=1\n[[rule]]\nname='a'\nbelow=2", "Two rules are called a"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_a_sentence(text: str, told: str) -> None:
    with pytest.raises(AlertRulesError) as caught:
        read_alert_rules(text)

    assert [problem for problem in caught.value.problems if told in problem]


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(AlertRulesError) as caught:
        read_alert_rules("[[rule]]\nname='A'\nbelow=1\nabove=-5\n[[rule]]\nname='b'")

    assert len(caught.value.problems) == 3
