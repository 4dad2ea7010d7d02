"""The peer on Quix Streams; runs in a virtual environment of its own (see quix_streams.py).

One state for each message key (the SKU), one entry in it for each location:
the store's natural shape. Says on standard output when it begins.
"""

import os
import zlib
from typing import Any

from quixstreams import Application, State

from bench.facts.events import SOURCES
from bench.facts.oracle import CHECKSUM, CHECKSUM_MODULUS, EVENTS, FIELD_OF_TYPE, FIELDS

BEGUN = "first event"
begun = False


def fold(event: dict[str, Any], state: State) -> None:
    """Apply one event to its row."""
    global begun
    if not begun:
        begun = True
        print(BEGUN, flush=True)
    data = event["data"]
    row = state.get(data["location"]) or [0] * len(FIELDS)
    row[FIELD_OF_TYPE[event["type"]]] += data["quantity"]
    row[EVENTS] += 1
    named = zlib.crc32(f"{event['source']}\x00{event['id']}".encode())
    row[CHECKSUM] = (row[CHECKSUM] + named) % CHECKSUM_MODULUS
    state.set(data["location"], row)


def main() -> None:
    """Fold all three sources until ended."""
    app = Application(
        broker_address=os.environ["QUIX_KAFKA"],
        consumer_group=os.environ["QUIX_ID"],
        state_dir=os.environ["QUIX_DATA_DIR"],
        auto_offset_reset="earliest",
        processing_guarantee="at-least-once",
        commit_interval=1.0,
    )
    streams = [
        app.dataframe(
            app.topic(
                os.environ["QUIX_TOPIC_PREFIX"] + name,
                key_deserializer="bytes",
                value_deserializer="json",
            )
        )
        for name in SOURCES
    ]
    merged = streams[0]
    for stream in streams[1:]:
        merged = merged.concat(stream)
    merged.update(fold, stateful=True)
    app.run()


if __name__ == "__main__":
    main()
