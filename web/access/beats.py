"""Heartbeats: signed, and heard only from workers, each once."""

from __future__ import annotations

import logging
import time
from collections import Counter

from core.records import Headers
from web.access.denials import Denial
from web.access.proofs import PeerMode, PeerSecrets, beat_proof, is_beat_proven
from web.access.watched import WatchedFile

log = logging.getLogger(__name__)

#: Name of the record's header.
BEAT_PROOF = "onhand-proof"
#: How long the topic keeps a heartbeat, and so how long one may come again.
REMEMBER_MS = 3_600_000
#: Between two looks for what may be forgotten.
_TIDY_MS = 60_000


class Beats:
    """Signs this worker's heartbeats and judges those of all.

    Args:
        secrets: by which workers prove to be workers; None: off.
        topic: where heartbeats are: one of another environment is none here.
        refused: counts.
    """

    def __init__(
        self, secrets: WatchedFile[PeerSecrets] | None, topic: str, refused: Counter[str]
    ) -> None:
        self._secrets, self._topic, self._refused = secrets, topic, refused
        #: By process, the highest number that was heard, and when the log took it.
        self._heard: dict[str, tuple[int, int]] = {}
        self._tidied_ms = 0
        self._has_warned = False

    def headers(self, value: bytes) -> list[tuple[str, bytes]]:
        """Of the record that holds this heartbeat."""
        if self._secrets is None:
            return []
        now_ms = int(time.time() * 1000)
        return [(BEAT_PROOF, beat_proof(self._secrets.get(), self._topic, value, now_ms))]

    def is_heard(
        self, value: bytes, headers: Headers, log_ms: int, instance: str, sequence: int
    ) -> bool:
        """Whether to believe this heartbeat, in log order.

        What was proved is heard once: a copy of it, as long as the topic keeps any, brings no
        process back. What was not is heard too while proofs are not required.

        Args:
            value: of the record.
            headers: of the record.
            log_ms: when the broker took it, ms since the epoch.
            instance: of the heartbeat.
            sequence: of the heartbeat.
        """
        if self._secrets is None:
            return True
        secrets = self._secrets.get()
        proof = next((content for name, content in headers if name == BEAT_PROOF), None)
        if not is_beat_proven(secrets, proof, self._topic, value, log_ms):
            self._refused[Denial.UNPROVEN_HEARTBEAT] += 1
            if not self._has_warned:
                self._has_warned = True
                log.warning(
                    "A heartbeat on %s is not signed by a secret of ONHAND_PEER_SECRET, or its "
                    "worker's clock is wrong: %s.",
                    self._topic,
                    "not heard" if secrets.mode is PeerMode.REQUIRE else "heard for now",
                )
            return secrets.mode is PeerMode.SIGN and instance not in self._heard
        highest, _ = self._heard.get(instance, (-1, 0))
        if sequence <= highest:
            return False
        self._heard[instance] = sequence, log_ms
        self._tidy(log_ms)
        return True

    def _tidy(self, log_ms: int) -> None:
        if log_ms - self._tidied_ms < _TIDY_MS:
            return
        self._tidied_ms = log_ms
        old = [one for one, (_, at) in self._heard.items() if at < log_ms - REMEMBER_MS]
        for instance in old:
            del self._heard[instance]
