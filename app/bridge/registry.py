"""Where a bridge's schemas come from: a folder of files, answers that were kept, a registry.

The registry is asked as Confluent's API says (`/schemas/ids/7`, `/schemas/guids/GUID`,
`/subjects/NAME/versions/3`), which Karapace, Redpanda and Apicurio speak too.
"""

from __future__ import annotations

import hashlib
import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import quote

import aiohttp
import msgspec

from agents.learning import RegistryAway
from app.config import Settings
from core.words import in_words
from importers.frames.numbered import Encoding, NoSchema, WriterSchema, spelt_number
from importers.frames.places import NotMapped

log = logging.getLogger(__name__)

_PATIENCE_S: Final = 5.0
_MOST_BYTES: Final = 4 * 2**20
#: Files that one schema may import, and they in turn.
_MOST_IMPORTS: Final = 200
_ACCEPT: Final = "application/vnd.schemaregistry.v1+json, application/json; q=0.9"
_NO_SCHEMA: Final = 40403
_ENDINGS: Final = {Encoding.AVRO: ".avsc", Encoding.PROTOBUF: ".desc"}


class _Reference(msgspec.Struct):
    name: str
    subject: str
    version: int


class _Answer(msgspec.Struct):
    """Of a registry; Avro is what has no type."""

    text: str = msgspec.field(name="schema")
    kind: str = msgspec.field(name="schemaType", default="AVRO")
    references: list[_Reference] = []


class _Problem(msgspec.Struct):
    error_code: int = 0


class Schemas:
    """Looks in the folder first, then among the kept answers, then asks.

    Args:
        settings: name folder and registry.
        encoding: of the map.
        kept: folder of a bridge, for answers: a number means one schema for ever.
    """

    def __init__(self, settings: Settings, encoding: Encoding, kept: Path | None) -> None:
        self._url = settings.bridge_registry.rstrip("/")
        self._folder = settings.bridge_schemas
        self._encoding = encoding
        self._session: aiohttp.ClientSession | None = None
        self._headers = {"Accept": _ACCEPT}
        if settings.bridge_registry_user:
            self._headers["Authorization"] = aiohttp.encode_basic_auth(
                settings.bridge_registry_user, settings.bridge_registry_password
            )
        # Another registry means other schemas by the same numbers.
        name = hashlib.sha256(self._url.encode()).hexdigest()[:12]
        self._kept = kept / f"schemas-{name}" if kept is not None and self._url else None

    async def stop(self) -> None:
        """Close its connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def schema(self, number: bytes) -> WriterSchema | NoSchema:
        """What a number means; see `SchemaSource`."""
        name = spelt_number(number)
        found = self._in_folder(name) or self._among_kept(name)
        if found is not None:
            return found
        if not self._url:
            file = f"{name}{_ENDINGS[self._encoding]}"
            return NoSchema(f"has no file {file} in {self._folder}")
        kind = "ids" if number[0] == 0 else "guids"
        answer = await self._ask(f"schemas/{kind}/{name}")
        if answer is None:
            return NoSchema("is not known to the registry")
        schema = await self._whole(answer, "", [0])
        if isinstance(schema, WriterSchema):
            self._keep(name, schema)
        return schema

    # ---- a folder

    def _in_folder(self, name: str) -> WriterSchema | NoSchema | None:
        if not self._folder:
            return None
        file = Path(self._folder) / f"{name}{_ENDINGS[self._encoding]}"
        try:
            raw = file.read_bytes()
            if self._encoding is Encoding.AVRO:
                return WriterSchema("AVRO", raw.decode())
            return _from_protoc(raw)
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            return NoSchema(f"cannot be read from {file} ({in_words(error)})")

    def _among_kept(self, name: str) -> WriterSchema | None:
        if self._kept is None:
            return None
        with suppress(OSError, msgspec.MsgspecError):
            return msgspec.json.decode(
                (self._kept / f"{name}.json").read_bytes(), type=WriterSchema
            )
        return None

    def _keep(self, name: str, schema: WriterSchema) -> None:
        if self._kept is None:
            return
        try:
            self._kept.mkdir(parents=True, exist_ok=True)
            whole = self._kept / f"{name}.json"
            part = whole.with_suffix(f".{os.getpid()}")
            part.write_bytes(msgspec.json.encode(schema))
            part.replace(whole)
        except OSError as error:
            log.warning(
                "Schema %s could not be kept, and will be asked for again: %s.", name, error
            )

    # ---- a registry

    async def _whole(self, answer: _Answer, name: str, count: list[int]) -> WriterSchema | NoSchema:
        """With all that it refers to."""
        imports = []
        for one in answer.references:
            count[0] += 1
            if count[0] > _MOST_IMPORTS:
                return NoSchema(f"refers to more than {_MOST_IMPORTS} others")
            path = f"subjects/{quote(one.subject, safe='')}/versions/{one.version}"
            found = await self._ask(path)
            if found is None:
                return NoSchema(
                    f"refers to {one.subject} version {one.version}, which the registry does "
                    "not know"
                )
            inside = await self._whole(found, one.name, count)
            if isinstance(inside, NoSchema):
                return inside
            imports.append(inside)
        return WriterSchema(answer.kind, answer.text, name, tuple(imports))

    async def _ask(self, path: str) -> _Answer | None:
        """An answer; None: the registry says that there is none.

        Raises:
            RegistryAway: it does not say.
        """
        form = "?format=serialized" if self._encoding is Encoding.PROTOBUF else ""
        where = f"{self._url}/{path}"
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=_PATIENCE_S)
            self._session = aiohttp.ClientSession(timeout=timeout, headers=self._headers)
        try:
            async with self._session.get(where + form, allow_redirects=False) as answer:
                raw = b""
                while len(raw) <= _MOST_BYTES and (chunk := await answer.content.readany()):
                    raw += chunk
                status = answer.status
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            told = str(error) or type(error).__name__
            raise RegistryAway(
                f"The schema registry does not answer at {where} ({told}): see that it runs, and "
                "that ONHAND_BRIDGE_REGISTRY is its address."
            ) from None
        return _read(raw, status, where)


def _read(raw: bytes, status: int, where: str) -> _Answer | None:
    if len(raw) > _MOST_BYTES:
        raise RegistryAway(f"{where} answers with more than {_MOST_BYTES:,} bytes.")
    if status == 200:
        try:
            return msgspec.json.decode(raw, type=_Answer)
        except msgspec.MsgspecError as error:
            raise RegistryAway(
                f"{where} answers with what is no schema ({error}): see that "
                "ONHAND_BRIDGE_REGISTRY is the address of a schema registry."
            ) from None
    code = 0
    with suppress(msgspec.MsgspecError):
        code = msgspec.json.decode(raw, type=_Problem).error_code
    # 40401 is a subject and 40402 a version that is not there. A bare 404 is of something else
    # that listens there.
    if status == 404 and code in (40401, 40402, _NO_SCHEMA):
        return None
    remedy = {
        401: "set ONHAND_BRIDGE_REGISTRY_USER and ONHAND_BRIDGE_REGISTRY_PASSWORD.",
        403: "let the bridge's user read schemas.",
        404: "see that ONHAND_BRIDGE_REGISTRY is the address of a schema registry.",
    }.get(status, "look at the registry's log.")
    raise RegistryAway(f"The schema registry answers {status} at {where}: {remedy}")


def _from_protoc(raw: bytes) -> WriterSchema | NoSchema:
    from importers.frames.protobuf import (
        of_descriptor_set,
    )  # read_map saw that the library is there

    try:
        return of_descriptor_set(raw)
    except NotMapped as why:
        return NoSchema(str(why))
