"""Workers ask each other by https, and believe only what their authorities have signed."""

import logging
import ssl
from pathlib import Path

import pytest

from app.access import tls_of
from app.config import Settings
from tests.support.http.certificates import Authority, CertificateFiles
from tests.unit.web.sockets import a_server
from web.access.certificates import Tls
from web.cluster.exchange import PeerAnswer, PeerFailed
from web.cluster.peers import Peers, get
from web.http.connections import ConnectionLimits

LIMITS = ConnectionLimits()


@pytest.fixture
def files(tmp_path: Path) -> CertificateFiles:
    return CertificateFiles(tmp_path)


@pytest.fixture
def tls(files: CertificateFiles) -> Tls:
    tls = tls_of(Settings.from_env(files.settings()))
    assert tls._certificate is not None
    assert tls._authorities is not None
    tls._certificate.every_s = tls._authorities.every_s = 0.0
    return tls


async def asked(peers: Peers, url: str, path: str = "/") -> tuple[int, bytes]:
    answer = await peers.ask(url, get(url, path, {}, ""))
    return answer.status, answer.body


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_a_worker_is_asked_by_a_name_or_an_address_that_its_certificate_has(
    tls: Tls, host: str
) -> None:
    async with a_server(LIMITS, tls=tls) as server:
        peers, url = Peers(tls=tls.client), f"https://{host}:{server.port}"
        for _ in range(3):  # on one connection
            assert await asked(peers, url) == (200, b"hello")
        assert peers._peers[url].open == 1
        under_way = peers.ask_at_once(url, get(url, "/", {}, ""), lambda data: None)
        assert under_way is not None
        found = await under_way.answer
        assert isinstance(found, PeerAnswer)
        assert found.body == b"hello"
        status, body = await asked(peers, url, "/large?bytes=2000000")
        assert (status, len(body)) == (200, 2_000_000)
        await peers.close()


async def test_what_another_authority_signed_is_not_believed_and_the_log_says_why_once(
    tls: Tls, caplog: pytest.LogCaptureFixture
) -> None:
    async with a_server(LIMITS, tls=tls) as server:
        peers = Peers(tls=Authority().trusted)
        for _ in range(3):
            with pytest.raises(PeerFailed, match="There is no TLS with it"):
                await asked(peers, f"https://localhost:{server.port}")
        assert [peer.open for peer in peers._peers.values()] == [0]

    said = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert len(said) == 1
    assert "must be signed by one in ONHAND_TLS_CA and name this host" in said[0]


async def test_a_certificate_of_another_host_is_not_believed(
    files: CertificateFiles, tls: Tls
) -> None:
    files.renew("stock-1.internal")
    async with a_server(LIMITS, tls=tls) as server:
        peers = Peers(tls=tls.client)
        with pytest.raises(PeerFailed, match=r"no TLS with it \(Hostname mismatch"):
            await asked(peers, f"https://localhost:{server.port}")


async def test_a_new_authority_is_believed_beside_the_old_one_without_a_restart(
    files: CertificateFiles, tls: Tls
) -> None:
    new = Authority()
    async with a_server(LIMITS, tls=tls) as server:
        peers, url = Peers(tls=tls.client), f"https://localhost:{server.port}"
        assert await asked(peers, url) == (200, b"hello")

        files.ca.write_bytes(files.authority.pem + new.pem)
        files.put(*new.certificate())
        await peers.close()  # as if they had fallen idle

        assert await asked(peers, url) == (200, b"hello")
        await peers.close()


async def test_a_worker_that_speaks_no_tls_is_told_from_one_that_is_not_there(tls: Tls) -> None:
    async with a_server(LIMITS) as server:
        peers = Peers(tls=tls.client)
        with pytest.raises(PeerFailed, match="TLS failed: wrong version number"):
            await asked(peers, f"https://localhost:{server.port}")


def test_without_a_file_the_systems_authorities_are_believed() -> None:
    context = Tls().client()

    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname
