"""A worker's whole web behind TLS, and what commands say of it."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import BaseTestServer, TestServer
from click.testing import CliRunner, Result

from app.access import access_of
from app.commands import cli
from app.config import Settings
from dev.workers import ROOT, environment
from domain.rows import Row
from tests.support.http.certificates import Authority, CertificateFiles
from tests.unit.web.fakes import FakeTable
from tests.unit.web.serving import LIMITS, a_web


@pytest.fixture
def files(tmp_path: Path) -> CertificateFiles:
    return CertificateFiles(tmp_path)


async def served(settings: dict[str, str]) -> AsyncIterator[BaseTestServer]:
    table = FakeTable()
    table.rows["SKU-1", "s-7"] = Row(received=10, sold=3, events=2, checksum=7, updated_at=1)
    app = web.Application()
    a_web(table, LIMITS, access_of(Settings.from_env(settings))).attach(app)
    async with TestServer(app) as server:
        yield server


@pytest.fixture
async def worker(files: CertificateFiles) -> AsyncIterator[BaseTestServer]:
    async for server in served(files.settings()):
        yield server


@pytest.fixture
async def plain_worker() -> AsyncIterator[BaseTestServer]:
    async for server in served({}):
        yield server


async def onhand(*words: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, cli, list(words))


async def test_a_row_is_the_same_by_the_short_way_and_the_usual_one(
    files: CertificateFiles, worker: BaseTestServer
) -> None:
    url = f"https://localhost:{worker.port}/v1/inventory/SKU-1/s-7"
    connector = aiohttp.TCPConnector(ssl=files.authority.trusted())
    async with aiohttp.ClientSession(connector=connector) as http:
        rows = []
        for headers in ({}, {"Expect-The-Usual": "way", "Content-Length": "0"}):
            async with http.get(url, headers=headers) as answer:
                assert answer.status == 200
                rows.append(await answer.json())

    assert rows[0] == rows[1]
    assert rows[0]["on_hand"] == 7


async def test_a_page_tells_browsers_to_come_back_by_https_and_only_where_it_was_asked_so(
    files: CertificateFiles, worker: BaseTestServer, plain_worker: BaseTestServer
) -> None:
    connector = aiohttp.TCPConnector(ssl=files.authority.trusted())
    page = "/problems/too-busy"
    async with aiohttp.ClientSession(connector=connector) as http:
        for url, said in (
            (f"https://localhost:{worker.port}{page}", "max-age=86400"),
            (f"https://localhost:{worker.port}/live", None),
            (f"http://localhost:{plain_worker.port}{page}", None),
        ):
            async with http.get(url) as answer:
                assert answer.headers.get("Strict-Transport-Security") == said


async def test_commands_ask_by_https_with_the_authority_that_they_are_given(
    files: CertificateFiles, worker: BaseTestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    stock = ("stock", "SKU-1", "s-7", "--url", f"https://localhost:{worker.port}", "--json")

    by_option = await onhand(*stock, "--tls-ca", str(files.ca))
    monkeypatch.setenv("ONHAND_TLS_CA", str(files.ca))
    by_variable = await onhand(*stock)

    for result in (by_option, by_variable):
        assert (result.exit_code, '"on_hand":7' in result.output) == (0, True), result.output


async def test_the_images_health_check_asks_by_the_same_word(
    files: CertificateFiles, worker: BaseTestServer, plain_worker: BaseTestServer
) -> None:
    dockerfile = (ROOT / "Dockerfile").read_text().replace("\\\n", "")
    check = re.search(r"^HEALTHCHECK .* CMD (\[.*\])$", dockerfile, re.MULTILINE)
    assert check is not None
    _, *code = json.loads(check[1])
    files.renew("stock-0.stock")  # not 127.0.0.1

    for server, more in ((worker, files.settings()), (plain_worker, {})):
        settings = environment({"ONHAND_WEB_PORT": str(server.port), **more})
        asked = await asyncio.create_subprocess_exec(sys.executable, *code, env=settings)
        assert await asyncio.wait_for(asked.wait(), 60) == 0


async def test_commands_say_what_is_wrong_with_a_certificate(
    tmp_path: Path, worker: BaseTestServer
) -> None:
    url = f"https://localhost:{worker.port}"
    other = tmp_path / "other.pem"
    other.write_bytes(Authority("Somebody").pem)
    cases = {
        (): "its certificate is not believed",
        ("--tls-ca", str(other)): "name the file of who signed it by --tls-ca or ONHAND_TLS_CA",
        ("--tls-ca", str(tmp_path / "none")): "it cannot be read (No such file or directory)",
        ("--tls-ca", str(Path(__file__))): "holds no certificate in PEM: ONHAND_TLS_CA names",
    }

    for words, said in cases.items():
        result = await onhand("stock", "SKU-1", "s-7", "--url", url, *words)
        assert result.exit_code == 2
        assert said in result.output
        assert len(result.output.splitlines()) == 1


async def test_commands_say_that_an_address_begins_with_the_wrong_word(
    worker: BaseTestServer, plain_worker: BaseTestServer
) -> None:
    post = ("post", "sale", "SKU-1", "s-7", "1", "--url")
    by_http = await onhand(*post, f"http://127.0.0.1:{worker.port}")
    by_https = await onhand(*post, f"https://127.0.0.1:{plain_worker.port}")

    assert "This port speaks TLS: begin its address with https://." in by_http.output
    assert "it speaks no TLS: begin its address with http://" in by_https.output
