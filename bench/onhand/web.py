"""A plain HTTP client over one kept connection, for looking at a worker from outside."""

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

TIMEOUT_S = 15.0


@dataclass(frozen=True)
class Answer:
    """Status, body and headers (names in lower case)."""

    status: int
    body: bytes
    headers: dict[str, str]

    def json(self) -> Any:
        """The body decoded."""
        return json.loads(self.body)


class Web:
    """One worker's HTTP side; reconnects by itself."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)

    def get(self, path: str) -> Answer | None:
        """GET it; None while nobody listens."""
        return self._answer("GET", path)

    def post(self, path: str, body: bytes) -> Answer | None:
        """POST JSON; None while nobody listens, or if it is not known whether it was taken."""
        return self._answer("POST", path, body, {"Content-Type": "application/json"})

    def _answer(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] = {}
    ) -> Answer | None:
        try:
            self._connection.request(method, path, body, headers)
            response = self._connection.getresponse()
            said = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, response.read(), said)
        except (OSError, http.client.HTTPException):
            self._connection.close()
            return None

    def close(self) -> None:
        """Give the connection back."""
        self._connection.close()


def inventory_path(key: str) -> str:
    """The path of a row, by its key (SKU, NUL, location)."""
    sku, _, location = key.partition("\x00")
    return f"/v1/inventory/{quote(sku, safe='')}/{quote(location, safe='')}"


def metric_sum(exposition: bytes, *names: str) -> float:
    """Sum over all label sets of these metrics in a Prometheus page."""
    total = 0.0
    wanted = tuple(name.encode() for name in names)
    for line in exposition.splitlines():
        if line.startswith(wanted):
            name, _, value = line.rpartition(b" ")
            if name.partition(b"{")[0] in wanted:
                total += float(value)
    return total
