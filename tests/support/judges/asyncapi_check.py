"""Hold records of topics, and what the feed tells, against /asyncapi.json: which message each is.

contract = TopicContract(document)
contract.message_of("sales", key, value, headers)
"""

import json
from collections.abc import Iterable
from typing import Any

from jsonschema import Draft7Validator

Json = dict[str, Any]
NOT_JSON = object()


class TopicContract:
    """What a document says of the records of each topic."""

    def __init__(self, document: Json) -> None:
        self._components = document["components"]
        self._channels = {one["address"]: one for one in document["channels"].values()}
        self._validators: dict[str, Draft7Validator] = {}

    def message_of(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Iterable[tuple[str, bytes | None]] = (),
    ) -> str | None:
        """The one message that this record is; None: it is none of them.

        More than one is an error: AsyncAPI asks that they exclude each other.
        """
        found = [
            name
            for name in self._channels[topic]["messages"]
            if self._is_one(self._components["messages"][name], key, value, dict(headers))
        ]
        assert len(found) < 2, found
        return found[0] if found else None

    def holds(self, schema: Any, value: Any) -> bool:
        """Whether a value is what a schema of the document says."""
        name = json.dumps(schema)
        if name not in self._validators:
            # Beside a reference nothing counts in draft 07.
            whole = {"allOf": [schema], "components": self._components}
            self._validators[name] = Draft7Validator(whole)
        return self._validators[name].is_valid(value)

    def _is_one(
        self, message: Json, key: bytes | None, value: bytes | None, headers: dict[str, Any]
    ) -> bool:
        given = {name: None if its is None else _text(its) for name, its in headers.items()}
        its_key = None if key is None else _text(key)
        if message["contentType"].endswith("json"):
            payload = _parsed(value)
            if payload is NOT_JSON or not self.holds(message["payload"], payload):
                return False
        key_schema = message["bindings"].get("kafka", {"key": {}})["key"]
        return self.holds(message.get("headers", {}), given) and self.holds(key_schema, its_key)

    def told(self, stream: bytes, media: str) -> list[str | None]:
        """The message that each event, or line, of a stream of the feed is."""
        channel = "/v1/changes"
        if media == "application/x-ndjson":
            return [self.message_of(channel, None, line) for line in stream.splitlines()]
        found = []
        for event in stream.decode().split("\n\n"):
            if event.startswith(("id: ", "event: ")):  # no comment, nothing about coming back
                fields = dict(line.split(": ", 1) for line in event.split("\n"))
                data = fields.pop("data").encode()
                headers = [(name, text.encode()) for name, text in fields.items()]
                found.append(self.message_of(channel, None, data, headers))
        return found


def _text(value: bytes) -> str:
    return value.decode(errors="surrogateescape")


def _parsed(value: bytes | None) -> Any:
    try:
        return NOT_JSON if value is None else json.loads(value)
    except ValueError:
        return NOT_JSON
