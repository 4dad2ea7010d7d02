"""Every way to log in to Kafka, on one real broker that has a listener for each."""

from __future__ import annotations

import asyncio
import base64
import json
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import aiohttp
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._scram import (
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialAlteration,
    UserScramCredentialUpsertion,
)
from confluent_kafka.cimpl import NewTopic
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth

from app.admin import TopicsError, connected
from app.config import Settings
from app.counting.parts import faust_options
from dev.kafka import free_port, start
from dev.workers import Worker, onhand, until
from tests.support.http.certificates import CertificateFiles

TOPIC, USER, PASSWORD = "logins", "onhand", "correct horse"
SASL = "org.apache.kafka.common.security"
ITERATIONS = 4096


def a_token(seconds: int = 3600) -> str:
    """As an unsigned JWT, which a broker takes that is set up for tests."""
    claims = {"sub": USER, "iat": time.time(), "exp": time.time() + seconds}
    parts = (json.dumps(part).encode() for part in ({"alg": "none"}, claims))
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts) + "."


class Logins:
    """A broker with listeners PLAIN, SCRAM, OAUTH and MTLS, and what each asks for."""

    def __init__(self, folder: Path) -> None:
        self.files = CertificateFiles(folder)
        self.token = folder / "token"
        self.token.write_text(a_token())
        self.ports = {name: free_port() for name in ("PLAIN", "SCRAM", "OAUTH", "MTLS")}
        self._keys = folder / "broker.pem"
        self._keys.write_bytes(self.files.key.read_bytes() + self.files.cert.read_bytes())
        self.own_cert, self.own_key = folder / "client.pem", folder / "client-key.pem"
        cert, key = self.files.authority.certificate(USER, client=True)
        self.own_cert.write_bytes(cert)
        self.own_key.write_bytes(key)

    def of_broker(self) -> dict[str, object]:
        login = "sasl.jaas.config"
        scram = f"{SASL}.scram.ScramLoginModule required;"
        return {
            "listener.name.plain.sasl.enabled.mechanisms": "PLAIN",
            f"listener.name.plain.plain.{login}": f"{SASL}.plain.PlainLoginModule required "
            f'user_{USER}="{PASSWORD}";',
            "listener.name.scram.sasl.enabled.mechanisms": "SCRAM-SHA-256,SCRAM-SHA-512",
            f"listener.name.scram.scram-sha-256.{login}": scram,
            f"listener.name.scram.scram-sha-512.{login}": scram,
            "listener.name.oauth.sasl.enabled.mechanisms": "OAUTHBEARER",
            f"listener.name.oauth.oauthbearer.{login}": f"{SASL}.oauthbearer."
            'OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";',
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": self._keys,
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": self.files.ca,
            "listener.name.mtls.ssl.client.auth": "required",
        }

    def listeners(self) -> dict[str, tuple[str, int]]:
        plain, secured = "SASL_PLAINTEXT", "SASL_SSL"
        protocols = {"PLAIN": plain, "SCRAM": secured, "OAUTH": plain, "MTLS": "SSL"}
        return {name: (protocols[name], port) for name, port in self.ports.items()}

    def settings(self, login: str, **other: str) -> dict[str, str]:
        """Variables for PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER or MTLS."""
        listener = {"OAUTHBEARER": "OAUTH"}.get(login, login.partition("-")[0])
        protocol, port = self.listeners()[listener]
        own = {"KAFKA": f"127.0.0.1:{port}", "KAFKA_SECURITY_PROTOCOL": protocol}
        if protocol.startswith("SASL_"):
            own["KAFKA_SASL_MECHANISM"] = login
        if listener in ("PLAIN", "SCRAM"):
            own |= {"KAFKA_SASL_USERNAME": USER, "KAFKA_SASL_PASSWORD": PASSWORD}
        if listener == "OAUTH":
            own["KAFKA_SASL_TOKEN_FILE"] = str(self.token)
        if protocol.endswith("SSL"):
            own["KAFKA_SSL_CAFILE"] = str(self.files.ca)
        if listener == "MTLS":
            own["KAFKA_SSL_CERTFILE"] = str(self.own_cert)
            own["KAFKA_SSL_KEYFILE"] = str(self.own_key)
        return {f"ONHAND_{name}": value for name, value in (own | other).items()}


ALL = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "MTLS")


@pytest.fixture(scope="module")
def logins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Logins]:
    made = Logins(tmp_path_factory.mktemp("logins"))
    with start(settings=made.of_broker(), listeners=made.listeners()) as kafka:
        admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
        for kind in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):
            kept = ScramCredentialInfo(kind, ITERATIONS)
            wanted: list[UserScramCredentialAlteration] = [
                UserScramCredentialUpsertion(USER, kept, PASSWORD.encode())
            ]
            for done in admin.alter_user_scram_credentials(wanted).values():
                done.result(60)
        for done in admin.create_topics([NewTopic(TOPIC, 1, 1)]).values():
            done.result(60)
        yield made


@pytest.mark.parametrize("login", ALL)
async def test_a_client_that_logs_in_writes_and_reads(logins: Logins, login: str) -> None:
    settings = Settings.from_env(logins.settings(login))
    said = uuid.uuid4().bytes

    async with connected(settings) as admin:
        assert TOPIC in await admin.list_topics()
    producer = AIOKafkaProducer(**settings.client_kwargs())
    consumer = AIOKafkaConsumer(TOPIC, auto_offset_reset="earliest", **settings.client_kwargs())
    async with producer, consumer:
        await producer.send_and_wait(TOPIC, said)
        async for record in consumer:
            if record.value == said:
                break


@pytest.mark.parametrize("login", ALL)
def test_faust_logs_in_as_our_own_clients_do(logins: Logins, login: str) -> None:
    settings = Settings.from_env(logins.settings(login))
    ours = settings.client_kwargs()
    theirs = credentials_to_aiokafka_auth(faust_options(settings, "x")["broker_credentials"])

    compared = {name: value for name, value in theirs.items() if value is not None}
    assert set(compared) == set(ours) - {"bootstrap_servers"}
    assert {
        name: str(type(value)) for name, value in compared.items() if name != "ssl_context"
    } == {name: str(type(ours[name])) for name in compared if name != "ssl_context"}
    for name in ("security_protocol", "sasl_mechanism", "sasl_plain_password"):
        assert compared.get(name) == ours.get(name)


async def all_closed() -> None:
    """aiokafka closes the connection of a login that failed, and waits for no goodbye.

    By TLS that takes a moment, and what a test leaves open ends one of those behind it.
    """
    transports = asyncio.get_running_loop()._transports  # type: ignore[attr-defined]

    async def closed() -> bool:
        return all(transport._sock is None for transport in list(transports.values()))

    await until(closed, "closed: all connections of the test", 60)


WRONG: Mapping[str, tuple[str, dict[str, str]]] = {
    "a wrong password": ("PLAIN", {"KAFKA_SASL_PASSWORD": "battery staple"}),
    "a wrong password of SCRAM": ("SCRAM-SHA-512", {"KAFKA_SASL_PASSWORD": "battery staple"}),
    "an unknown user": ("SCRAM-SHA-256", {"KAFKA_SASL_USERNAME": "nobody"}),
    "a mechanism that is not offered": ("SCRAM-SHA-512", {"KAFKA_SASL_MECHANISM": "PLAIN"}),
    "no certificate": ("MTLS", {"KAFKA_SSL_CERTFILE": "", "KAFKA_SSL_KEYFILE": ""}),
    "an authority that the broker's is not of": ("MTLS", {"KAFKA_SSL_CAFILE": ""}),
    "no TLS": (
        "SCRAM-SHA-512",
        {"KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT", "KAFKA_SSL_CAFILE": ""},
    ),
}


@pytest.mark.parametrize("what", WRONG)
async def test_who_is_not_let_in_is_told_so_in_one_sentence(logins: Logins, what: str) -> None:
    login, other = WRONG[what]
    settings = Settings.from_env(logins.settings(login, **other))

    with pytest.raises(TopicsError) as refused:
        async with connected(settings):
            pass

    await all_closed()
    said = str(refused.value)
    assert f"No Kafka answers at {settings.kafka} with this login: look whether" in said
    assert "\n" not in said
    assert "battery staple" not in said


async def test_a_token_that_has_ended_is_refused_and_the_next_one_in_the_file_is_taken(
    logins: Logins,
) -> None:
    settings = Settings.from_env(logins.settings("OAUTHBEARER"))
    kept = logins.token.read_text()
    logins.token.write_text(a_token(-60))
    try:
        with pytest.raises(TopicsError, match="with this login"):
            async with connected(settings):
                pass
        await all_closed()
    finally:
        logins.token.write_text(kept)
    async with connected(settings) as admin:
        assert TOPIC in await admin.list_topics()


async def test_a_worker_counts_and_answers_behind_a_login(logins: Logins, tmp_path: Path) -> None:
    name = f"t-{uuid.uuid4().hex[:8]}"
    settings = logins.settings("SCRAM-SHA-512", NAME=name, TOPIC_PREFIX=f"{name}.", PARTITIONS="2")
    code, said = await onhand("topics", "create", settings=settings)
    assert code == 0, said
    worker = Worker("a", tmp_path, settings)
    worker.start()
    try:
        await worker.ready(120)
        sale = {"source": "till", "id": "1", "sku": "A", "location": "s", "quantity": 2}
        async with aiohttp.ClientSession(worker.url) as http:
            async with http.post("/v1/sales", json=sale) as answer:
                assert answer.status == 202
                position = (await answer.json())["position"]
            query = {"min_position": position, "wait_ms": "10000"}
            async with http.get("/v1/inventory/A/s", params=query) as answer:
                assert (await answer.json())["on_hand"] == -2
        assert PASSWORD not in worker.log.read_text()
    finally:
        worker.kill()
