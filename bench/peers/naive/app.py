"""Stock as the Faust tutorial writes it: Records, one agent a topic, `table[key] += quantity`.

A peer in the benchmarks, and the proof that the tests of our promises can
fail: after a crash it counts redelivered events twice, and it answers 200 with
whatever it holds. `faust -A bench.peers.naive.app worker -l info`, with

    NAIVE_KAFKA              bootstrap servers (localhost:9092)
    NAIVE_TOPIC_PREFIX       goes before the three source topics (empty)
    NAIVE_ID                 Faust's app id: group, changelog (naive)
    NAIVE_DATA_DIR           local state (./data)
    NAIVE_PARTITIONS         of the sources and the table (12)
    NAIVE_COMMIT_INTERVAL_S  Faust's broker_commit_interval (2.8)
    NAIVE_WEB_PORT           of `GET /inventory/{sku}/{location}` (6066)
"""

import os

import faust
from faust.web import Request, Response, View


def _setting(name: str, default: str) -> str:
    return os.environ.get(f"NAIVE_{name}", default)


PREFIX = _setting("TOPIC_PREFIX", "")
PARTITIONS = int(_setting("PARTITIONS", "12"))

app = faust.App(
    _setting("ID", "naive"),
    broker=[f"kafka://{address}" for address in _setting("KAFKA", "localhost:9092").split(",")],
    store="rocksdb://",
    datadir=_setting("DATA_DIR", "./data"),
    topic_partitions=PARTITIONS,
    topic_replication_factor=1,
    broker_commit_interval=float(_setting("COMMIT_INTERVAL_S", "2.8")),
    stream_wait_empty=False,
    web_port=int(_setting("WEB_PORT", "6066")),
)


class StockMovement(faust.Record):
    """What moved."""

    sku: str
    location: str
    quantity: int


class InventoryEvent(faust.Record):
    """The CloudEvent around it."""

    specversion: str
    id: str
    source: str
    type: str
    time: str
    data: StockMovement


shipments = app.topic(PREFIX + "shipments", value_type=InventoryEvent)
sales = app.topic(PREFIX + "sales", value_type=InventoryEvent)
adjustments = app.topic(PREFIX + "adjustments", value_type=InventoryEvent)
inventory = app.Table(
    "inventory", default=int, partitions=PARTITIONS, options={"driver": "rocksdict"}
)


def key_of(movement: StockMovement) -> str:
    """The table's key."""
    return f"{movement.sku}|{movement.location}"


@app.agent(shipments)
async def receive(events: faust.StreamT[InventoryEvent]) -> None:
    """Goods in, or out to another location."""
    async for event in events:
        if event.type == "inventory.shipment.received.v1":
            inventory[key_of(event.data)] += event.data.quantity
        else:
            inventory[key_of(event.data)] -= event.data.quantity


@app.agent(sales)
async def sell(events: faust.StreamT[InventoryEvent]) -> None:
    """Sold, or brought back."""
    async for event in events:
        if event.type == "inventory.sale.completed.v1":
            inventory[key_of(event.data)] -= event.data.quantity
        else:
            inventory[key_of(event.data)] += event.data.quantity


@app.agent(adjustments)
async def adjust(events: faust.StreamT[InventoryEvent]) -> None:
    """Counted again."""
    async for event in events:
        inventory[key_of(event.data)] += event.data.quantity


@app.page("/inventory/{sku}/{location}/")
async def on_hand(web: View, request: Request, sku: str, location: str) -> Response:
    """What this worker's table says, right or wrong."""
    return web.json({"sku": sku, "location": location, "on_hand": inventory[f"{sku}|{location}"]})
