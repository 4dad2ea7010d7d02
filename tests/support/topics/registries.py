"""A schema registry under test: a real HTTP server that speaks the part of Confluent's documented
API which serializers and readers use."""

import base64
import json
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from confluent_kafka.schema_registry import SchemaRegistryClient


@dataclass
class Registry:
    """What it has, what it was asked for, and what it answers instead.

    Attributes:
        port: where it listens.
        asked: paths of all GETs, in their order.
        answers: status and body for every GET, in the place of the true ones.
        user: `name:password` that it wants; "" for anybody.
    """

    port: int = 0
    schemas: dict[int, dict[str, Any]] = field(default_factory=dict)
    subjects: dict[str, list[int]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    answers: tuple[int, bytes] | None = None
    user: str = ""
    _client: SchemaRegistryClient | None = None

    @property
    def client(self) -> SchemaRegistryClient:
        """The official one, for serializers; it takes half a second to make."""
        if self._client is None:
            self._client = SchemaRegistryClient({"url": self.url})
        return self._client

    @property
    def next_number(self) -> int:
        """What the next new schema gets."""
        return 100_000 + len(self.schemas)

    def quiet(self) -> None:
        """Forget how it was called and what it should answer; schemas keep their numbers."""
        self.asked.clear()
        self.answers, self.user = None, ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def register(self, subject: str, body: dict[str, Any]) -> dict[str, Any]:
        """As POST /subjects/{subject}/versions: the same schema has the same id for ever."""
        wanted = {
            "schemaType": body.get("schemaType", "AVRO"),
            "schema": body["schema"],
            "references": body.get("references") or [],
        }
        number = next((n for n, one in self.schemas.items() if one == wanted), 0)
        if not number:
            number = self.next_number
            self.schemas[number] = wanted
        versions = self.subjects.setdefault(subject, [])
        if number not in versions:
            versions.append(number)
        return self._told(number) | {
            "subject": subject,
            "version": versions.index(number) + 1,
        }

    def guid(self, number: int) -> str:
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"schema {number}"))

    def get(self, path: str, query: dict[str, list[str]]) -> dict[str, Any] | None:
        form = query.get("format", [""])[0]
        match [unquote(part) for part in path.strip("/").split("/")]:
            case ["schemas", "ids", number]:
                return self._formed(int(number), form)
            case ["schemas", "guids", guid]:
                found = [number for number in self.schemas if self.guid(number) == guid]
                return self._formed(found[0], form) if found else None
            case ["subjects", subject, "versions", version]:
                versions = self.subjects.get(subject, [])
                if version == "latest":
                    version = str(len(versions))
                if not 0 < int(version) <= len(versions):
                    return None
                told = self._formed(versions[int(version) - 1], form)
                return told and told | {"subject": subject, "version": int(version)}
        return None

    def _told(self, number: int) -> dict[str, Any]:
        return self.schemas[number] | {"id": number, "guid": self.guid(number)}

    def _formed(self, number: int, form: str) -> dict[str, Any] | None:
        if number not in self.schemas:
            return None
        told = self._told(number)
        if told["schemaType"] == "PROTOBUF" and form != "serialized":
            told["schema"] = 'syntax = "proto3";'  # the source text, which nobody compiles here
        if told["schemaType"] == "AVRO":
            del told["schemaType"]  # as the real one leaves it out
        return told


def _handler(registry: Registry) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            if not parts.path.startswith("/associations/"):  # only serializers ask for these
                registry.asked.append(self.path)
            wanted = f"Basic {base64.b64encode(registry.user.encode()).decode()}"
            if registry.user and self.headers["Authorization"] != wanted:
                self._say(401, {"error_code": 401, "message": "Unauthorized"})
            elif registry.answers is not None:
                self._send(*registry.answers)
            elif (told := registry.get(parts.path, parse_qs(parts.query))) is None:
                self._say(404, {"error_code": 40403, "message": "Schema not found"})
            else:
                self._say(200, told)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            _, subject, *_ = urlsplit(self.path).path.strip("/").split("/")
            self._say(200, registry.register(unquote(subject), body))

        def _say(self, status: int, body: dict[str, Any]) -> None:
            self._send(status, json.dumps(body).encode())

        def _send(self, status: int, raw: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

    return Handler


@contextmanager
def serving(registry: Registry) -> Iterator[Registry]:
    """Answers meanwhile; a registry that was serving before gets its port again."""
    server = ThreadingHTTPServer(("127.0.0.1", registry.port), _handler(registry))
    server.daemon_threads = True
    registry.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield registry
    finally:
        if registry._client is not None:
            registry._client.close()
            registry._client = None
        server.shutdown()
        server.server_close()
        thread.join()
