"""The write API's yardstick: aiohttp takes JSON, one aiokafka producer sends it, all unchecked.

`python -m bench.peers.bare_posts HOST:PORT TOPIC PORT`: a line or an array of lines, each a record
by its SKU; answered when the broker has all. It says LISTENING once it listens.
"""

import asyncio
import json
import sys

from aiohttp import web
from aiokafka import AIOKafkaProducer

LISTENING = "listening"


async def serve(kafka: str, topic: str, port: int) -> None:
    """Until it is killed."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka, acks="all", enable_idempotence=True)
    await producer.start()

    async def post(request: web.Request) -> web.Response:
        body = json.loads(await request.read())
        lines = body if isinstance(body, list) else [body]
        sent = [
            await producer.send(topic, json.dumps(line).encode(), line["sku"].encode())
            for line in lines
        ]
        offsets = [(await each).offset for each in sent]
        return web.json_response({"accepted": len(sent), "offsets": offsets}, status=202)

    app = web.Application(client_max_size=2**22)
    app.add_routes([web.post("/v1/sales", post)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    print(LISTENING, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], sys.argv[2], int(sys.argv[3])))
