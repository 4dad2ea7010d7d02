"""What a worker waits for before it goes over: nothing that is in no log; and it says for what."""

import asyncio

import pytest

from core.versions import promote
from tests.unit.upgrades.test_switch import Stand, stand
from web.versions import switch as switches

__all__ = ["stand"]


@pytest.mark.parametrize(
    "claim",
    [
        pytest.param("sales-0@9,elsewhere-sales-0@9", id="of another deployment's topics"),
        pytest.param("sales-0@9,sales-1@99", id="of another partition than it claims"),
        pytest.param("sales-0@9,control@7", id="with parts that are no topics"),
    ],
)
async def test_what_no_source_is_called_is_waited_for_by_no_door(stand: Stand, claim: str) -> None:
    stand.owners = {1: [claim], 2: ["sales-0@9", "sales-1@9"]}
    stand.record(promote(stand.last, 2))
    await stand.gone_over(2, 3)


@pytest.mark.parametrize("limit_s", [0.0, 60.0])
async def test_a_claim_beyond_the_end_of_the_log_holds_no_door_up_for_ever(
    stand: Stand, monkeypatch: pytest.MonkeyPatch, limit_s: float
) -> None:
    """Of a worker whose log was cut, or is another one: nobody can ever count so far."""
    monkeypatch.setattr(switches, "ENDS_S", 0.001)
    monkeypatch.setattr(switches, "NEAR_S", 0.002)
    monkeypatch.setattr(switches, "BEHIND_FOR_S", limit_s)
    stand.owners = {1: ["sales-0@500", "sales-1@9"], 2: ["sales-0@11", "sales-1@9"]}
    stand.record(promote(stand.last, 2))
    await stand.looked()
    assert stand.switch.answering == 1  # while no broker says where the log ends

    stand.ends |= {("sales", 0): 13, ("sales", 1): 10}
    await stand.looked()
    assert stand.switch.answering == 1  # there is something in it that the new one has not

    stand.owners[2] = ["sales-0@12", "sales-1@9"]
    await stand.gone_over(2, 3)


async def test_an_end_that_was_told_before_is_no_bound_for_what_was_counted_since() -> None:
    floors = [{("sales", 0): at} for at in (5, 6, 7)]
    wanted = switches._Wanted(lambda: [floors.pop(0)])
    asked = wanted.all()
    wanted._renewed -= switches.NEAR_S
    wanted.now()  # and meanwhile 6 was counted

    wanted.lower(asked, {("sales", 0): 3})

    assert wanted.all() == ([{("sales", 0): 2}], [{("sales", 0): 2}], [{("sales", 0): 6}])


@pytest.mark.parametrize(
    ("owned", "says", "why"),
    [
        ([], 200, "no living worker of version 2 owns partitions 0–1"),
        (["sales-0@9", "sales-1@8"], 200, "version 2 has not counted sales-1@9"),
        (
            ["sales-0@9", "sales-1@9"],
            503,
            "no owner of version 2 answers this worker (http://w2:1)",
        ),
    ],
)
async def test_who_waits_for_long_says_for_what(
    stand: Stand,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    owned: list[str],
    says: int,
    why: str,
) -> None:
    monkeypatch.setattr(switches, "ENDS_S", 0.001)
    monkeypatch.setattr(switches, "BEHIND_FOR_S", 0.0)
    stand.owners[2], stand.says["http://w2:1"] = owned, says
    stand.record(promote(stand.last, 2))

    def lines() -> list[str]:
        return [one for one in caplog.messages if "Answers come from version 1 still" in one]

    async with asyncio.timeout(30):
        while not lines():  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    await stand.looked()

    assert len(lines()) == 1  # and not at each look
    assert f"after the record (epoch 3): {why}. It goes over by itself" in lines()[0]
