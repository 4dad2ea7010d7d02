"""Read a request's body within its bounds, or say why not."""

import asyncio
from collections.abc import Collection

import msgspec
from aiohttp import web
from msgspec import Struct

from web.conditions import refusal_of
from web.problems import Problem, problem

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
#: Everything that msgspec raises for bytes that are no JSON of the wanted shape. It raises
#: RecursionError for what is nested too deep, and that is no MsgspecError.
BAD_JSON = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class BodyLimits(Struct, frozen=True):
    """Bounds on one request's body, after decompression."""

    bytes: int = 1024 * 1024
    timeout_s: float = 10.0


async def read_json(
    request: web.Request, limits: BodyLimits, types: Collection[str] = (JSON,)
) -> bytes | web.Response:
    """The body, decompressed but not parsed; or the problem to answer with.

    Args:
        request: whose body; gzip and deflate are undone by aiohttp.
        limits: how large, how slow.
        types: media types taken. With `application/json` among them, JSON without a type
            or under curl's default type is taken too: see `_named_by_default`.
    """
    if (refused := refusal_of(request.headers)) is not None:
        return refused
    if not _is_taken(request, types):
        return _unsupported(request, types)
    if (request.content_length or 0) > limits.bytes:
        return _too_large(limits)
    try:
        async with asyncio.timeout(limits.timeout_s):
            body = await _read(request, limits.bytes)
    except TimeoutError:
        detail = f"The body did not arrive within {limits.timeout_s:g} s."
        response = problem(Problem.REQUEST_TIMEOUT, detail)
        response.force_close()
        return response
    except (web.RequestPayloadError, web.HTTPException) as broken:
        return problem(Problem.INVALID_REQUEST, f"The body could not be read: {broken}.")
    if body is None:
        return _too_large(limits)
    if JSON in types and _media_type(request) in ("", FORM) and body.lstrip()[:1] not in b"{[":
        return _unsupported(request, types)
    return body


async def _read(request: web.Request, limit: int) -> bytes | None:
    """None when there is more than `limit`; the rest is left unread."""
    chunks, size = [], 0
    async for chunk in request.content.iter_any():
        size += len(chunk)
        if size > limit:
            return None
        chunks.append(chunk)
    return b"".join(chunks)


def _media_type(request: web.Request) -> str:
    """In lower case without parameters; empty without the header."""
    return request.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def _is_taken(request: web.Request, types: Collection[str]) -> bool:
    taken = _media_type(request) in types or (JSON in types and _named_by_default(request))
    charset = (request.charset or "utf-8").lower()
    coding = request.headers.get("Content-Encoding", "identity").lower()
    return taken and charset in ("utf-8", "utf8") and coding in ("identity", "gzip", "deflate")


def _named_by_default(request: web.Request) -> bool:
    """Whether nobody chose the type: `curl -d` says form without being asked.

    Not from a browser: it sends these two types to any address without asking first (CORS),
    so a web page could write to a worker that its reader can reach. It says where it comes
    from, curl does not.
    """
    headers = request.headers
    browser = "Origin" in headers or "Sec-Fetch-Site" in headers or "Referer" in headers
    return _media_type(request) in ("", FORM) and not browser


def _too_large(limits: BodyLimits) -> web.Response:
    return problem(Problem.TOO_LARGE, f"The body is larger than {limits.bytes:,} bytes.")


def _unsupported(request: web.Request, types: Collection[str]) -> web.Response:
    named = request.headers.get("Content-Type") or "no Content-Type"
    coding = request.headers.get("Content-Encoding")
    encoded = f" in {coding}" if coding else ""
    wanted = " or ".join(types)
    # A header may hold any bytes, JSON may not: ascii() keeps both readable.
    given = ascii(f"{named}{encoded}"[:200])
    detail = f"This call takes UTF-8 JSON as {wanted}, not {given}."
    return problem(Problem.UNSUPPORTED_MEDIA_TYPE, detail, headers={"Accept": ", ".join(types)})
