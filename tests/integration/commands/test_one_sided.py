"""What only one of two versions refused, as a comparison finds it in their dead letters."""

import asyncio

from msgspec.structs import replace

from app import topics
from app.config import Settings
from app.upgrades.diff.causes import OneSided
from domain.rules.three import THREE
from domain.rules.two import TWO
from tests.support.topics.letters import a_letter, refuse, refusing
from wire import clients
from wire.whole import committed_reader


async def test_letters_whose_commit_is_being_written_are_waited_for(settings: Settings) -> None:
    two = replace(settings, version=2)
    await topics.create(two)
    letter = a_letter(settings)
    consumer = committed_reader(settings.client_kwargs())
    producer = refusing(settings, [letter])
    try:
        await clients.start(consumer)
        one_sided = OneSided((settings, two), (TWO, THREE), (100, 100), consumer)
        reading = asyncio.create_task(one_sided.read(letter.partition))
        # Who reads only what is committed ends now, with nothing.
        await asyncio.wait((reading,), timeout=1)
        await asyncio.to_thread(producer.commit_transaction, 60)
        await asyncio.wait_for(reading, 60)
    finally:
        await clients.close(consumer, 5)

    position = {(letter.topic, letter.partition): letter.offset}
    [found] = one_sided.of(0, ("SKU-1", "store-007"), position)
    assert found.reason == "misrouted"
    assert one_sided.of(1, ("SKU-1", "store-007"), position) == []


async def test_what_was_said_again_within_the_window_is_counted_once(settings: Settings) -> None:
    two = replace(settings, version=2)
    await topics.create(two)
    first = a_letter(settings, 7)
    again = [a_letter(settings, offset, value=first.value) for offset in (9, 107, 108, 110)]
    refuse(settings, [first, *again])
    consumer = committed_reader(settings.client_kwargs())
    try:
        await clients.start(consumer)
        one_sided = OneSided((settings, two), (TWO, THREE), (1, 100), consumer)
        await one_sided.read(first.partition)
    finally:
        await clients.close(consumer, 5)

    place, key = (first.topic, first.partition), ("SKU-1", "store-007")
    counted = [len(one_sided.of(0, key, {place: at})) for at in (6, 7, 9, 107, 108, 110)]
    assert counted == [0, 1, 1, 1, 2, 2]
