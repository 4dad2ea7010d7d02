"""`onhand bridge --again`: after a map was mended, each fact that was missing is sent once."""

import asyncio
import json
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.bridge import again as reading_again
from app.config import Settings
from dev.kafka import Kafka
from dev.oracle.log import read_topics
from dev.workers import ROOT, environment, onhand
from tests.support.breaking import failing
from tests.support.cluster.bridges import MAP, Bridges, a_record

#: Knows three shops of seven.
THREE_SHOPS = f"""{MAP}
[words.location]
s-0 = "s-0"
s-1 = "s-1"
s-2 = "s-2"
"""


@pytest.fixture
def bridges(kafka: Kafka, tmp_path: Path) -> Iterator[Bridges]:
    running = Bridges(kafka.bootstrap, tmp_path)
    yield running
    running.close()


async def again(bridges: Bridges, *options: str) -> tuple[int, str]:
    return await onhand(
        "bridge", bridges.topic, "--map", str(bridges.map_file), "--again", *options,
        settings=bridges.variables, timeout_s=180,
    )  # fmt: skip


async def told(bridges: Bridges, *options: str) -> dict[str, int | dict[str, int]]:
    _, said = await again(bridges, "--json", *options)
    found: dict[str, int | dict[str, int]] = json.loads(said[said.index("{") :])
    return found


def ids(bridges: Bridges) -> Counter[str]:
    return Counter(json.loads(fact.value or b"")["id"] for fact in bridges.facts())


def good_ids(bridges: Bridges) -> Counter[str]:
    """Of every record that the usual map makes a fact of."""
    return Counter(
        f"{record.topic}-{record.partition}@{record.offset}"
        for record in read_topics(bridges.kafka, [bridges.topic])
        if (record.value or b"").startswith(b"{")
    )


async def carry(bridges: Bridges, map_text: str, count: int) -> None:
    """By a bridge that ends again."""
    bridges.map_text = map_text
    await bridges.create_topics()
    bridges.send(map(a_record, range(count)))
    bridges.start("a")
    await bridges.carried()
    assert await bridges.workers["a"].stop() == 0


async def test_a_mended_map_heals_what_was_refused_each_once(bridges: Bridges) -> None:
    await carry(bridges, THREE_SHOPS, 140)
    before, letters = ids(bridges), len(bridges.letters())
    bridges.write_map(MAP)

    code, said = await again(bridges, "--dry-run")
    assert code == 1
    assert f"Read {letters} records again; would send {126 - len(before)} facts (" in said
    assert f"{bridges.topic}-3@1 is refused, not_mapped: The value is not JSON" in said
    assert ids(bridges) == before

    # Beside a bridge that runs.
    bridges.start("a")
    bridges.send(map(a_record, range(140, 149)))  # none of them is refused
    done = await told(bridges)
    assert (done["read"], done["made"]) == (letters, 126 - len(before))
    assert done["refused"] == {"not_mapped": 14}
    await bridges.carried()
    assert ids(bridges) == good_ids(bridges)

    done = await told(bridges)
    assert (done["made"], done["sent_before"]) == (0, 126 - len(before))
    assert ids(bridges) == good_ids(bridges)


async def test_from_somewhere_on_only_what_is_missing_is_sent(bridges: Bridges) -> None:
    await carry(bridges, f'{MAP}\n[only]\n"value.shop" = ["s-0", "s-1"]\n', 140)
    bridges.write_map(MAP)
    topic = bridges.topic

    done = await told(bridges, "--since", f"{topic}-2@3")
    behind = {f"{topic}-2@{offset}" for offset in range(3, 24)} & set(good_ids(bridges))
    assert behind
    assert behind <= set(ids(bridges))
    assert done["there"] != 0
    assert (await told(bridges))["made"] == 0
    assert (await told(bridges, "--since", "2100-01-01T00:00:00Z"))["read"] == 0
    done = await told(bridges, "--since", "2020-01-01T00:00:00Z")
    assert done["read"] == 140
    assert ids(bridges) == good_ids(bridges)
    assert (await told(bridges, "--since", "2020-01-01T00:00:00Z"))["made"] == 0

    for since, sentence in (
        ("yesterday", "--since yesterday is no time and no place: write 2026-11-23T10:00:00Z, or "),
        ("2026-11-23T10:00:00", "--since 2026-11-23T10:00:00 is no time and no place"),
        ("other-0@1", "--since other-0@1 is a place in other, not in "),
    ):
        code, said = await again(bridges, "--since", since)
        assert (code, said.startswith(sentence)) == (2, True), said


async def test_runs_at_the_same_time_send_each_once_and_who_was_overtaken_says_so(
    bridges: Bridges, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading_again, "_GROUP_RECORDS", 7)
    await carry(bridges, MAP.replace("value.count", "value.pieces"), 300)
    bridges.write_map(MAP)
    settings = Settings.from_env(
        bridges.variables, bridge_topic=bridges.topic, bridge_map=str(bridges.map_file)
    )

    ends = await asyncio.gather(
        *(
            reading_again.read_again(settings, None, dry_run=False, said=lambda _: None)
            for _ in range(3)
        ),
        return_exceptions=True,
    )

    overtaken = [end for end in ends if isinstance(end, BaseException)]
    assert all("Another `onhand bridge --again` took over" in str(e) for e in overtaken), overtaken
    assert len(overtaken) < 3
    assert ids(bridges) == good_ids(bridges)


async def test_a_run_that_was_killed_is_gone_on_with_and_nothing_is_sent_twice(
    bridges: Bridges,
) -> None:
    await carry(bridges, MAP.replace("value.count", "value.pieces"), 3_000)
    assert not bridges.facts()
    bridges.write_map(MAP)

    for when, sent in (("open 2", 500), ("done 1", 1_000)):
        killed = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", failing.__name__, "bridge", bridges.topic),
            *("--map", str(bridges.map_file), "--again"),
            cwd=ROOT, env=environment({**bridges.variables, failing.VARIABLE: when}),
        )  # fmt: skip
        assert await asyncio.wait_for(killed.wait(), 180) == -signal.SIGKILL
        assert len(bridges.facts(markers_s=5)) == sent, when  # none of what is left open
    done = await told(bridges)

    assert done["sent_before"] == 1_000
    assert ids(bridges) == good_ids(bridges)
