"""`onhand upgrade` believes the heartbeats that a worker would believe."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from app.config import Settings
from app.upgrades.asking import NotAsked, known
from app.upgrades.fleet import heard
from tests.support.topics.logs import Put, plain_writer
from web.access.beats import BEAT_PROOF
from web.access.proofs import beat_proof, read_secrets
from web.cluster.heartbeats import Heartbeat, bytes_of

SECRET, OTHER = "5" * 64, "6" * 64


def a_record(settings: Settings, name: str, secret: str | None) -> Put:
    """A heartbeat of the worker of this name, proved by this secret."""
    value = bytes_of(Heartbeat(1, 1, "", f"http://{name}:1", name, 1))
    if secret is None:
        return Put(None, value)
    secrets = read_secrets(f"require\n{secret}".encode())
    proof = beat_proof(secrets, settings.members_topic, value, int(time.time() * 1000))
    return Put(None, value, ((BEAT_PROOF, proof),))


async def test_where_proofs_are_required_only_who_proves_to_be_a_worker_is_heard(
    settings: Settings, tmp_path: Path
) -> None:
    told = [("known", SECRET), ("forged", OTHER), ("bare", None)]
    records = [a_record(settings, *one) for one in told]
    plain_writer(settings.kafka).write(settings.members_topic, records)
    file = tmp_path / "peers"

    async def heard_by(secrets: str | None) -> list[str]:
        at = "" if secrets is None else str(file)
        file.write_text(secrets or "")
        fleet = await heard(replace(settings, peer_secret=at), wait_s=0.0)
        return [seen.beat.instance for seen in fleet.workers()]

    assert await heard_by(None) == ["bare", "forged", "known"]
    assert await heard_by(f"sign\n{SECRET}") == ["bare", "forged", "known"]
    assert await heard_by(f"require\n{SECRET}") == ["known"]


async def test_a_secret_that_cannot_be_read_is_told_before_anything_is_recorded(
    settings: Settings, tmp_path: Path
) -> None:
    with pytest.raises(NotAsked, match="let this user read it"):
        await known(replace(settings, peer_secret=str(tmp_path / "nowhere")))
