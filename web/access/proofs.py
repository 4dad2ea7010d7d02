"""How a worker proves to be one: a keyed hash (HMAC-SHA-256) by a secret that all workers share.

`Onhand-Proof: TIME CALLER HASH` in a request: TIME in seconds, CALLER the id of the token by
which the client got in (`-`: nobody had to), HASH over all of the head and the address of the
worker that is asked. So no token is ever sent on, and nobody can use a request again at another
worker. The body is not in it: where others can write on the wire, use TLS.

A heartbeat has the same as a header of its record, over the topic's name and the whole value.
"""

from __future__ import annotations

import hmac
import re
import time
from collections.abc import Sequence
from enum import StrEnum

from msgspec import Struct

from web.access.watched import AccessError

PROOF = "Onhand-Proof"
NOBODY = "-"
#: Clocks may differ by this much.
SKEW_S = 300.0
#: The file's shortest secret, in characters.
LEAST_SECRET = 32

_LINE = re.compile(rb"\r\nOnhand-Proof: ([^\r\n]{1,200})(?=\r\n)")
_VALUE = re.compile(rb"([0-9]{1,13}) ([0-9a-f]{8}|-) ([0-9a-f]{64})")
_HOP, _BEAT = b"onhand hop 1", b"onhand heartbeat 1"


class PeerMode(StrEnum):
    """SIGN: prove it, and take the word of those that do not. REQUIRE: take no such word."""

    SIGN = "sign"
    REQUIRE = "require"


class PeerSecrets(Struct, frozen=True):
    """The first one signs, all are taken: so a secret is changed without a stop."""

    mode: PeerMode
    keys: Sequence[bytes]


def read_secrets(data: bytes) -> PeerSecrets:
    """What the file holds: `sign` or `require`, then a secret a line.

    Raises:
        AccessError: it is not such a file. The sentence quotes nothing of it.
    """
    mode, *keys = [line.strip() for line in data.splitlines() if line.strip()] or [b""]
    if mode not in {m.encode() for m in PeerMode}:
        raise AccessError("the first line must be sign or require, and then a secret a line.")
    if not keys or min(map(len, keys)) < LEAST_SECRET:
        raise AccessError(
            f"each line but the first is a secret of {LEAST_SECRET} characters and more: "
            "`onhand token secret` makes one."
        )
    return PeerSecrets(PeerMode(mode.decode()), tuple(keys))


def signed(
    secrets: PeerSecrets, request: bytes, url: str, caller: str, now: float | None = None
) -> bytes:
    """The bytes of a request, with the proof as its first header.

    Args:
        secrets: of this worker.
        request: head and body.
        url: of the worker that is asked, as its heartbeats say it.
        caller: id of the token by which the client got in, or `NOBODY`.
        now: seconds since the epoch.
    """
    at = b"%d" % (time.time() if now is None else now)
    line, _, rest = request.partition(b"\r\n")
    end = rest.find(b"\r\n\r\n")
    head = b"%b\r\n%b" % (line, rest[:end])
    mac = _mac(secrets.keys[0], _HOP, url.encode(), at, caller.encode(), head)
    return b"%b\r\nOnhand-Proof: %b %b %b\r\n%b" % (line, at, caller.encode(), mac, rest)


def split(data: bytes) -> tuple[bytes, bytes] | None:
    """The value of the proof in the bytes of a request, and the bytes without its line."""
    found = _LINE.search(data)
    return None if found is None else (found[1], data[: found.start()] + data[found.end() :])


def vouched(secrets: PeerSecrets, value: bytes, head: bytes, url: str) -> str | None:
    """Whom a worker vouches for, or `NOBODY`; None if this is no worker's proof.

    Args:
        secrets: of this worker.
        value: of the header.
        head: all but that header, without the empty line at the end.
        url: of this worker.
    """
    match = _VALUE.fullmatch(value)
    if match is None or abs(time.time() - int(match[1])) > SKEW_S:
        return None
    at, caller, mac = match.groups()
    said = (_HOP, url.encode(), at, caller, head)
    return caller.decode() if _is_by_any(secrets, mac, *said) else None


def beat_proof(secrets: PeerSecrets, topic: str, value: bytes, now_ms: int) -> bytes:
    """Of a heartbeat: when it was made, in ms since the epoch, and the hash."""
    at = b"%d" % now_ms
    return at + b" " + _mac(secrets.keys[0], _BEAT, topic.encode(), at, value)


def is_beat_proven(
    secrets: PeerSecrets, proof: bytes | None, topic: str, value: bytes, log_ms: int
) -> bool:
    """Whether a worker made this heartbeat, when the log took it, but for `SKEW_S`."""
    at, _, mac = (proof or b"").partition(b" ")
    if not re.fullmatch(rb"[0-9]{1,15}", at) or abs(int(at) - log_ms) > SKEW_S * 1000:
        return False
    return _is_by_any(secrets, mac, _BEAT, topic.encode(), at, value)


def _mac(key: bytes, *said: bytes) -> bytes:
    # Only the last part may hold a line feed: no two meanings have the same bytes.
    return hmac.digest(key, b"\n".join(said), "sha256").hex().encode()


def _is_by_any(secrets: PeerSecrets, mac: bytes, *said: bytes) -> bool:
    return any(hmac.compare_digest(_mac(key, *said), mac) for key in secrets.keys)
