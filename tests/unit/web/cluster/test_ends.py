"""Where topics end, asked of the broker once for all who want to know."""

import asyncio
from collections.abc import Iterable, Mapping

from core.positions import Place
from web.cluster.ends import BrokerEnds

TEA, MILK, NOWHERE = ("sales", 1), ("sales", 2), ("sales", 3)


class Told(BrokerEnds):
    """A broker that knows two places; counts what it is asked."""

    def __init__(self) -> None:
        super().__init__({})
        self.questions: list[set[Place]] = []

    async def _ends(self, wanted: Iterable[Place]) -> Mapping[Place, int]:
        self.questions.append(set(wanted))
        return {place: end for place, end in {TEA: 10, MILK: 20}.items() if place in wanted}


async def test_who_shares_a_question_gets_the_answer_to_his_own() -> None:
    ends = Told()
    try:
        tea, milk, nowhere = await asyncio.gather(
            ends.of([TEA]), ends.of([MILK]), ends.of([NOWHERE])
        )
    finally:
        await ends.stop()

    assert (tea, milk, nowhere) == ({TEA: 10}, {MILK: 20}, {})
    assert ends.questions == [{TEA, MILK, NOWHERE}]
