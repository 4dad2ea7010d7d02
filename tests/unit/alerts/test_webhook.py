"""The signature, the secrets, and when a message is tried again."""

import asyncio
import base64
import gzip

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from agents.alerts.told import DeliveryState, ToldAlert, after_try, sent_again
from agents.alerts.webhook import WAITS_S, TryOutcome, Waits, Webhook, secret_of, signatures
from app.alerts.wiring import signing_secrets
from domain.alerts import AlertLevel
from web.access.watched import AccessError

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
MESSAGE = ToldAlert(
    "low", "A", "shop", AlertLevel.RAISED, 1, DeliveryState.PENDING, "alert_1", "{}"
)
NOW_MS = 1_764_000_000_000


def test_it_signs_as_the_convention_s_own_libraries_verify() -> None:
    """Id, time, payload and signature are those of the tests that all of these libraries share."""
    made = signatures(
        [secret_of(SECRET)], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b'{"test": 2432232314}'
    )

    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_while_secrets_change_it_signs_by_each_of_them() -> None:
    old, new = secret_of(SECRET), b"n" * 32

    both = signatures([new, old], "alert_1", 5, b"{}")

    assert both.split() == [signatures([one], "alert_1", 5, b"{}") for one in (new, old)]


@pytest.mark.parametrize(
    "text",
    ["", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_short", "whsec_%%%", f"whsec_{'A' * 200}"],
)
def test_what_is_no_secret_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a secret is whsec_"):
        secret_of(text)


def test_a_file_of_secrets_has_one_a_line() -> None:
    other = f"whsec_{base64.b64encode(b'o' * 24).decode()}"

    assert signing_secrets(f"# new\n{other}\n\n{SECRET}\n".encode()) == [
        b"o" * 24,
        secret_of(SECRET),
    ]
    for wrong in (b"", b"# none\n", b"secret\n"):
        with pytest.raises(AccessError, match=r"docs/alerts\.md"):
            signing_secrets(wrong)


def test_waits_are_those_of_the_schedule_and_end_with_it() -> None:
    waits = Waits()

    for attempts, wait_s in enumerate(WAITS_S, 1):
        found = waits.after(attempts, "alert_1")
        assert found is not None
        assert wait_s <= found <= wait_s * 1.1
    assert waits.after(len(WAITS_S) + 1, "alert_1") is None


def test_what_failed_together_is_not_tried_together() -> None:
    assert len({Waits().after(1, f"alert_{n}") for n in range(200)}) > 50


def test_a_receiver_may_ask_for_a_longer_wait_and_for_none_without_end() -> None:
    waits = Waits([5, 300])

    assert waits.after(1, "alert_1", asked_s=120) == 120
    assert waits.after(1, "alert_1", asked_s=1e9) == 300
    assert waits.after(2, "alert_1", asked_s=1) == waits.after(2, "alert_1")


def test_a_message_that_is_taken_is_sent_and_keeps_nothing_of_its_way() -> None:
    failed = after_try(MESSAGE, TryOutcome(500, "500"), Waits([5]), NOW_MS)

    sent = after_try(failed, TryOutcome(200), Waits([5]), NOW_MS)

    assert (sent.state, sent.id, sent.seq) == (DeliveryState.SENT, "alert_1", 1)
    assert (sent.body, sent.attempts, sent.next_ms, sent.failed) == ("", 0, 0, "")


def test_a_message_that_nobody_takes_is_dead_behind_its_last_try_and_says_why() -> None:
    waits, told = Waits([5, 300]), MESSAGE

    for attempts in (1, 2):
        told = after_try(told, TryOutcome(0, "no answer (no route)"), waits, NOW_MS)
        assert (told.state, told.attempts) == (DeliveryState.PENDING, attempts)
        assert told.next_ms >= NOW_MS + waits.seconds[attempts - 1] * 1000
    told = after_try(told, TryOutcome(503, "503 away"), waits, NOW_MS)

    assert (told.state, told.attempts, told.failed) == (DeliveryState.DEAD, 3, "503 away")
    assert (told.id, told.body) == (MESSAGE.id, MESSAGE.body)
    again = sent_again(told)
    assert (again.state, again.attempts, again.next_ms) == (DeliveryState.PENDING, 0, 0)
    assert (again.id, again.body) == (MESSAGE.id, MESSAGE.body)


def test_a_receiver_that_is_gone_for_good_is_asked_once() -> None:
    assert after_try(MESSAGE, TryOutcome(410, "410"), Waits(), NOW_MS).state is DeliveryState.DEAD


@pytest.mark.parametrize("status", [301, 307, 400, 404, 429, 500, 502])
def test_whatever_is_not_2xx_is_tried_again(status: int) -> None:
    told = after_try(MESSAGE, TryOutcome(status, "no"), Waits(), NOW_MS)

    assert (told.state, told.attempts) == (DeliveryState.PENDING, 1)


def test_only_legal_moves_are_made() -> None:
    sent = after_try(MESSAGE, TryOutcome(200), Waits(), NOW_MS)

    for state in DeliveryState:
        with pytest.raises(ValueError, match="sent -> "):
            sent.moved(state)
    with pytest.raises(ValueError, match="sent -> pending"):
        sent_again(sent)


async def test_a_real_request_carries_what_a_receiver_verifies() -> None:
    seen: list[tuple[dict[str, str], bytes]] = []
    answers = [
        web.Response(status=204),
        web.Response(status=503, text="away\n", headers={"Retry-After": "7"}),
        web.Response(status=302, headers={"Location": "/elsewhere"}),
    ]

    async def take(request: web.Request) -> web.Response:
        seen.append((dict(request.headers), await request.read()))
        return answers.pop(0)

    app = web.Application()
    app.router.add_post("/hook", take)
    server = TestServer(app)
    await server.start_server()
    webhook = Webhook(str(server.make_url("/hook")), lambda: [secret_of(SECRET)])
    try:
        said = [await webhook.post("alert_1", b'{"a":1}', 77) for _ in range(3)]
        await server.close()
        said.append(await webhook.post("alert_1", b'{"a":1}', 78))
    finally:
        await webhook.stop()
        await server.close()

    assert [one.status for one in said] == [204, 503, 302, 0]
    assert [one.is_taken for one in said] == [True, False, False, False]
    assert (said[1].told, said[1].retry_after_s) == ("503 away\\n", 7.0)
    assert said[3].told.startswith("no answer (")
    headers, body = seen[0]
    assert body == b'{"a":1}'
    assert headers["Content-Type"] == "application/json"
    assert (headers["webhook-id"], headers["webhook-timestamp"]) == ("alert_1", "77")
    assert headers["webhook-signature"] == signatures([secret_of(SECRET)], "alert_1", 77, body)


def a_webhook(url: str) -> Webhook:
    return Webhook(url, lambda: [secret_of(SECRET)])


async def told_by(answer: bytes, times: int = 1) -> tuple[list[TryOutcome], bytes]:
    """What is told of a receiver that always says these bytes; and all that came to it."""
    came = bytearray()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.extend(await reader.readuntil(b"{}"))
        writer.write(answer)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    webhook = a_webhook(f"http://127.0.0.1:{port}/hooks/let-me-in?key=let-me-in")
    try:
        said = [await webhook.post("alert_1", b"{}", 77) for _ in range(times)]
    finally:
        await webhook.stop()
        server.close()
        await server.wait_closed()
    return said, bytes(came)


@pytest.mark.parametrize(
    "answer",
    [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200", b"HTTP/1.1 503 Away\r\nContent-Length: x\r\n\r\n",
     b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"],
)  # fmt: skip
async def test_what_is_told_of_a_receiver_does_not_have_the_path_that_lets_in(
    answer: bytes,
) -> None:
    (said,), came = await told_by(answer)

    assert b"POST /hooks/let-me-in?key=let-me-in " in came
    assert not said.is_taken
    assert "let-me-in" not in said.told


async def test_an_address_that_cannot_be_asked_is_not_told_either() -> None:
    webhook = a_webhook("http://127.0.0.1:99999/hooks/let-me-in")
    try:
        said = await webhook.post("alert_1", b"{}", 77)
    finally:
        await webhook.stop()

    assert (said.status, "let-me-in" in said.told) == (0, False)


async def test_nothing_that_a_receiver_says_is_kept_or_unpacked() -> None:
    packed = gzip.compress(b"unpacked")
    head = f"Content-Length: {len(packed)}\r\nContent-Encoding: gzip\r\nConnection: close\r\n"
    head += "Set-Cookie: keep=me\r\n"
    said, came = await told_by(f"HTTP/1.1 503 Away\r\n{head}\r\n".encode() + packed, times=2)

    assert [one.status for one in said] == [503, 503]
    assert all("unpacked" not in one.told and one.told.isascii() for one in said)
    assert came.count(b"POST ") == 2
    assert b"keep=me" not in came
    assert came.count(b"\r\nAccept-Encoding: identity\r\n") == 2
