"""`onhand load` on a real Kafka: each fact once, whatever happens on the way."""

from __future__ import annotations

import asyncio
import json
import shlex
import signal
import sys
from collections import Counter
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Producer

from app.config import Settings
from app.loading.found.loaded import LoadedFile
from app.loading.given import FileOnDisk
from app.loading.pieces import chunks
from app.loading.remembered import DocumentNote, note_key
from app.loading.sending import send_all
from core.positions import parse_position
from dev.oracle.log import read_topics
from dev.readme.documents import read
from dev.workers import ROOT, environment, onhand
from tests.support.breaking import failing
from tests.support.inputs.documents import opened, written
from tests.support.inputs.sheets import SALES
from tests.unit.importers.excel.workbooks import a_book
from web.access.callers import Caller

MAP = f'{SALES}[negative]\nsold = "returned"\n'


def variables(settings: Settings) -> dict[str, str]:
    return {
        "ONHAND_KAFKA": settings.kafka,
        "ONHAND_NAME": settings.name,
        "ONHAND_TOPIC_PREFIX": settings.topic_prefix,
    }


def ids(settings: Settings) -> Counter[str]:
    records = read_topics(settings.kafka, settings.source_topics.values())
    return Counter(json.loads(record.value or b"")["id"] for record in records)


def a_table(folder: Path, count: int) -> tuple[Path, Counter[str]]:
    (folder / "m.toml").write_text(MAP)
    path = folder / "sales.csv"
    rows = "".join(f"SKU-{n % 500},{n % 3 - 1 or 2}\n" for n in range(count))
    path.write_text(f"sku,qty\n{rows}")
    return path, Counter(f"file:sales.csv#{n}" for n in range(2, count + 2))


async def send(settings: Settings, *paths: Path, caller: Caller | None = None) -> list[LoadedFile]:
    by = opened()
    files = [by.check(FileOnDisk(path), lambda told: None, lambda count: None) for path in paths]
    return await send_all(
        settings, by, files, is_named=False, said=lambda count: None, caller=caller
    )


async def test_loading_twice_changes_nothing_and_is_refused(
    settings: Settings, tmp_path: Path
) -> None:
    path, expected = a_table(tmp_path, 1000)
    words = ("--map", str(tmp_path / "m.toml"))

    code, said = await onhand("load", str(path), *words, settings=variables(settings))
    assert (code, said.splitlines()[-1]) == (0, "1,000 facts were sent.")
    assert ids(settings) == expected

    code, said = await onhand("load", str(path), *words, settings=variables(settings))
    assert code == 1
    assert "file:sales.csv was loaded on " in said
    assert "nothing was sent again" in said
    renamed = path.rename(tmp_path / "sales (1).csv")
    code, said = await onhand("load", str(renamed), *words, settings=variables(settings))
    assert (code, "The same bytes were loaded as file:sales.csv" in said) == (1, True)
    path.write_text("sku,qty\nSKU-1,1\n")
    code, said = await onhand("load", str(path), *words, settings=variables(settings))
    assert (code, "and says something else now" in said) == (1, True)
    assert ids(settings) == expected

    named = (*words, "--document", "another day", "--json")
    code, said = await onhand("load", str(path), *named, settings=variables(settings))
    assert (code, json.loads(said)["sent"]) == (0, 1)
    assert ids(settings) == expected + Counter(["file:another day#2"])


async def test_a_workbook_is_loaded_once_and_nothing_of_one_that_is_refused_in_part(
    settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "m.toml").write_text(MAP)
    path = tmp_path / "sales.xlsx"
    words = (str(path), "--map", str(tmp_path / "m.toml"))
    path.write_bytes(a_book([("sku", "qty"), ("A", 2), ("A", 2), ((46349, "d.m"), 1)]))

    code, said = await onhand("load", *words, settings=variables(settings))
    assert (code, "line 4, is refused: sku, the sku, is a date" in said) == (1, True)
    assert not ids(settings)

    path.write_bytes(a_book([("sku", "qty"), ("A", 2), ("A", 2), ("1-2", -1)]))
    for sent in (True, False):
        code, said = await onhand("load", *words, settings=variables(settings))
        assert (code, "3 facts were sent." in said) == (0 if sent else 1, sent)
    assert ids(settings) == Counter(f"file:sales.xlsx#{row}" for row in (2, 3, 4))


async def test_a_load_that_is_killed_goes_on_and_each_fact_is_in_the_log_once(
    settings: Settings, tmp_path: Path
) -> None:
    path, expected = a_table(tmp_path, 40_000)
    words = ("load", str(path), "--map", str(tmp_path / "m.toml"))
    killed = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", failing.__name__, *words),
        cwd=ROOT, env=environment({**variables(settings), failing.VARIABLE: "done 2"}),
    )  # fmt: skip
    assert await asyncio.wait_for(killed.wait(), 180) == -signal.SIGKILL
    some = ids(settings)
    assert 0 < len(some) < len(expected)

    code, said = await onhand(*words, settings=variables(settings), timeout_s=180)

    assert code == 0
    assert "lines were acknowledged before." in said
    assert ids(settings) == expected


async def test_the_example_of_the_page_is_loaded_as_it_says(
    settings: Settings, tmp_path: Path
) -> None:
    loads = 0
    for block in read(ROOT, "docs/loading.md").blocks:
        if block.language != "sh":
            continue
        command, *words = shlex.split(block.text)
        if command == "cat":
            (tmp_path / words[0]).write_text(f"{block.expected}\n")
        elif "--leave-out-refused" in words:
            loads += 1
            here = [str(tmp_path / w) if (tmp_path / w).exists() else w for w in words]
            code, said = await onhand(*here, settings=variables(settings))
            assert (code, said.replace(f"{tmp_path}/", "").rstrip("\n")) == (0, block.expected)
    assert loads == 1
    assert ids(settings) == Counter(f"file:sales.csv#{line}" for line in (2, 3, 4))


async def test_documents_of_one_file_are_remembered_one_by_one(
    settings: Settings, tmp_path: Path
) -> None:
    await send(settings, written(tmp_path, "doc A\nsold 1\ndoc B\nsold 1\n", "1"))
    tests = "test T\nsold 1\ndoc D\nsold 1\n"

    # B comes again beside a new one; T was not asked for.
    found = await send(
        settings,
        written(tmp_path, "doc B\nsold 1\ndoc C\nsold 1\n", "2"),
        written(tmp_path, "doc A\nsold 1\ndoc B\nsold 1\n", "3"),
        written(tmp_path, tests, "4"),
    )

    # In its place B has other numbers for its lines: it says something else.
    assert [one.sent for one in found] == [0, 0, 1]
    assert "B was loaded on" in found[0].refused
    assert "says something else now" in found[0].refused
    assert "All that is in it was loaded on" in found[1].refused
    found = await send(
        settings, written(tmp_path, "doc A\nsold 1\ndoc B\nsold 1\ndoc C\nsold 1\n", "5")
    )
    assert [(one.sent, one.went_on) for one in found] == [(1, 2)]
    assert ids(settings) == Counter(["A#2", "B#4", "C#6", "D#4"])


async def test_a_load_that_is_overtaken_says_so_and_all_is_sent_once(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "__kwdefaults__", {"size": 5})
    path = written(tmp_path, "doc A\n" + "sold 1\n" * 300)

    ends = await asyncio.gather(*(send(settings, path) for _ in range(3)), return_exceptions=True)

    overtaken = [end for end in ends if isinstance(end, BaseException)]
    assert all("Another load took over" in str(end) for end in overtaken), overtaken
    assert len(overtaken) < 3
    assert ids(settings) == Counter(f"A#{n}" for n in range(2, 302))


async def test_a_note_behind_the_open_transaction_of_a_bridge_is_not_missed(
    settings: Settings, tmp_path: Path
) -> None:
    path = written(tmp_path, "doc A\nsold 1\n")
    bridge = Producer({"bootstrap.servers": settings.kafka, "transactional.id": settings.name})
    bridge.init_transactions(60)
    bridge.begin_transaction()
    bridge.produce(settings.documents_topic, b"{}", b"bridge/x/0")
    bridge.flush(60)
    await note_that_it_was_loaded(settings, path, lines=1, is_whole=True)

    again = asyncio.create_task(send(settings, path))
    done, _ = await asyncio.wait([again], timeout=1)
    assert not done  # it waits for the bridge
    bridge.commit_transaction(60)
    (found,) = await asyncio.wait_for(again, 90)

    assert "A was loaded on" in found.refused
    assert not ids(settings)


async def test_a_load_goes_on_behind_the_noted_line_wherever_chunks_end_now(
    settings: Settings, tmp_path: Path
) -> None:
    path = written(tmp_path, "doc A\nsold 1\nsold 2\nsold 3\nsold 4\nsold 5\n")
    await note_that_it_was_loaded(settings, path, lines=3, is_whole=False)

    # By another one than began it: who says it is no part of what happened.
    (found,) = await send(settings, path, caller=Caller("id", "till-17", frozenset()))

    assert (found.sent, found.went_on) == (2, 3)
    assert ids(settings) == Counter(["A#5", "A#6"])
    records = read_topics(settings.kafka, settings.source_topics.values())
    assert {json.loads(one.value or b"")["onhandactor"] for one in records} == {"till-17"}
    (again,) = await send(settings, path)
    for one in (found, again):
        position = parse_position(one.position or "")
        assert all(position[r.topic, r.partition] >= r.offset for r in records)


async def note_that_it_was_loaded(
    settings: Settings, path: Path, *, lines: int, is_whole: bool
) -> None:
    """As a load does."""
    seen = opened().check(FileOnDisk(path), lambda told: None, lambda count: None)
    document = seen.documents["A"]
    note = DocumentNote(lines, document.facts, document.digest, path.name, seen.sha256, is_whole)
    loader = Producer({"bootstrap.servers": settings.kafka, "transactional.id": "a-load"})
    loader.init_transactions(60)
    loader.begin_transaction()
    loader.produce(settings.documents_topic, msgspec.json.encode(note), note_key("A"))
    loader.commit_transaction(60)


async def test_of_several_files_a_broken_one_sends_nothing_of_any(
    settings: Settings, tmp_path: Path
) -> None:
    path, _ = a_table(tmp_path, 10)
    broken = tmp_path / "broken.csv"
    broken.write_text('sku,qty\nA,1\n"B,2\n')

    code, said = await onhand(
        "load", str(path), str(broken), "--map", str(tmp_path / "m.toml"),
        settings=variables(settings),
    )  # fmt: skip

    assert code == 1
    assert "Line 3 begins a row that cannot be read" in said
    assert not ids(settings)
    assert not read_topics(settings.kafka, [settings.documents_topic])


async def test_where_there_is_no_topic_or_no_kafka_one_sentence_says_what_to_do(
    settings: Settings, tmp_path: Path
) -> None:
    path, _ = a_table(tmp_path, 10)
    words = ("load", str(path), "--map", str(tmp_path / "m.toml"))

    code, said = await onhand(*words, settings={**variables(settings), "ONHAND_NAME": "nobody"})
    assert (code, said) == (2, "There is no topic nobody-documents: run `onhand topics check`.\n")
    code, said = await onhand(*words, "--kafka", "127.0.0.1:9", settings={})
    assert (code, said.startswith("No Kafka answers at 127.0.0.1:9: start it")) == (2, True)
