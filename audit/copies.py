"""Which copies of a partition there are, and their rows, as workers tell them."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

import aiohttp
import msgspec

from audit.comparing import Held
from audit.log import AuditFailed
from core.words import in_words
from tables.audit.copies import CopyHead

_ASK_S: Final = 10.0
#: A worker that sends nothing of a copy for so long is gone.
_SILENCE_S: Final = 30.0
_LARGEST_FRAME: Final = 64 * 2**20
_head = msgspec.msgpack.Decoder(CopyHead).decode
_rows = msgspec.msgpack.Decoder(list[tuple[bytes, bytes]]).decode


class CopyUnread(Exception):
    """A copy could not be read; the message is a sentence without its subject."""


class CopyHolder(NamedTuple):
    """A worker that says it can answer for a partition. position: token."""

    worker: str
    role: str
    position: str


async def places(
    http: aiohttp.ClientSession, workers: Sequence[str]
) -> dict[int, list[CopyHolder]]:
    """Who has copies, by partition; the owner first.

    Raises:
        AuditFailed: no worker answers.
    """
    why = ""
    for worker in workers:
        try:
            async with asyncio.timeout(_ASK_S), http.get(f"{worker}/v1/cluster") as answer:
                if answer.status != 200:
                    why = f"{worker} {await _refusal(answer)}"  # a ledger says that it is one
                    continue
                state = json.loads(await answer.read())
            return {one["partition"]: _holders(one) for one in state["partitions"]}
        except (aiohttp.ClientError, OSError, ValueError, KeyError, TimeoutError) as error:
            why = f"{worker}: {in_words(error)}"
    raise AuditFailed(
        f"No worker answers ({why}): start one with `onhand worker`, or name another by --url or "
        "ONHAND_URL."
    )


def _holders(partition: dict[str, Any]) -> list[CopyHolder]:
    holders = [*([partition["active"]] if partition["active"] else []), *partition["standbys"]]
    return [CopyHolder(one["worker"], one["role"], one["position"]) for one in holders]


class RemoteCopy:
    """A copy that is being read: its rows are of the position in `head`, however long it takes."""

    def __init__(self, place: CopyHolder, head: CopyHead, body: aiohttp.StreamReader) -> None:
        self.place, self.head, self._body = place, head, body

    async def rows(self) -> AsyncIterator[list[tuple[bytes, bytes]]]:
        """Keys and values as they are stored, some hundreds at a time, in the order of keys.

        Raises:
            CopyUnread: it broke off.
        """
        while True:
            try:
                page = _rows(await _frame(self._body))
            except msgspec.MsgspecError as error:
                raise CopyUnread(f"said something else ({error})") from error
            if not page:
                return
            yield page


@asynccontextmanager
async def opened_copy(
    http: aiohttp.ClientSession, place: CopyHolder, partition: int
) -> AsyncIterator[RemoteCopy]:
    """One worker's copy, as it is now.

    Raises:
        CopyUnread: it cannot be read there now.
    """
    url = f"{place.worker}/v1/audit/copies/{partition}"
    try:
        async with http.get(url) as answer:
            if answer.status != 200:
                raise CopyUnread(await _refusal(answer))
            head = _head(await _frame(answer.content))
            yield RemoteCopy(place, head, answer.content)
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise CopyUnread(f"did not answer ({in_words(error)})") from error
    except msgspec.MsgspecError as error:
        raise CopyUnread(f"said something else ({error})") from error


async def _refusal(answer: aiohttp.ClientResponse) -> str:
    try:
        detail = json.loads(await answer.read())["detail"]
    except (ValueError, KeyError, TypeError):
        detail = "nothing more"
    return f"answered {answer.status}: {detail}"


async def _frame(body: aiohttp.StreamReader) -> bytes:
    try:
        async with asyncio.timeout(_SILENCE_S):
            size = int.from_bytes(await body.readexactly(4))
            if size > _LARGEST_FRAME:
                raise CopyUnread("said something else")
            return await body.readexactly(size)
    except asyncio.IncompleteReadError as error:
        raise CopyUnread("broke off in the middle") from error
    except (aiohttp.ClientError, OSError) as error:  # killed, or silent for too long
        raise CopyUnread(f"broke off in the middle ({in_words(error)})") from error


async def values_of(copy: RemoteCopy, keys: Collection[bytes]) -> dict[bytes, bytes]:
    """Some rows of a copy that was just begun, as they are stored.

    Raises:
        CopyUnread: it broke off.
    """
    wanted = frozenset(keys)
    return {key: value async for page in copy.rows() for key, value in page if key in wanted}


async def ask_repair(
    http: aiohttp.ClientSession,
    owner: CopyHolder,
    held: Held,
    key: bytes,
    found: bytes | None,
    right: bytes | None,
) -> None:
    """Let the owner add what `right` has more than `found`; returns once it is committed.

    Raises:
        AuditFailed: it refused, or did not answer.
    """
    body = {
        "partition": held.partition,
        "key": key.decode(errors="surrogatepass"),
        "found": None if found is None else found.decode(errors="surrogatepass"),
        "right": None if right is None else right.decode(),
        "ownership": held.ownership or "",
        "group": held.group,
    }
    try:
        async with http.post(f"{owner.worker}/v1/audit/repairs", json=body) as answer:
            if answer.status != 200:
                raise AuditFailed(f"The owner at {owner.worker} {await _refusal(answer)}")
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise AuditFailed(
            f"The owner at {owner.worker} did not answer ({in_words(error)}): audit again to see "
            "whether it was repaired."
        ) from error


def session(
    token: str | None = None, believed: ssl.SSLContext | None = None
) -> aiohttp.ClientSession:
    """For questions to workers, with the caller's token if there is one; one at a time each.

    `believed`: whose certificates are; None: the system's authorities'.
    """
    headers = {"Authorization": f"Bearer {token}"} if token else None
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=_ASK_S, sock_read=_SILENCE_S)
    connector = aiohttp.TCPConnector(ssl=believed or True)
    return aiohttp.ClientSession(
        timeout=timeout, auto_decompress=False, headers=headers, connector=connector
    )
