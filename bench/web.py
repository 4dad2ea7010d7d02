"""A plain HTTP client over one kept connection, for looking at a worker from outside."""

import http.client
import json
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
        try:
            self._connection.request("GET", path)
            response = self._connection.getresponse()
            headers = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, response.read(), headers)
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
