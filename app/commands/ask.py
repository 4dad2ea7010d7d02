"""Questions to workers by HTTP, with the standard library: `onhand stock` starts fast."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

from app.commands.console import Cell, coloured, plain, seconds_since, span
from app.commands.running import authorities_of_command, token_of_command
from core.words import in_words

#: A worker answers or refuses within 2 s, and waits for a position for at most 10 s more.
TIMEOUT_S = 15.0
#: Younger than this is now: a broker answers a worker at least every half second.
_NOW_S = 5.0
_BUSY = 503
#: There was no connection, or no address, so nobody got the request.
_NOT_ASKED = (ConnectionRefusedError, socket.gaierror, ValueError, http.client.InvalidURL)


class NoAnswer(Exception):
    """Nobody answered; the message is one plain sentence.

    was_asked: somebody may have got the request all the same.
    """

    def __init__(self, sentence: str, was_asked: bool) -> None:
        super().__init__(sentence)
        self.was_asked = was_asked


class Answer(NamedTuple):
    """What a worker said, and which one."""

    worker: str
    status: int
    body: bytes


def inventory_path(
    sku: str, location: str | None, query: Mapping[str, object] = MappingProxyType({})
) -> str:
    """The path of a SKU's stock, or of its row at a location; ids are percent-encoded."""
    path = "/v1/inventory/" + quote(sku, safe="")
    if location is not None:
        path += "/" + quote(location, safe="")
    return path + (f"?{urlencode(query)}" if query else "")


def ask(
    workers: Sequence[str],
    path: str,
    body: object = None,
    timeout_s: float = TIMEOUT_S,
    *,
    with_token: bool = True,
) -> Answer:
    """GET a path, or POST a body to it, from the first worker that can answer.

    One that is not there, or says 503, is passed over for the next; of several that say 503
    the last one's answer is given. So a POST may go to several: its ids make it count once.

    The token of the command goes with it, unless `with_token` is off.

    Raises:
        NoAnswer: no worker there, or each took longer than `timeout_s`.
    """
    token = token_of_command() if with_token else None
    last: Answer | None = None
    problems, was_asked = [], False
    for worker in workers:
        try:
            last = _ask_one(worker, path, body, timeout_s, token)
        except (OSError, ValueError, http.client.HTTPException) as error:
            problems.append(f"{worker} ({_why(error)})")
            was_asked |= not isinstance(error, _NOT_ASKED)
            continue
        if last.status != _BUSY:
            return last
    if last is not None:
        return last
    raise NoAnswer(
        f"No worker answers at {', '.join(problems)}: start one with "
        "`onhand worker`, or name another by --url or ONHAND_URL.",
        was_asked,
    )


def _why(error: Exception) -> str:
    match error:
        # A ValueError to Python; both come before anybody was asked.
        case ssl.SSLCertVerificationError():
            return (
                f"its certificate is not believed: {error.verify_message.rstrip('.')}; name the "
                "file of who signed it by --tls-ca or ONHAND_TLS_CA, and the host as it is in it"
            )
        case ValueError() | http.client.InvalidURL():
            return "that is no address"
        case http.client.RemoteDisconnected():
            return "it closed the connection without an answer"
        case http.client.HTTPException():
            return "what answers there does not speak HTTP"
        case ssl.SSLError(reason="WRONG_VERSION_NUMBER" | "RECORD_LAYER_FAILURE"):
            return "it speaks no TLS: begin its address with http://"
        case _:
            return in_words(error)


def _ask_one(worker: str, path: str, body: object, timeout_s: float, token: str | None) -> Answer:
    parts = urlsplit(worker if "://" in worker else f"http://{worker}")
    host = parts.hostname or ""
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        believed = authorities_of_command()
        connection = http.client.HTTPSConnection(
            host, parts.port, timeout=timeout_s, context=believed
        )
    else:
        connection = http.client.HTTPConnection(host, parts.port, timeout=timeout_s)
    headers = {"Accept": "*/*"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    data = None
    if body is not None:
        headers["Content-Type"] = "application/json"
        data = json.dumps(body).encode()
    try:
        method = "GET" if body is None else "POST"
        connection.request(method, parts.path.rstrip("/") + path, body=data, headers=headers)
        answer = connection.getresponse()
        return Answer(worker, answer.status, answer.read())
    finally:
        connection.close()


def refusal(status: int, body: bytes) -> str:
    """One sentence from a problem document (RFC 9457), or from whatever came instead."""
    try:
        problem = json.loads(body)
        title, detail = str(problem.get("title", "")), str(problem.get("detail", ""))
        faults = [_fault(fault) for fault in problem.get("errors") or ()]
    except (ValueError, AttributeError):
        return f"The worker answered {status}, not as Onhand does: is it one?"
    if str(problem.get("type")).endswith("/unknown-key"):
        title = ""  # the detail is it, with the names
    if detail.startswith(title.rstrip(".")):
        title = ""  # another worker's refusal, passed on
    # The detail sums the faults up, for programs that show one sentence alone.
    said = ": ".join(_unended(part) for part in (title, "; ".join(faults) or detail) if part)
    return f"{plain(said) or f'The worker answered {status}'}."


def _fault(fault: dict[str, Any]) -> str:
    said = str(fault.get("detail", fault))
    return f"{fault['parameter']} {said}" if "parameter" in fault else said


def _unended(sentence: str) -> str:
    return sentence if sentence.endswith("..") else sentence.removesuffix(".")


def freshness_line(freshness: dict[str, Any]) -> str:
    """Who says so, up to where, how far behind; yellow if it is not the owner."""
    lag = freshness["lag_events"]
    behind = "no event behind" if lag == 0 else f"{lag:,} event{'s' if lag != 1 else ''} behind"
    age_s = seconds_since(freshness["as_of"])
    when = "now" if age_s < _NOW_S else f"{span(age_s)} ago"
    said = (
        f"{freshness['role']} {freshness['worker']}, partition {freshness['partition']}, "
        f"{behind} as of {when} ({freshness['position']})"
    )
    return coloured(Cell(said, None if freshness["role"] == "active" else "yellow"))
