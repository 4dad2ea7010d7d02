"""One question to a worker by HTTP, with the standard library: `onhand stock` starts fast."""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

#: A worker answers or refuses within 2 s, and waits for a position for at most 1 s more.
TIMEOUT_S = 10.0


class NoAnswer(Exception):
    """Nobody answered; the message is one plain sentence."""


def inventory_path(sku: str, location: str | None, min_position: str | None) -> str:
    """The path of a SKU's stock, or of its row at a location; ids are percent-encoded."""
    path = "/v1/inventory/" + quote(sku, safe="")
    if location is not None:
        path += "/" + quote(location, safe="")
    return path + (f"?{urlencode({'min_position': min_position})}" if min_position else "")


def get(base: str, path: str) -> tuple[int, bytes]:
    """Status and body of a GET.

    Raises:
        NoAnswer: no worker there, or it took longer than `TIMEOUT_S`.
    """
    try:
        parts = urlsplit(base if "://" in base else f"http://{base}")
        secure = parts.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=TIMEOUT_S)
        try:
            connection.request("GET", parts.path.rstrip("/") + path, headers={"Accept": "*/*"})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()
    except (OSError, ValueError, http.client.HTTPException, socket.gaierror) as error:
        raise NoAnswer(
            f"No worker answers at {base} ({error or type(error).__name__}): start one with "
            "`onhand worker`, or name another by --url or ONHAND_URL."
        ) from error


def refusal(status: int, body: bytes) -> str:
    """One sentence from a problem document (RFC 9457), or from whatever came instead."""
    try:
        problem = json.loads(body)
        title, detail = str(problem.get("title", "")), str(problem.get("detail", ""))
    except (ValueError, AttributeError):
        return f"The worker answered {status}, not as Onhand does: is it one?"
    said = ": ".join(part.rstrip(".") for part in (title, detail) if part)
    return f"{said or f'The worker answered {status}'}."


def freshness_line(freshness: dict[str, Any]) -> str:
    """Who says so, up to where, how far behind."""
    lag = freshness["lag_events"]
    behind = "no event behind" if lag == 0 else f"{lag:,} event{'s' if lag != 1 else ''} behind"
    return (
        f"{freshness['role']} {freshness['worker']}, partition {freshness['partition']}, "
        f"{behind} as of {freshness['as_of']} ({freshness['position']})"
    )
