"""When a second worker is asked, and how often."""

from onhand_client.pacing import Backoff, Budget, HedgeDelay


def test_the_delay_is_what_nineteen_of_twenty_answers_need_within_bounds() -> None:
    delay = HedgeDelay(0.01, 0.25)
    assert delay.seconds == 0.25  # nothing is known yet

    for number in range(100, 0, -1):
        delay.took(number / 1000)
    assert 0.09 <= delay.seconds <= 0.1

    for _ in range(HedgeDelay.SAMPLES):
        delay.took(0.0001)
    assert delay.seconds == 0.01

    for _ in range(HedgeDelay.SAMPLES):
        delay.took(3.0)
    assert delay.seconds == 0.25


def test_the_budget_is_a_share_of_the_calls_and_some_saved_ones() -> None:
    budget = Budget(share=0.2, most=4)
    assert [budget.take() for _ in range(5)] == [True] * 4 + [False]

    for _ in range(6):
        budget.call()
    assert [budget.take() for _ in range(2)] == [True, False]

    for _ in range(1000):
        budget.call()
    assert sum(budget.take() for _ in range(10)) == 4


def test_a_pause_is_never_shorter_than_the_workers_asked_for() -> None:
    backoff = Backoff()

    assert backoff.pause_s(1.0, lambda: 0.0) == 1.0
    assert backoff.pause_s(1.0, lambda: 1.0) == 1.1
    assert Backoff().pause_s(0.0, lambda: 1.0) == 0.05  # who says "at once" is not believed


def test_pauses_grow_to_a_second_and_differ() -> None:
    backoff = Backoff()

    assert [backoff.pause_s(None, lambda: 1.0) for _ in range(7)] == [
        0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0,
    ]  # fmt: skip
    assert Backoff().pause_s(None, lambda: 0.0) == 0.025
