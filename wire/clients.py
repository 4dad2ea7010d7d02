"""Start and close aiokafka's clients so that no connection is left behind.

Two things that aiokafka's own do not see to (0.14); tests/integration/wire/test_clients.py
interrupts both at every moment:

- `bootstrap` keeps the connection that it asks on in a local name (client.py). Interrupted,
  it leaves it open.
- `stop`, interrupted, leaves the sender and its requests running (producer.py). They open
  new connections behind `client.close()`, which closes those that it knows at that moment.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeAlias, Union

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError, KafkaError

if TYPE_CHECKING:  # few need it
    from aiokafka.admin import AIOKafkaAdminClient

KafkaClient: TypeAlias = Union[AIOKafkaProducer, AIOKafkaConsumer, "AIOKafkaAdminClient"]

# How long a connection or a bootstrap that nobody needs any more may take to end.
END_S = 5.0


async def start(client: KafkaClient) -> None:
    """As `client.start()`; where that is cancelled, its bootstrap ends first.

    aiokafka takes a refused OAUTHBEARER token for a taken one (0.14, conn.py: the broker's no
    comes as one more challenge, which nobody reads), and then hears of no broker.

    Raises:
        KafkaConnectionError: nobody answers, or not to this login.
    """
    inner = _inner(client)
    bootstrap = asyncio.create_task(inner.bootstrap())
    inner.bootstrap = lambda: asyncio.shield(bootstrap)
    try:
        await client.start()
    finally:
        await asyncio.wait([bootstrap], timeout=END_S)
    by_token = inner._sasl_mechanism == "OAUTHBEARER"  # noqa: SLF001  no public name
    if by_token and not inner.cluster.brokers():
        await close(client, END_S)
        raise KafkaConnectionError("The token was refused")


async def close(client: KafkaClient, timeout_s: float) -> None:
    """As the client's own `stop`, which sends what is left, but cut off after `timeout_s`.

    Raises:
        TimeoutError: it was cut off.
    """
    try:
        async with asyncio.timeout(timeout_s):
            await (client.stop() if hasattr(client, "stop") else client.close())
    finally:
        await _disconnect(client)  # requests under way fail at once
        sender = getattr(getattr(client, "_sender", None), "sender_task", None)
        # Twice: at the first it waits for its requests, and these for metadata that nobody
        # fetches any more (producer/sender.py, SendProduceReqHandler.do).
        for _ in range(2):
            if sender is not None and not sender.done():
                sender.cancel()
                await asyncio.wait([sender], timeout=0.1)
        await _disconnect(client)  # what they opened meanwhile


async def let_go(client: KafkaClient, timeout_s: float = END_S) -> None:
    """Close it whatever comes of that: nobody waits for what it may have left."""
    with suppress(KafkaError, OSError, TimeoutError):
        await close(client, timeout_s)


@asynccontextmanager
async def running(client: KafkaClient, goodbye_s: float = END_S) -> AsyncIterator[KafkaClient]:
    """The client, started; it is let go of however this ends. Raises as `start` does."""
    try:
        await start(client)
        yield client
    finally:
        await let_go(client, goodbye_s)


async def _disconnect(client: KafkaClient) -> None:
    # A connection closes when its last bytes are sent, which a frozen broker does not take.
    with suppress(TimeoutError):
        async with asyncio.timeout(END_S):
            await _inner(client).close()


def _inner(client: KafkaClient) -> Any:
    producer = isinstance(client, AIOKafkaProducer)
    return client.client if producer else client._client  # noqa: SLF001  no public name
