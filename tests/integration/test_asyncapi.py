"""/asyncapi.json is what AsyncAPI 3.0.0 is, by the schema that its makers publish."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from app import __version__
from app.channels.document import topics_document
from app.config import Settings
from tests.support.deploying.installing import installed

SPECS = Path(__file__).parents[1] / "asyncapi"
SECURED = Settings(
    kafka="a:1,b:2", kafka_security_protocol="SASL_SSL", kafka_sasl_mechanism="SCRAM-SHA-512",
    kafka_ssl_certfile="client.pem", topic_prefix="eu.", version=7, replication=3,
    tokens="tokens.json",
)  # fmt: skip
ALERTING = Settings(alerts="rules.toml", alerts_url="https://shop.example/hook?key=secret")


@pytest.fixture(scope="module")
def official() -> Draft7Validator:
    files = ("package.json", "package-lock.json")
    folder = installed(SPECS, "asyncapi", files, "npm", "ci", "--no-audit", "--ignore-scripts")
    path = folder / "node_modules/@asyncapi/specs/schemas/3.0.0.json"
    return Draft7Validator(json.loads(path.read_text(encoding="utf-8")))


def told(settings: Settings) -> Any:
    return json.loads(json.dumps(topics_document(settings, __version__)))


@pytest.mark.parametrize(
    "settings", [Settings(), SECURED, ALERTING], ids=["plain", "secured", "alerting"]
)
def test_the_document_is_what_the_official_schema_asks_for(
    official: Draft7Validator, settings: Settings
) -> None:
    errors = [
        f"{error.json_path}: {error.message}" for error in official.iter_errors(told(settings))
    ]

    assert errors == []


def test_a_document_that_is_not_is_told_from_one_that_is(official: Draft7Validator) -> None:
    spoilt = told(Settings())
    spoilt["operations"]["countSales"]["action"] = "read"
    spoilt["channels"]["sales"]["topic"] = "sales"

    assert len([*official.iter_errors(spoilt)]) == 2
