"""What a read asks for: read once from a request, and written once for another worker.

A request comes as aiohttp has read it, or as the bytes of a connection (`plain`). Whoever
answers sees neither, only the `Question` that was made of it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, TypeAlias
from urllib.parse import quote

import msgspec
from aiohttp import web
from msgspec import Meta

from core.positions import read_position
from domain.checks import are_good_names
from domain.names import MAX_NAME_CHARS, fault_of
from domain.rows import row_key
from web.cluster.admission import ANYTHING, DEFAULT_WAIT_S, MAX_WAIT_S, Asked
from web.cluster.peers import (
    HOP,
    HOP_EPOCH,
    HOP_VERSION,
    IN_PIECES,
    PARTITIONS,
    get,
    is_for_another_version,
    numbers,
    post,
    row_headers,
    waiting,
)
from web.http.bodies import BAD_JSON, BodyLimits, json_fault, read_json
from web.http.conditions import NONE_MATCH, refusal_of
from web.http.parameters import BadRequest, parameters, part_of, target_of, wrong
from web.http.problems import Problem, problem
from web.reads import cursors
from web.reads.cursors import LastGiven
from web.reads.parameters import (
    DEFAULT_LIMIT,
    LIST,
    LOOKUP,
    NAME,
    READ,
    ROOT,
    STORED_ROWS,
    Filters,
    any_id,
)
from web.versions.asked import OF_THE_PAST

LOOKUP_PATH = "/v1/lookup"
MAX_KEYS = 1000
#: A head longer than this has something special about it.
MAX_PLAIN_BYTES = 4096


class Hop(msgspec.Struct, frozen=True):
    """What a question to another worker says besides itself.

    epoch: of the record of versions by which this worker answers. floor: the position that it must
    have reached; empty if anything will do. wait_s: how long it may wait for that.
    """

    url: str
    version: int
    epoch: int
    floor: str
    wait_s: float


class KeyQuestion(msgspec.Struct, frozen=True, gc=False):
    """A row; or, without a location, all rows of a SKU.

    in_pieces: who asks takes an announcement and a body in pieces.
    """

    sku: str
    location: str | None
    asked: Asked = ANYTHING
    if_none_match: str | None = None
    in_pieces: bool = False

    def request(self, hop: Hop) -> bytes:
        """The same GET for another worker."""
        key = (self.sku,) if self.location is None else (self.sku, self.location)
        path = "/".join((ROOT, *(quote(part, safe="") for part in key)))
        most, in_pieces = self.asked.max_lag_events, self.location is None
        return b"GET " + path.encode() + _behind_key(hop, most, in_pieces, self.if_none_match)


# Many differ in the key alone; to write the rest takes 6 µs.
@lru_cache(maxsize=256)
def _behind_key(hop: Hop, most: int | None, in_pieces: bool, if_none_match: str | None) -> bytes:
    """What follows the path of a question for a key. most: events that it may be behind."""
    query = waiting(hop.floor, hop.wait_s)
    if most is not None:
        query["max_lag_events"] = str(most)
    lines = row_headers(hop.version, hop.epoch)
    if in_pieces:
        lines += f"{IN_PIECES}: 1\r\n"
    if if_none_match is not None:
        lines += f"{NONE_MATCH}: {if_none_match}\r\n"
    return get(hop.url, "", query, lines).removeprefix(b"GET ")


class ListQuestion(msgspec.Struct, frozen=True):
    """A page of rows.

    places: by partition, the last key that the client was given. partitions: those that are
    asked for; the others count as missing. partial: some may be missing. stored: who asks takes
    rows as they are stored.
    """

    filters: Filters
    limit: int
    places: Sequence[LastGiven]
    partitions: Sequence[int]
    partial: bool
    asked: Asked
    stored: bool = False

    def request(self, hop: Hop, partitions: Sequence[int]) -> bytes:
        """The same GET for another worker, of these partitions alone."""
        # The others are not asked for: give them any of these places.
        some = self.places[partitions[0]]
        places = [place if p in partitions else some for p, place in enumerate(self.places)]
        cursor = cursors.token_of(self.filters, places)
        page = {"limit": str(self.limit), "cursor": cursor or ""}
        filters = {k: str(v) for k, v in msgspec.to_builtins(self.filters).items()}
        lines = hop_lines(hop, partitions) + (f"Accept: {STORED_ROWS}\r\n" if self.stored else "")
        return get(hop.url, ROOT, {**page, **filters, **hop_query(hop)}, lines)


#: For the document. Names, and how many, are checked after decoding: each fault is named.
KeyPart = Annotated[str, Meta(extra_json_schema=NAME)]


class KeyAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One key of a lookup. Whoever misspells a demand is told."""

    sku: KeyPart
    location: KeyPart


class Keys(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a lookup."""

    keys: Annotated[list[KeyAsked], Meta(extra_json_schema={"minItems": 1, "maxItems": MAX_KEYS})]


def body_of_lookup(keys: Iterable[KeyAsked]) -> bytes:
    """`Keys`, as JSON."""
    return msgspec.json.encode({"keys": list(keys)})


class LookupQuestion(msgspec.Struct, frozen=True):
    """Many keys. partial: some may be without an answer."""

    keys: Sequence[KeyAsked]
    partial: bool
    asked: Asked

    def request(self, hop: Hop, partitions: Sequence[int], keys: Iterable[KeyAsked]) -> bytes:
        """A POST for another worker, of the keys in these partitions alone."""
        query, lines = hop_query(hop), hop_lines(hop, partitions)
        return post(hop.url, LOOKUP_PATH, query, lines, body_of_lookup(keys))


Question: TypeAlias = KeyQuestion | ListQuestion | LookupQuestion


def hop_query(hop: Hop) -> dict[str, str]:
    """Parameters of a question to another worker for some partitions."""
    return {"partial": "true", **waiting(hop.floor, hop.wait_s)}


def hop_lines(hop: Hop, partitions: Iterable[int]) -> str:
    """Its headers, each line ending with CRLF."""
    return f"{row_headers(hop.version, hop.epoch)}{PARTITIONS}: {numbers(partitions)}\r\n"


class Questions:
    """Reads the requests of one worker.

    Args:
        count: of partitions.
        version: `ONHAND_VERSION`; a request for another one is refused.
        limits: of the body of a lookup.
    """

    def __init__(self, count: int, version: int, limits: BodyLimits) -> None:
        self._count, self._version, self._limits = count, version, limits
        self._plain_headers = _plain_headers(version)
        # Nearly every client sends the same ones each time; to judge them takes 2 to 5 µs.
        self._judged = lru_cache(maxsize=256)(self._judge)

    async def of(self, request: web.Request) -> Question | web.Response:
        """What it asks for, or the refusal.

        Raises:
            BadRequest: names everything that is wrong with it.
        """
        if is_for_another_version(request.headers, self._version):
            return problem(Problem.NOT_READY, f"This worker is of version {self._version}.")
        path, query = target_of(request)
        if request.method == "POST":
            return await self._lookup(request, query)
        kept = () if path == ROOT else (NONE_MATCH,)
        if (refused := refusal_of(request.headers, kept)) is not None:
            return refused
        if path == ROOT:
            return self._list(query, request.headers)
        key = key_of(path)
        if key is None:
            detail = f"There is nothing at {path}. A / inside an id is written %2F."
            return problem(Problem.UNKNOWN_PATH, detail)
        headers = request.headers
        asked = asked_of(parameters(query, READ, OF_THE_PAST), headers)
        return KeyQuestion(*key, asked, headers.get(NONE_MATCH), IN_PIECES in headers)

    def plain(self, data: bytes, epoch: int) -> KeyQuestion | None:
        """Of the bytes of a whole request; None for all but a plain GET of one row.

        `epoch`: by which answers are given here. A worker that has read a later record is not
        answered before this one has, too.
        """
        target = _PLAIN_TARGET.match(data)
        if target is None or len(data) > MAX_PLAIN_BYTES:
            return None
        judged = self._judged(data[target.end() :])
        if judged is None or judged[1] > epoch:
            return None
        hop = judged[0]
        sku, location, *demands = target.groups()
        asked = _plain_asked(*demands, hop)
        return None if asked is None else KeyQuestion(sku.decode(), location.decode(), asked)

    def _judge(self, headers: bytes) -> tuple[bool, int] | None:
        """Whether another worker asks, and its epoch; None where a header is special."""
        found = self._plain_headers.fullmatch(headers)
        if found is None:
            return None
        # Two of each: they may stand before the host or behind it.
        hop, epoch, late_hop, late_epoch = found.groups()
        return (hop or late_hop) is not None, int(epoch or late_epoch or 0)

    def _list(self, query: str, headers: Mapping[str, str]) -> ListQuestion:
        values = parameters(query, LIST, OF_THE_PAST)
        filters = filters_of(values)
        return ListQuestion(
            filters,
            values.get("limit", DEFAULT_LIMIT),
            cursors.places_of(values.get("cursor"), filters, self._count),
            partitions_of(headers, self._count),
            values.get("partial", False),
            asked_of(values, headers),
            STORED_ROWS in headers.get("Accept", ""),
        )

    async def _lookup(self, request: web.Request, query: str) -> LookupQuestion | web.Response:
        body = await read_json(request, self._limits)
        if isinstance(body, web.Response):
            return body
        values = parameters(query, LOOKUP)
        asked = asked_of(values, request.headers)
        return LookupQuestion(_keys(body), values.get("partial", False), asked)


# ---- the parts of a request


def key_of(path: str) -> tuple[str, str | None] | None:
    """SKU, and location if there is one, from a path under `ROOT`; None for another shape.

    Raises:
        BadRequest: the shape is right and a part can be no id.
    """
    parts = path[len(ROOT) + 1 :].split("/")
    if not path.startswith(ROOT + "/") or len(parts) > 2:
        return None
    ids, faults = [], []
    for name, raw in zip(("sku", "location"), parts, strict=False):
        try:
            ids.append(any_id(part_of(raw)))
        except ValueError as error:
            faults.append(wrong(name, str(error)))
    if faults:
        raise BadRequest(*faults)
    return ids[0], ids[1] if len(ids) > 1 else None


def asked_of(values: Mapping[str, Any], headers: Mapping[str, str]) -> Asked:
    """What the caller demands of any answer."""
    return Asked(
        values.get("min_position", {}),
        values.get("wait_ms", DEFAULT_WAIT_S * 1000) / 1000,
        values.get("max_lag_events"),
        headers.get(HOP) == "1",
    )


def filters_of(values: Mapping[str, Any]) -> Filters:
    """Those of a list."""
    fields: Collection[str] = Filters.__struct_fields__
    return Filters(**{name: values[name] for name in fields if name in values})


def partitions_of(headers: Mapping[str, str], count: int) -> list[int]:
    """Partitions that a list is restricted to by another worker; all without the header.

    Raises:
        BadRequest: not partition numbers.
    """
    raw = headers.get(PARTITIONS)
    if raw is None:
        return list(range(count))
    try:
        given = sorted({int(part) for part in raw.split(",")})
    except ValueError:
        given = [-1]
    if not 0 <= given[0] <= given[-1] < count:
        raise BadRequest(wrong(PARTITIONS, f"must be numbers from 0 to {count - 1}"))
    return given


def _keys(body: bytes) -> list[KeyAsked]:
    try:
        keys = msgspec.json.decode(body, type=Keys).keys
    except BAD_JSON as error:
        detail = f'must be {{"keys": [{{"sku": …, "location": …}}, …]}} ({json_fault(error)})'
        raise BadRequest(wrong("body", detail)) from error
    if not 1 <= len(keys) <= MAX_KEYS:
        raise BadRequest(wrong("keys", f"must be 1 to {MAX_KEYS:,}, not {len(keys):,}"))
    # All at once, unless one may be too long; to ask of each takes five times as long.
    rows = [row_key(key.sku, key.location) for key in keys]
    if max(map(len, rows)) <= MAX_NAME_CHARS and are_good_names(rows):
        return keys
    faults = [
        wrong(f"keys[{index}].{name}", why)
        for index, key in enumerate(keys)
        for name, text in (("sku", key.sku), ("location", key.location))
        if (why := fault_of(text)) is not None
    ]
    if faults:
        raise BadRequest(*faults)
    return keys


# ---- a plain request


# Ids that need no decoding; then, as other workers write it, a position and a wait; then how far
# behind the answer may be.
_PLAIN_TARGET = re.compile(
    rb"GET %b/([A-Za-z0-9_-][A-Za-z0-9._-]{0,127})/([A-Za-z0-9_-][A-Za-z0-9._-]{0,127})"
    rb"(?:\?min_position=([A-Za-z0-9._@,-]+)&wait_ms=([0-9]{1,5})(?:&max_lag_events=([0-9]{1,9}))?"
    rb"|\?max_lag_events=([0-9]{1,9}))? HTTP/1\.1\r\n" % ROOT.encode()
)
# Headers that change nothing in the answer.
_HARMLESS = (
    "User-Agent|Accept|Accept-Encoding|Accept-Language|Cache-Control|Pragma|Traceparent|"
    "Tracestate|X-Request-Id|X-Forwarded-For|X-Forwarded-Host|X-Forwarded-Proto|Forwarded"
)


def _plain_headers(version: int) -> re.Pattern[bytes]:
    """Harmless headers up to the end of the head; groups: where it came by a hop, its epoch."""
    other = (
        rf"(?:(?:{_HARMLESS}):[ -~]*|Connection: keep-alive|({HOP}): 1|"
        rf"{HOP_VERSION}: {version}|{HOP_EPOCH}: ([0-9]{{1,18}}))\r\n"
    )
    # HTTP/1.1 wants the host named, once; who does not gets aiohttp's word for it.
    head = rf"(?:{other})*Host:[ -~]*\r\n(?:{other})*\r\n"
    return re.compile(head.encode(), re.IGNORECASE)


@lru_cache(maxsize=1024)
def _plain_asked(
    token: bytes | None, wait_ms: bytes | None, most: bytes | None, alone: bytes | None, hop: bool
) -> Asked | None:
    """What a plain request demands; `alone`: the most events behind, with no position."""
    lag = most or alone
    max_lag = None if lag is None else int(lag)
    if token is None or wait_ms is None:
        return Asked(max_lag_events=max_lag, hop=hop)
    if int(wait_ms) > MAX_WAIT_S * 1000:
        return None
    try:
        return Asked(read_position(token.decode()), int(wait_ms) / 1000, max_lag, hop)
    except ValueError:
        return None
