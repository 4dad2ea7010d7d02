"""compose.secure.yaml on top of compose.yaml: the same files and settings, served here.

No Docker daemon runs where this is built. So the script that makes the keys runs as it is, and
what each worker of the two files is told becomes a worker's web in this process.
"""

from __future__ import annotations

import re
import shutil
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port
from click.testing import CliRunner

from app.access import access_of
from app.commands import cli
from app.config import PREFIX, Settings
from dev.workers import ROOT
from domain.rows import Row
from tests.unit.web.fakes import FakeTable
from tests.unit.web.serving import LIMITS, a_web
from web.cluster.peers import Peers, get, hop_headers

FILES = [
    yaml.safe_load((ROOT / name).read_text()) for name in ("compose.yaml", "compose.secure.yaml")
]
PLAIN, SECURE = (file["services"] for file in FILES)
DOCKERFILE = (ROOT / "Dockerfile").read_text()
WORKERS = [name for name, service in PLAIN.items() if service.get("restart")]
ROW = "/v1/inventory/SKU-1/s-7"


def merged(service: str, what: str) -> Any:
    """As Compose does: maps by their keys, lists one behind the other."""
    below, above = PLAIN.get(service, {}).get(what), SECURE[service].get(what)
    if below is None or above is None:
        return below or above
    return {**below, **above} if isinstance(below, dict) else [*below, *above]


def settings_of(worker: str, folder: Path, **changes: str) -> Settings:
    """With the folder in the place of the volume."""
    told = merged(worker, "environment") | changes
    return Settings.from_env(
        {name: value.replace("/keys", str(folder)) for name, value in told.items()}
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With all that the service `keys` makes, by its own command."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed here: no certificate can be made as in a container.")
    made = tmp_path_factory.mktemp("keys")
    shell, script, _, *hosts = SECURE["keys"]["entrypoint"]
    (mounted,) = [each for each in SECURE["keys"]["volumes"] if each.endswith(f":{script}:ro")]
    run(shell, str(ROOT / mounted.partition(":")[0]), str(made), *hosts)
    return made


def run(*command: str) -> None:
    path = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
    done = subprocess.run(command, env={"PATH": path}, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_what_was_made_is_for_its_user_alone_and_stays(folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.iterdir()}

    run("sh", str(ROOT / "deploy/make-keys.sh"), str(folder), "somebody-else")

    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    assert {path.name for path in before} == {"cert.pem", "key.pem", "peers", "tokens.json"}
    assert all(path.stat().st_mode & 0o077 == 0 for path in before)


def test_both_files_have_the_same_workers_and_each_waits_for_its_keys() -> None:
    assert set(SECURE) == {"keys", *WORKERS}
    for worker in WORKERS:
        waits = merged(worker, "depends_on")
        assert {name: each["condition"] for name, each in waits.items()} == dict.fromkeys(
            ("topics", "keys"), "service_completed_successfully"
        )
        # Nobody but the one service that makes the keys may write them.
        assert "keys:/keys:ro" in merged(worker, "volumes")
    assert set(FILES[1]["volumes"]) == {"keys"}
    # Where the image's user may write, so that the volume becomes its own.
    assert "keys:/data" in SECURE["keys"]["volumes"]
    assert "install --directory --owner=onhand /data" in DOCKERFILE
    assert SECURE["keys"]["environment"]["ONHAND_TOKENS"] == "/data/tokens.json"


def test_the_head_of_the_file_shows_commands_that_exist() -> None:
    head = (ROOT / "compose.secure.yaml").read_text().partition("\nx-secure")[0]
    (words,) = re.findall(r"--entrypoint onhand keys (token create [^)]+)\)", head)

    found = CliRunner().invoke(cli, [*words.split(), "--help"])
    assert found.exit_code == 0
    (files,) = re.findall(r"COMPOSE_FILE=(\S+)", head)
    assert all((ROOT / name).exists() for name in files.split(":"))
    (address,) = re.findall(r"https://\S+?(?=/v1)", head)
    published = {port.split(":")[1] for worker in WORKERS for port in PLAIN[worker]["ports"]}
    assert str(urlsplit(address).port) in published
    assert urlsplit(address).hostname in SECURE["keys"]["entrypoint"]


@pytest.mark.parametrize("worker", WORKERS)
def test_each_worker_is_confined_as_a_pod_of_the_chart_is(worker: str) -> None:
    assert merged(worker, "read_only") is True
    assert merged(worker, "cap_drop") == ["ALL"]
    assert merged(worker, "security_opt") == ["no-new-privileges:true"]
    # What else it writes to: as the chart has it.
    assert merged(worker, "tmpfs") == ["/tmp"]
    writable = [at for at in merged(worker, "volumes") if not at.endswith(":ro")]
    assert [at.partition(":")[2] for at in writable] == ["/data"]


@pytest.mark.parametrize("worker", WORKERS)
def test_each_worker_has_a_certificate_that_names_it(worker: str, folder: Path) -> None:
    settings = settings_of(worker, folder)
    url = urlsplit(settings.url)

    assert (url.scheme, url.hostname, url.port) == ("https", worker, settings.web_port)
    assert access_of(settings).has_tokens
    known = {PREFIX + field.upper() for field in Settings.__struct_fields__}
    assert set(SECURE[worker]["environment"]) <= known
    client = ssl.create_default_context(cafile=settings.tls_ca)
    server = access_of(settings).tls.server()
    assert server is not None
    for name in (worker, "localhost", "127.0.0.1"):
        shake_hands(server(), client, name)
    with pytest.raises(ssl.SSLCertVerificationError, match=r"doesn't match|mismatch"):
        shake_hands(server(), client, "somebody-else")


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> None:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    asks = client.wrap_bio(to_client, to_server, server_hostname=name)
    answers = server.wrap_bio(to_server, to_client, server_side=True)
    for side in (asks, answers, asks):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue


@pytest.fixture
def token(folder: Path) -> str:
    """Made as the head of the file says, after the workers have started."""
    made = CliRunner().invoke(
        cli, ["token", "create", "me", "--scope", "read", "--file", str(folder / "tokens.json")]
    )
    return str(made.stdout.split()[0])


async def test_workers_with_these_settings_let_in_who_has_a_token_and_each_other(
    folder: Path, token: str
) -> None:
    worker, other = WORKERS[:2]
    table, app = FakeTable(), web.Application()
    table.rows["SKU-1", "s-7"] = Row(received=10, sold=3, events=2, checksum=7, updated_at=1)
    port = unused_port()
    server = TestServer(app, host="127.0.0.1", port=port)
    url = f"https://localhost:{port}"
    access = access_of(settings_of(worker, folder, ONHAND_URL=url))
    a_web(table, LIMITS, access).attach(app)
    asking = access_of(settings_of(other, folder))
    peers = Peers(signed=asking.signed, tls=asking.tls.client)
    believed = ssl.create_default_context(cafile=str(folder / "cert.pem"))
    await server.start_server()
    connector = aiohttp.TCPConnector(ssl=believed)
    try:
        async with aiohttp.ClientSession(connector=connector) as http:
            for headers, status in (({"Authorization": f"Bearer {token}"}, 200), ({}, 401)):
                async with http.get(url + ROW, headers=headers) as answer:
                    assert answer.status == status
            async with http.get(f"http://localhost:{port}/live") as answer:
                assert answer.status == 400
                assert "https://" in await answer.text()
        # It proves to be a worker, and that it speaks for nobody who has a token.
        hop = get(url, ROW, {}, hop_headers(1))
        assert (await peers.ask(url, hop)).status == 403
        unproven = Peers(tls=asking.tls.client)
        assert (await unproven.ask(url, hop)).status == 401
        await unproven.close()
    finally:
        await peers.close()
        await server.close()
