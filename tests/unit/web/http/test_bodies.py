"""What a POST may be: which types, how large, how slow, how packed."""

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from web.http.bodies import BodyLimits, Room, read_json
from web.http.connections import ConnectionLimits, guard

Client = TestClient[web.Request, web.Application]
LIMITS = BodyLimits(bytes=1000)
IMPATIENT = BodyLimits(timeout_s=0.05)


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async def echo(request: web.Request) -> web.Response:
        body = await read_json(request, LIMITS)
        return body if isinstance(body, web.Response) else web.Response(body=body)

    async def batch(request: web.Request) -> web.Response:
        body = await read_json(request, LIMITS, ("application/cloudevents+json",))
        return body if isinstance(body, web.Response) else web.Response(body=body)

    async def slow(request: web.Request) -> web.Response:
        body = await read_json(request, IMPATIENT)
        return body if isinstance(body, web.Response) else web.Response(body=body)

    app = web.Application()
    app.router.add_post("/slow", slow)
    app.router.add_post("/", echo)
    app.router.add_post("/events", batch)
    guard(app, ConnectionLimits(linger_s=0.05))
    async with TestClient(TestServer(app)) as client:
        yield client


async def asked(client: Client, body: object, path: str = "/", **headers: str) -> tuple[int, str]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with client.post(path, data=body, headers=named) as response:
        answer = await response.read()
        return response.status, answer.decode()


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "application/json; charset=utf-8",
        "Application/JSON;charset=UTF8",
        "application/x-www-form-urlencoded",  # what curl -d says
    ],
)
async def test_json_is_taken_also_under_curls_default_type(
    client: Client, content_type: str
) -> None:
    assert await asked(client, b' {"a":1}', Content_Type=content_type) == (200, ' {"a":1}')


async def test_json_without_a_type_is_taken(client: Client) -> None:
    async with client.post("/", data=b"[]", skip_auto_headers=["Content-Type"]) as response:
        assert response.status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Content_Type": "text/plain"},
        {"Content_Type": "application/xml"},
        {"Content_Type": "application/json; charset=latin-1"},
        {"Content_Type": "application/json", "Content_Encoding": "compress"},
    ],
)
async def test_other_types_are_refused_with_the_ones_taken(
    client: Client, headers: dict[str, str]
) -> None:
    status, answer = await asked(client, b"{}", **headers)

    assert status == 415
    assert "application/json" in answer


async def test_a_real_form_is_refused_as_the_wrong_type(client: Client) -> None:
    form = "application/x-www-form-urlencoded"

    assert (await asked(client, b"sku=a&quantity=2", Content_Type=form))[0] == 415


@pytest.mark.parametrize("header", ["Origin", "Sec_Fetch_Site", "Referer"])
async def test_a_web_page_cannot_write_without_asking_first(client: Client, header: str) -> None:
    # A browser sends a form to any address; application/json it must ask for first (CORS).
    form = {"Content_Type": "application/x-www-form-urlencoded", header: "http://evil.example"}

    assert (await asked(client, b"{}", **form))[0] == 415
    assert (await asked(client, b"{}", **form | {"Content_Type": "application/json"}))[0] == 200


async def test_defaults_are_only_for_json(client: Client) -> None:
    form = "application/x-www-form-urlencoded"

    assert (await asked(client, b"{}", "/events", Content_Type=form))[0] == 415
    assert (await asked(client, b"{}", "/events", Content_Type="application/json"))[0] == 415


@pytest.mark.parametrize(("coding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
async def test_a_packed_body_is_unpacked(client: Client, coding: str, pack: object) -> None:
    packed = pack(b'{"a":1}')  # type: ignore[operator]

    answer = await asked(client, packed, Content_Type="application/json", Content_Encoding=coding)

    assert answer == (200, '{"a":1}')


async def test_a_small_packed_body_that_unpacks_too_large_is_refused(client: Client) -> None:
    packed = gzip.compress(b" " * 700_000)
    assert len(packed) < LIMITS.bytes

    status, _ = await asked(
        client, packed, Content_Type="application/json", Content_Encoding="gzip"
    )

    assert status == 413


@pytest.mark.parametrize("coding", ["br", "zstd"])
async def test_a_packing_that_nobody_here_can_undo_is_refused(client: Client, coding: str) -> None:
    status, _ = await asked(client, b"{}", Content_Type="application/json", Content_Encoding=coding)

    assert status in (400, 415)


async def test_a_broken_packing_is_a_bad_request(client: Client) -> None:
    status, answer = await asked(
        client, b"not gzip at all", Content_Type="application/json", Content_Encoding="gzip"
    )

    assert status == 400
    assert "invalid-request" in answer


@pytest.mark.parametrize("size", [1001, 100_000])
async def test_a_body_too_large_is_refused_with_and_without_a_length(
    client: Client, size: int
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b" " * size

    assert (await asked(client, b" " * size, Content_Type="application/json"))[0] == 413
    assert (await asked(client, chunks(), Content_Type="application/json"))[0] == 413
    assert (await asked(client, b" " * 1000, Content_Type="application/json"))[0] == 200


async def test_a_body_that_does_not_come_is_not_waited_for(client: Client) -> None:
    reader, writer = await asyncio.open_connection(client.host, client.port)
    writer.write(
        b"POST /slow HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Content-Length: 10\r\n\r\n{"
    )

    answer = await asyncio.wait_for(reader.read(), 30)
    writer.close()

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"request-timeout" in answer


async def test_where_unfinished_bodies_fill_the_room_the_longest_one_goes() -> None:
    room = Room(100)
    gone: list[str] = []

    async def send(name: str, *sizes: int) -> None:
        try:
            async with room.place(30) as clock:
                for size in sizes:
                    room.grow(clock, size)
                    await asyncio.sleep(0)
                await asyncio.sleep(0.2)
        except TimeoutError:
            gone.append(name)

    await asyncio.gather(send("slow", 60), send("other", 30), send("new", 20, 20, 20))

    assert gone == ["slow"]
    assert room.reading() == 0
    await asyncio.gather(send("again", 100))
    assert gone == ["slow"]
