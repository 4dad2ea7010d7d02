"""A port that speaks TLS: what it answers, what it costs until a handshake is over."""

import asyncio
import ssl
import tracemalloc
from contextlib import suppress
from pathlib import Path

import pytest
from aiohttp.test_utils import BaseTestServer

from app.access import tls_of
from app.config import Settings
from dev.workers import until
from tests.support.http.certificates import Authority, CertificateFiles
from tests.unit.web.sockets import LAST, POST, QUICK, SLOW, a_server, problem_in, say
from web.access.certificates import Tls
from web.http.connections import ConnectionLimits, Server
from web.http.raw.handshakes import Secured
from web.http.raw.shortcuts import LATER, Take

LIMITS = ConnectionLimits()
#: How a client begins, and never goes on.
HELLO = b"\x16\x03\x01\x02\x00\x01\x00"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def files(tmp_path: Path, authority: Authority) -> CertificateFiles:
    return CertificateFiles(tmp_path, authority)


@pytest.fixture
def tls(files: CertificateFiles) -> Tls:
    tls = tls_of(Settings.from_env(files.settings()))
    assert tls._certificate is not None
    tls._certificate.every_s = 0.0
    return tls


Opened = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def opened(server: BaseTestServer, trusted: ssl.SSLContext) -> Opened:
    return await asyncio.open_connection(
        server.host, server.port, ssl=trusted, server_hostname="localhost"
    )


async def said(server: BaseTestServer, trusted: ssl.SSLContext, *pieces: bytes) -> bytes:
    """As `say`, in TLS."""
    reader, writer = await opened(server, trusted)
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
    answer = await asyncio.wait_for(reader.read(), 30)
    writer.close()
    return answer


def of_aiohttp(server: BaseTestServer) -> Server:
    found = server.runner.server if server.runner is not None else None
    assert isinstance(found, Server)
    return found


async def handshakes_are(count: int, server: BaseTestServer) -> None:
    handshakes = of_aiohttp(server).handshakes
    assert handshakes is not None

    async def are_so_many() -> bool:
        return handshakes.count == count

    await until(are_so_many, f"{count} handshakes", 30)


async def test_the_usual_way_and_the_short_way_answer_in_tls(tls: Tls) -> None:
    def quick(data: bytes, take: Take) -> bytes | None:
        return b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nquick" if data == QUICK else None

    async with a_server(LIMITS, quick, tls) as server:
        reader, writer = await opened(server, tls.client())
        for request, answer in (
            (QUICK, b"quick"),
            (SLOW, b"hello"),
            (QUICK, b"quick"),
            (POST, b"hello"),
        ):
            writer.write(request)
            assert (await asyncio.wait_for(reader.readuntil(answer), 30)).startswith(
                b"HTTP/1.1 200 "
            )
        writer.close()
        assert (await said(server, tls.client(), LAST)).endswith(b"hello")


async def hasty(server: BaseTestServer, trusted: ssl.SSLContext, request: bytes) -> bytes:
    """The request comes in one piece with the end of the handshake."""
    reader, writer = await asyncio.open_connection(server.host, server.port)
    come, go = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trusted.wrap_bio(come, go, server_hostname="localhost")
    while True:
        try:
            client.do_handshake()
            break
        except ssl.SSLWantReadError:
            writer.write(go.read())
            come.write(await asyncio.wait_for(reader.read(65536), 30))
    client.write(request)
    writer.write(go.read())
    while True:
        come.write(await asyncio.wait_for(reader.read(65536), 30))
        with suppress(ssl.SSLWantReadError):
            answer = client.read()
            writer.close()
            return answer


async def test_a_request_that_comes_with_the_handshake_goes_the_short_way(tls: Tls) -> None:
    def quick(data: bytes, take: Take) -> bytes | None:
        return b"quick" if data == QUICK else None

    async with a_server(LIMITS, quick, tls) as server:
        assert await hasty(server, tls.client(), QUICK) == b"quick"


async def test_an_answer_that_comes_later_comes_in_tls_and_what_is_behind_it_waits(
    tls: Tls,
) -> None:
    asked: asyncio.Queue[Take] = asyncio.Queue()

    def later(data: bytes, take: Take) -> bytes | None:
        if data != QUICK:
            return None
        asked.put_nowait(take)
        return LATER

    async with a_server(LIMITS, later, tls) as server:
        reader, writer = await opened(server, tls.client())
        writer.write(QUICK)
        take = await asyncio.wait_for(asked.get(), 30)
        writer.write(SLOW)
        assert (await said(server, tls.client(), LAST)).endswith(b"hello")  # it has been read
        take(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nquick")
        assert b"hello" not in await asyncio.wait_for(reader.readuntil(b"quick"), 30)
        assert await asyncio.wait_for(reader.readuntil(b"hello"), 30)

        # Who closes by TLS closes both sides.
        writer.write(QUICK)
        take = await asyncio.wait_for(asked.get(), 30)
        writer.close()
        assert (await said(server, tls.client(), LAST)).endswith(b"hello")
        take(b"to nobody")


async def test_half_a_head_that_comes_with_the_handshake_has_its_deadline(tls: Tls) -> None:
    async with a_server(ConnectionLimits(head_timeout_s=0.2), tls=tls) as server:
        answer = await hasty(server, tls.client(), b"GET / HTTP/1.1\r\nHost")

    assert answer.startswith(b"HTTP/1.1 408 ")


async def test_bodies_far_above_the_buffer_pass_both_ways(tls: Tls) -> None:
    sent, size = 900_000, 3 * 2**20
    body = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % sent + b"x" * sent
    large = b"GET /large?bytes=%d HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % size

    async with a_server(LIMITS, tls=tls) as server:
        reader, writer = await opened(server, tls.client())
        writer.write(body)
        assert await asyncio.wait_for(reader.readuntil(b"hello"), 30)
        writer.close()
        assert (await said(server, tls.client(), large)).endswith(b" " * size)


async def test_a_head_that_does_not_end_is_cut_off_in_tls_too(tls: Tls) -> None:
    async with a_server(ConnectionLimits(head_timeout_s=0.3), tls=tls) as server:
        answer = await said(server, tls.client(), b"GET / HTTP/1.1\r\nHost")

    assert answer.startswith(b"HTTP/1.1 408 ")


async def test_plain_http_is_told_to_begin_with_https(tls: Tls) -> None:
    async with a_server(LIMITS, tls=tls) as server:
        answer = await say(server, SLOW)

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert problem_in(answer)["detail"] == "This port speaks TLS: begin its address with https://."


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_both_versions_are_spoken(tls: Tls, version: ssl.TLSVersion) -> None:
    trusted = tls.client()
    trusted.maximum_version = version
    async with a_server(LIMITS, tls=tls) as server:
        assert (await said(server, trusted, LAST)).endswith(b"hello")


async def test_a_new_handshake_shows_the_new_certificate_and_who_is_connected_stays(
    files: CertificateFiles, tls: Tls
) -> None:
    async with a_server(LIMITS, tls=tls) as server:
        before = await opened(server, tls.client())
        new = files.renew()
        after = await opened(server, tls.client())
        shown = [
            writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            for _, writer in (before, after)
        ]
        for reader, writer in (before, after):
            writer.write(SLOW)
            assert await asyncio.wait_for(reader.readuntil(b"hello"), 30)
            writer.close()

    assert shown[1] == ssl.PEM_cert_to_DER_cert(new.decode())
    assert shown[0] != shown[1]


async def test_handshakes_that_are_not_over_are_bounded_and_keep_nobody_out(tls: Tls) -> None:
    async with a_server(ConnectionLimits(handshakes=5), tls=tls) as server:
        held = [await asyncio.open_connection(server.host, server.port) for _ in range(40)]
        for _, writer in held[::2]:  # the others do not even begin
            writer.write(HELLO)
        await handshakes_are(5, server)

        assert (await said(server, tls.client(), LAST)).endswith(b"hello")
        for _, writer in held:
            writer.close()
        await handshakes_are(0, server)
        assert of_aiohttp(server).places.taken == 0


async def test_a_handshake_that_goes_no_further_is_cut_off(tls: Tls) -> None:
    async with a_server(ConnectionLimits(head_timeout_s=0.2), tls=tls) as server:
        for begun in (b"", HELLO):
            reader, writer = await asyncio.open_connection(server.host, server.port)
            writer.write(begun)
            assert await asyncio.wait_for(_rest(reader), 30) == b""
            writer.close()
        await handshakes_are(0, server)


async def _rest(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionError:
        return b""


async def test_who_is_idle_gives_place_without_waiting_for_a_goodbye(tls: Tls) -> None:
    async with a_server(ConnectionLimits(connections=3), tls=tls) as server:
        # They never say goodbye: their sockets are not read.
        held = [await opened(server, tls.client()) for _ in range(3)]
        for _, writer in held:
            writer.transport.pause_reading()  # type: ignore[attr-defined]  # it can
        reader, writer = await opened(server, tls.client())
        writer.write(SLOW)
        assert await asyncio.wait_for(reader.readuntil(b"hello"), 30)
        assert len(of_aiohttp(server).connections) == of_aiohttp(server).places.taken == 3
        writer.close()
        for _, writer in held:
            writer.transport.abort()


async def test_a_secured_connection_holds_no_quarter_of_a_megabyte(tls: Tls) -> None:
    context, loop = tls.client(), asyncio.get_running_loop()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    held = [Secured(loop, asyncio.Protocol(), context, loop.create_future()) for _ in range(20)]
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    for one in held:
        one.connection_lost(None)

    assert (after - before) / len(held) < 64 * 1024


async def test_a_server_that_ends_waits_for_no_handshake(tls: Tls) -> None:
    async with a_server(ConnectionLimits(head_timeout_s=600), tls=tls) as server:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(HELLO)
        await handshakes_are(1, server)
    assert await asyncio.wait_for(_rest(reader), 30) == b""
    writer.close()
