"""`onhand dlq list|show` against a real Kafka."""

import json

import pytest

from app import deadletters
from app.config import Settings
from dev.kafka import Kafka
from domain.events import Refusal
from tables.home import letters
from tables.home.changelog import MAX_DEAD_LETTER_BYTES
from tests.support.inputs.builders import in_binary_mode
from tests.support.topics.letters import HEADERS, a_letter, an_event, refuse
from wire.whole import RecordsError


async def listed(settings: Settings, limit: int = 20) -> deadletters.Listed:
    return await deadletters.listed(settings, limit, None, lambda _: None)


async def test_list_counts_by_topic_and_reason_and_shows_the_newest(settings: Settings) -> None:
    sales, adjustments = (settings.source_topics[role] for role in ("sales", "adjustments"))
    refuse(settings, [a_letter(settings, n) for n in range(30)])
    refuse(settings, [a_letter(settings, 99, topic=adjustments, reason=Refusal.NOT_JSON)])

    found = await listed(settings, limit=5)

    assert found.total == 31
    assert found.counts == {(sales, "misrouted"): 30, (adjustments, "not_json"): 1}
    assert found.recent[0].position == f"{adjustments}-3@99"
    assert len(found.recent) == 5


async def test_a_letter_is_read_back_exactly_as_its_record_came(settings: Settings) -> None:
    letter = a_letter(settings, key=None, value=b"\xff\x00 not json", reason=Refusal.NOT_JSON)
    refuse(settings, [letter])

    found = await deadletters.found(settings, f"{letter.topic}-3@7")

    assert found is not None
    assert (found.key, found.value, found.headers) == (None, letter.value, HEADERS)
    assert (found.reason, found.detail) == ("not_json", letter.detail)
    assert found.recorded_ms == letter.timestamp_ms
    shown = letters.described(found)
    assert shown["value_base64"] == "/wAgbm90IGpzb24="
    assert json.loads(json.dumps(shown))["headers"][1] == {"name": "trace", "value": None}


async def test_a_letter_too_large_to_keep_is_known_by_size_and_hash(settings: Settings) -> None:
    refuse(settings, [a_letter(settings, value=b"x" * MAX_DEAD_LETTER_BYTES)])

    (letter,) = (await listed(settings)).recent

    assert letter.value is None
    assert letter.size == MAX_DEAD_LETTER_BYTES + len(b"wrong")
    assert len(letter.sha256) == 64
    assert letter.position == f"{settings.source_topics['sales']}-3@7"


async def test_letters_of_an_aborted_commit_do_not_exist(settings: Settings) -> None:
    refuse(settings, [a_letter(settings, 1)], commit=False)
    refuse(settings, [a_letter(settings, 2)])
    refuse(settings, [a_letter(settings, 3)], commit=False)

    assert [letter.offset for letter in (await listed(settings)).recent] == [2]
    assert await deadletters.found(settings, f"{settings.source_topics['sales']}-3@1") is None


@pytest.mark.parametrize("position", ["sales", "sales-3", "sales@7", "-3@7", "sales-x@7", "s-3@"])
async def test_what_is_no_position_is_refused(settings: Settings, position: str) -> None:
    with pytest.raises(RecordsError, match="is no position"):
        await deadletters.found(settings, position)


async def test_a_missing_topic_and_a_missing_kafka_are_one_sentence_each(kafka: Kafka) -> None:
    with pytest.raises(RecordsError, match=r"There is no topic none-v1-dlq: run"):
        await listed(Settings.from_env({}, kafka=kafka.bootstrap, name="none"))
    with pytest.raises(RecordsError, match=r"No Kafka answers at 127\.0\.0\.1:1"):
        await listed(Settings.from_env({}, kafka="127.0.0.1:1"))


async def test_a_letter_too_large_to_keep_still_says_whose_it_was(settings: Settings) -> None:
    # In binary mode the headers are the identity.
    _, named = in_binary_mode(an_event("SKU-1"))
    headers = [("trace", b"x"), *named, ("trace", b"y" * MAX_DEAD_LETTER_BYTES)]
    long = [("ce_id", b"x" * 100_000)]
    refuse(settings, [a_letter(settings, 1, headers=headers), a_letter(settings, 2, headers=long)])
    refuse(settings, [a_letter(settings, 3, value=b"x" * MAX_DEAD_LETTER_BYTES, headers=long)])

    found = {letter.offset: letter for letter in (await listed(settings)).recent}

    assert (found[1].value, found[1].headers) == (None, named)
    assert (found[2].value, found[2].headers) == (an_event("SKU-1", 2), long)
    assert (found[3].value, found[3].headers) == (None, [])
    assert found[3].size == MAX_DEAD_LETTER_BYTES + len(b"wrong")
