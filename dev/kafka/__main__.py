"""`make kafka`: one broker in the foreground, on 9092 if that is free."""

import argparse
import signal
import sys
import time
from pathlib import Path

from dev.kafka import KafkaUnavailable, start
from dev.kafka.broker import port_is_free


def main() -> int:
    """Until Ctrl-C; 1: Kafka ended by itself, 2: it could not be started."""
    parser = argparse.ArgumentParser(prog="python -m dev.kafka", description=__doc__)
    parser.add_argument("--port", type=int, help="default: 9092 if free, else any free one")
    parser.add_argument("--folder", type=Path, help="keep data here; default: a temporary one")
    arguments = parser.parse_args()
    port = arguments.port or (9092 if port_is_free(9092) else None)
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell's background job ignores SIGINT
        signal.signal(number, signal.default_int_handler)
    try:
        with start(arguments.folder, port) as kafka:
            print(f"Apache Kafka 4.4 (pid {kafka.pid}) at {kafka.bootstrap}; Ctrl-C stops it.")
            print(f"  export ONHAND_KAFKA={kafka.bootstrap}")
            if arguments.folder is None:
                print(
                    "Its data goes when it stops: remove the workers' data folders then, too. "
                    "`make kafka FOLDER=kafka-data` keeps it."
                )
            else:
                print(f"Its data stays in {arguments.folder}, for the next start there.")
            sys.stdout.flush()
            while kafka.nodes[0].running:
                time.sleep(0.2)
        print("Kafka ended by itself.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    except KafkaUnavailable as missing:
        print(missing, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
