"""Whatever a caller sends who may not read, no row is in the answer.

ONHAND_FUZZ_CALLERS=100000 throws as many requests.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.breaking.fuzz import Fuzz
from tests.support.breaking.fuzzed import CLIENTS, a_target, seed_of_this_run
from tests.unit.web.access_files import OTHER, Keys
from web.access import proofs
from web.access.callers import Scope

IS_TORTURE = os.environ.get("HYPOTHESIS_PROFILE") == "torture"
REQUESTS = int(os.environ.get("ONHAND_FUZZ_CALLERS", "30000" if IS_TORTURE else "600"))
PATIENCE_S = 3.0
#: Of the worker that is asked.
URL = "http://127.0.0.1:2"
#: What is in each row, in each list of them, and in a page of facts.
OF_ROWS = (b'"on_hand"', b'"received"', b'"checksum"', b'"next_cursor"', b'"balance"')
OPEN_ANSWERS = (b'{"live"', b'{"ready"')
#: They tell what an answer looks like.
DOCUMENTS = (b'{"openapi"', b'{"asyncapi"', b"<!doctype")
BETWEEN_ANSWERS = re.compile(rb"(?=HTTP/1\.1 \d\d\d )")


class Callers(Fuzz):
    """Requests near those of `Fuzz`, in the name of somebody who may not read."""

    def __init__(self, seed: int, keys: Keys) -> None:
        super().__init__(seed)
        self._dice = random.Random(seed)
        reader = keys.token(Scope.READ)
        revoked = keys.token(Scope.READ)
        keys.revoke(revoked)
        #: Of these, some calls are theirs.
        self.known = [keys.token(scope) for scope in Scope if scope is not Scope.READ]
        self._reader = reader
        self._said = [
            *(f"Authorization: Bearer {token}" for token in (*self.known, revoked, reader[:-1])),
            f"Authorization: Basic {reader}", f"X-Authorization: Bearer {reader}",
            f"Authorization: Bearer {revoked}\r\nAuthorization: Bearer {reader}",
            f"Authorization: Bearer\r\n {reader}", f"Cookie: Authorization: Bearer {reader}",
            "Onhand-Hop: 1", f"Onhand-Hop: 1\r\nOnhand-Proof: 1 {reader[7:15]} {'0' * 64}",
        ]  # fmt: skip

    def _forged(self, data: bytes) -> bytes:
        """As a worker would say it that has another secret."""
        secrets = proofs.PeerSecrets(proofs.PeerMode.SIGN, (OTHER.encode(),))
        return proofs.signed(secrets, data, URL, self._reader[7:15])

    def request(self) -> bytes:
        """One of them."""
        data = super().request()
        if self._dice.random() < 0.1:
            return self._forged(data) if b"\r\n\r\n" in data else data
        start, end, rest = data.partition(b"\r\n")
        return start + end + self._dice.choice(self._said).encode() + b"\r\n" + rest


async def test_no_row_is_told_to_who_may_not_read(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    seed = seed_of_this_run()
    keys = Keys(tmp_path)
    fuzz = Callers(seed, keys)
    rest = iter(range(REQUESTS))
    refused = 0

    async def ask(host: str, port: int) -> None:
        nonlocal refused
        for _ in rest:
            data = fuzz.request()
            is_known = any(token.encode() in data for token in fuzz.known)
            for answer in answers_in(await heard(host, port, data)):
                refused += answer[9:12] in (b"401", b"403")
                assert tells_nothing(answer, is_known), (data, answer)

    async with a_target(fuzz, keys.access(URL)) as target:
        await asyncio.gather(
            *(ask(str(target.host), int(target.port or 0)) for _ in range(CLIENTS))
        )
    assert refused > REQUESTS / 10
    record_property("tried", REQUESTS)


def answers_in(heard: bytes) -> list[bytes]:
    """One each, of a connection that asked several times; that to a HEAD has no body."""
    return [answer for answer in BETWEEN_ANSWERS.split(heard) if answer]


def tells_nothing(answer: bytes, is_known: bool) -> bool:
    """Whether it may be given to who may not read; `is_known`: who may do something else."""
    head, _, body = answer.partition(b"\r\n\r\n")
    if body.lower().startswith(DOCUMENTS):
        return b"\r\nOnhand-Role:" not in head
    if b"\r\nOnhand-Role:" in head or any(word in answer for word in OF_ROWS):
        return False
    is_open = not body or body.startswith(OPEN_ANSWERS)
    return is_known or is_open or head[9:10] != b"2"


@pytest.mark.parametrize(
    ("heard", "told"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 401 No\r\n\r\n{}", [True, True]),
        (b'HTTP/1.1 200 OK\r\n\r\n{"ready": 1}HTTP/1.1 200 OK\r\n\r\n[]', [True, False]),
        (b'HTTP/1.1 404 No\r\n\r\nHTTP/1.1 404 No\r\n\r\n{"on_hand": 7}', [True, False]),
    ],
)  # fmt: skip
def test_each_answer_of_a_connection_is_judged(heard: bytes, told: list[bool]) -> None:
    assert [tells_nothing(answer, is_known=False) for answer in answers_in(heard)] == told


async def heard(host: str, port: int, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(data)
        if writer.can_write_eof():
            writer.write_eof()
        async with asyncio.timeout(PATIENCE_S):
            return await reader.read()
    except (TimeoutError, OSError):
        return b""
    finally:
        writer.transport.abort()
