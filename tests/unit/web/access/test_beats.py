"""Heartbeats are heard from workers alone, each once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from core.records import Headers
from tests.unit.web.access_files import OTHER, SECRET, Keys
from web.access.beats import BEAT_PROOF, REMEMBER_MS, Beats
from web.access.proofs import beat_proof, read_secrets
from web.access.watched import WatchedFile

NOW_MS = 1_795_428_000_000
TOPIC = "onhand-members"
VALUE = b'{"url":"http://10.0.0.7:6066","instance":"a","sequence":5}'


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


def beats(keys: Keys) -> Beats:
    watched = WatchedFile(keys.secrets, read_secrets)
    watched.every_s = 0.0
    return Beats(watched, TOPIC, Counter())


def proof(secret: str = SECRET, topic: str = TOPIC, at_ms: int = NOW_MS) -> Headers:
    secrets = read_secrets(f"sign\n{secret}".encode())
    return [("traceparent", b"x"), (BEAT_PROOF, beat_proof(secrets, topic, VALUE, at_ms))]


def test_a_signed_heartbeat_is_heard_once_as_long_as_the_topic_keeps_any(keys: Keys) -> None:
    here = beats(keys)

    assert here.is_heard(VALUE, proof(), NOW_MS, "a", 5)
    assert not here.is_heard(VALUE, proof(), NOW_MS + 10, "a", 5)
    assert not here.is_heard(VALUE, proof(), NOW_MS + 10, "a", 4)
    assert here.is_heard(VALUE, proof(), NOW_MS + 10, "a", 6)
    # Others are heard meanwhile; who was silent is not forgotten before the topic forgets him.
    for minute in range(1, 60):
        at_ms = NOW_MS + minute * 60_000
        assert here.is_heard(VALUE, proof(at_ms=at_ms), at_ms, "b", minute)
    later_ms = NOW_MS + REMEMBER_MS - 1
    assert not here.is_heard(VALUE, proof(at_ms=later_ms), later_ms, "a", 6)
    # And a copy that comes later than that says itself how old it is.
    assert not here.is_heard(VALUE, proof(), NOW_MS + 2 * REMEMBER_MS, "a", 6)


FORGED = {
    "unsigned": [],
    "another secret": proof(OTHER),
    "another environment": proof(topic="test-members"),
    "too old": proof(at_ms=NOW_MS - 400_000),
    "from the future": proof(at_ms=NOW_MS + 400_000),
    "no proof": [(BEAT_PROOF, None)],
    "nonsense": [(BEAT_PROOF, b"1" * 500)],
}


@pytest.mark.parametrize("what", FORGED)
def test_a_forged_heartbeat_is_not_heard_once_proofs_are_required(keys: Keys, what: str) -> None:
    here = beats(keys)

    assert not here.is_heard(VALUE, FORGED[what], NOW_MS, "a", 5)
    keys.share(SECRET, mode="sign")
    assert here.is_heard(VALUE, FORGED[what], NOW_MS, "a", 5)


def test_who_has_proved_it_once_is_not_believed_without(keys: Keys) -> None:
    keys.share(SECRET, mode="sign")
    here = beats(keys)

    assert here.is_heard(VALUE, proof(), NOW_MS, "a", 5)
    assert not here.is_heard(VALUE, [], NOW_MS, "a", 6)
    assert here.is_heard(VALUE, [], NOW_MS, "b", 1)


def test_another_value_under_the_same_proof_is_not_heard(keys: Keys) -> None:
    here = beats(keys)

    assert not here.is_heard(VALUE.replace(b"10.0.0.7", b"10.0.0.8"), proof(), NOW_MS, "a", 5)


def test_without_a_secret_all_is_as_before() -> None:
    here = Beats(None, TOPIC, Counter())

    assert here.headers(VALUE) == []
    assert here.is_heard(VALUE, [], NOW_MS, "a", 5)
    assert here.is_heard(VALUE, [], NOW_MS, "a", 5)
