"""How a server of a test ends while clients in other threads or processes go on."""

import asyncio

from aiohttp import web

#: Of the loop, from a connection that the kernel has to one that the server knows.
_ACCEPTING_TURNS = 5


async def end(runner: web.AppRunner) -> None:
    """Listen no more, and close every connection.

    A client may have come just now: what is half accepted when its server ends is closed by nobody.
    """
    for _ in range(_ACCEPTING_TURNS):
        await asyncio.sleep(0)
    await runner.cleanup()
