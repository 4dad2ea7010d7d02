"""The webhook: a signed POST as the convention Standard Webhooks 1.0.0 has it.

`webhook-id` is the message's and stays, `webhook-timestamp` is the try's, and `webhook-signature`
is made of both and of the body, once with each secret that is in use.
https://github.com/standard-webhooks/standard-webhooks/tree/main/spec
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import aiohttp
from msgspec import Struct

from core.words import in_words

#: The convention's example of a schedule: ten tries within 76 hours.
WAITS_S: Final = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
#: Between 15 and 30 s, as the convention recommends.
TRY_TIMEOUT_S: Final = 15.0
_SECRET: Final = "whsec_"  # noqa: S105 - how a secret begins
_LEAST_BYTES, _MOST_BYTES = 24, 64
#: Of an answer, to be shown where it is a refusal.
_SHOWN_BYTES: Final = 200


class TryOutcome(Struct, frozen=True):
    """What became of one try.

    status: of HTTP; 0 where nobody answered. told: in a few words, why it was not taken.
    retry_after_s: what the receiver asked for.
    """

    status: int
    told: str = ""
    retry_after_s: float = 0.0

    @property
    def is_taken(self) -> bool:
        """Only 2xx says so: a redirect is not followed."""
        return 200 <= self.status < 300


class Waits(Struct, frozen=True):
    """Seconds between the tries of a message, and so how many there are: one more than these."""

    seconds: Sequence[float] = WAITS_S

    def after(self, attempts: int, message_id: str, asked_s: float = 0.0) -> float | None:
        """How long to wait once so many tries have failed; None: there are no more.

        Up to a tenth longer, by the message's id: what failed together is not tried together.

        Args:
            attempts: 1 or more.
            message_id: of the message.
            asked_s: what the receiver asked for; no wait is longer than the longest of all for it.
        """
        if attempts > len(self.seconds):
            return None
        spread = hashlib.sha256(f"{message_id} {attempts}".encode()).digest()[0] / 2560
        wait_s = self.seconds[attempts - 1] * (1 + spread)
        return max(wait_s, min(asked_s, max(self.seconds)))


USUAL_WAITS: Final = Waits()


class Receiver(Protocol):
    """Who is told."""

    async def post(self, message_id: str, body: bytes, at_s: int) -> TryOutcome:
        """Try once; never raises for what a receiver or a network does."""
        ...


def secret_of(text: str) -> bytes:
    """A secret as it is written, `whsec_` and base64; raises ValueError."""
    try:
        secret = base64.b64decode(text.removeprefix(_SECRET), validate=True)
    except binascii.Error:
        secret = b""
    if not text.startswith(_SECRET) or not _LEAST_BYTES <= len(secret) <= _MOST_BYTES:
        raise ValueError(
            f"a secret is {_SECRET} and the base64 of {_LEAST_BYTES} to {_MOST_BYTES} bytes"
        )
    return secret


def signatures(secrets: Sequence[bytes], message_id: str, at_s: int, body: bytes) -> str:
    """The header's value: one signature for each secret.

    Args:
        secrets: in use, the newest first.
        message_id: without a full stop.
        at_s: of the try, s since the epoch.
        body: as it is sent.
    """
    signed = b"%s.%d.%s" % (message_id.encode(), at_s, body)
    made = (hmac.digest(secret, signed, "sha256") for secret in secrets)
    return " ".join(f"v1,{base64.b64encode(one).decode()}" for one in made)


class Webhook:
    """Posts to one address.

    Args:
        url: of the receiver.
        secrets: in use now, the newest first; asked for at each try.
        timeout_s: for one try.
    """

    def __init__(
        self, url: str, secrets: Callable[[], Sequence[bytes]], timeout_s: float = TRY_TIMEOUT_S
    ) -> None:
        self._url, self._secrets, self._timeout_s = url, secrets, timeout_s
        self._session: aiohttp.ClientSession | None = None

    async def stop(self) -> None:
        """Close its connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def post(self, message_id: str, body: bytes, at_s: int) -> TryOutcome:
        """See `Receiver`."""
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=self._timeout_s)
            # Nothing of an answer is kept or unpacked: that would be the receiver's to size.
            self._session = aiohttp.ClientSession(
                timeout=timeout, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
            )
        headers = {
            "Accept-Encoding": "identity",
            "Content-Type": "application/json",
            "User-Agent": "Onhand",
            "webhook-id": message_id,
            "webhook-timestamp": str(at_s),
            "webhook-signature": signatures(self._secrets(), message_id, at_s, body),
        }
        try:
            async with self._session.post(
                self._url, data=body, headers=headers, allow_redirects=False
            ) as answer:
                if 200 <= answer.status < 300:
                    return TryOutcome(answer.status)
                status, heads = answer.status, answer.headers
                said = b""
                while len(said) < _SHOWN_BYTES and (more := await answer.content.readany()):
                    said += more
        except (aiohttp.ClientResponseError, aiohttp.InvalidURL) as error:
            # Their own words have the whole address, whose path may be what lets in.
            is_said = isinstance(error, aiohttp.ClientResponseError)
            why = "what came is no HTTP" if is_said else "nobody can be asked at its address"
            return TryOutcome(0, f"no answer ({why})")
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            return TryOutcome(0, f"no answer ({in_words(error)})")
        shown = ascii(said[:_SHOWN_BYTES].decode(errors="replace"))[1:-1].strip()
        return TryOutcome(status, f"{status} {shown}".strip(), _retry_after_s(heads))


def _retry_after_s(headers: Mapping[str, str]) -> float:
    """What is asked for in seconds; 0 for a date, which not one receiver in a hundred sends."""
    asked = headers.get("Retry-After", "").strip()
    return float(asked) if asked.isascii() and asked.isdecimal() and len(asked) < 8 else 0.0
