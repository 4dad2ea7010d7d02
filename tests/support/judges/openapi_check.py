"""Hold real answers against /openapi.json: status, headers, media type and body.

contract = Contract(document)
contract.check("GET", "/v1/inventory/{sku}/{location}", 200, headers, body)
"""

import json
from collections.abc import Mapping
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker

Json = dict[str, Any]


class ContractBroken(AssertionError):
    """An answer is not what the document says."""


class Contract:
    """What a worker says of itself.

    Stricter than the document: an answer with a field that the document does not name fails,
    though clients are to ignore those.
    """

    def __init__(self, document: Json) -> None:
        self._document = document
        self._components = _closed(document["components"])
        self.checked: set[tuple[str, str, int]] = set()

    def check(
        self, method: str, template: str, status: int, headers: Mapping[str, str], body: bytes
    ) -> None:
        """Raise ContractBroken unless the document foresees exactly this.

        Args:
            method: in capitals; HEAD is held against GET, without a body.
            template: the path as the document writes it, `/v1/inventory/{sku}`.
            status: of the answer.
            headers: of the answer; names in any case.
            body: of the answer.
        """
        what = f"{method} {template} {status}"
        operation = self._document["paths"].get(template, {}).get(_documented(method))
        if operation is None:
            raise ContractBroken(f"{what}: no such call in the document")
        response = operation["responses"].get(str(status))
        if response is None:
            raise ContractBroken(f"{what}: no such status in the document: {body[:200]!r}")
        given = {name.lower(): value for name, value in headers.items()}
        for name, header in response.get("headers", {}).items():
            value = given.get(name.lower())
            if value is None and header.get("required"):
                raise ContractBroken(f"{what}: no header {name}")
            if value is not None:
                self._validate(what, header["schema"], value)
        if method != "HEAD":
            self._check_body(what, response.get("content"), given.get("content-type"), body)
        self.checked.add((method, template, status))

    def _check_body(
        self, what: str, content: Mapping[str, Json] | None, media_type: str | None, body: bytes
    ) -> None:
        if content is None:
            if body:
                raise ContractBroken(f"{what}: a body that the document does not foresee")
            return
        media_type = (media_type or "").partition(";")[0]
        if media_type not in content:
            raise ContractBroken(f"{what}: {media_type} instead of {', '.join(content)}")
        if media_type.endswith("json"):
            self._validate(what, _closed(content[media_type]["schema"]), json.loads(body))

    def _validate(self, what: str, schema: Json, value: object) -> None:
        whole = {**schema, "components": self._components}
        validator = Draft202012Validator(whole, format_checker=FormatChecker())
        errors = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)]
        if errors:
            raise ContractBroken(f"{what}: {'; '.join(errors[:5])}")


def _documented(method: str) -> str:
    return "get" if method == "HEAD" else method.lower()


def _closed(schema: Any) -> Any:
    """The schema without room for fields that it does not name."""
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: _closed(value) for name, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and "type" in schema:
        closed.setdefault("additionalProperties", False)
    return closed
