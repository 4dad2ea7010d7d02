"""The page asks again soon, and what costs the worker much less often; by code of the page."""

from tests.unit.web.page.test_page_fold import run_javascript

#: The pauses after answers that took so long, all in ms; each list is one question.
PAUSES = """
import { pace } from %r;
let text = "";
for await (const piece of process.stdin) text += piece;
console.log(JSON.stringify(JSON.parse(text).map((took) => took.map(pace(1000)))));
"""


def pauses(*took_ms: int) -> list[int]:
    found: list[list[int]] = run_javascript(PAUSES, [took_ms], "pace.js")
    return found[0]


def test_one_answer_that_waited_for_a_dead_worker_makes_no_pause_longer() -> None:
    assert pauses(40, 600, 40, 40) == [1000] * 4


def test_a_question_that_costs_the_worker_much_is_asked_less_often() -> None:
    assert pauses(600, 700, 500) == [2400, 2400, 2000]
