"""What it costs to ask who calls: `python -m bench.access [--pairs 15]`.

A key read by its bytes, in one process without Kafka: for everybody; with a token; and as a worker
asks that proves to be one. Each is measured beside the first, now the one before, now the other.
CPU time of this process; what aiohttp and the kernel take for a read is in none of them.
"""

import argparse
import gc
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from bench.access.pairs import row_of_pairs
from bench.micro import CURL, LEAST_NS, URL, heads, queries, timed
from web.access.access import OPEN, Access
from web.access.callers import Scope
from web.access.proofs import PeerMode, PeerSecrets, read_secrets, signed
from web.access.tokens import as_file, new_token, read_tokens
from web.access.watched import WatchedFile

SECRET = "5" * 64
#: In the file beside the one that asks.
OTHER_TOKENS = 1_000

Work = Callable[[], object]


def _reads(access: Access, asked: list[bytes]) -> Work:
    quick = queries().quick
    read = lambda head: access.at_once(head, lambda answer: None, quick)  # noqa: E731
    assert all(map(read, asked)), "a read did not go the short way"
    return lambda: [read(head) for head in asked]


def ways(folder: Path) -> Mapping[str, tuple[Work, int]]:
    """How one may ask, and for how many rows each time; the first asks for no token."""
    token, mine = new_token("bench", [Scope.READ])
    others = [new_token(f"till-{n}", [Scope.WRITE])[1] for n in range(OTHER_TOKENS)]
    (folder / "tokens.json").write_bytes(as_file([*others, mine]))
    (folder / "peers").write_text(f"require\n{SECRET}")
    tokens = WatchedFile(folder / "tokens.json", read_tokens)
    guarded = Access(tokens, WatchedFile(folder / "peers", read_secrets), URL)
    plain = heads(*CURL)
    secrets = PeerSecrets(PeerMode.REQUIRE, (SECRET.encode(),))
    proved = [signed(secrets, head, URL, mine.id) for head in plain]
    return {
        "for everybody": (_reads(OPEN, plain), len(plain)),
        "with a token": (
            _reads(guarded, heads(*CURL, f"Authorization: Bearer {token}")),
            len(plain),
        ),
        "by a worker's proof": (_reads(guarded, proved), len(plain)),
    }


def _us(work: Work, things: int) -> float:
    times = 1
    while (spent := timed(work, times)) < LEAST_NS:
        times *= 2
    return spent / times / things / 1000


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.access", description=__doc__)
    parser.add_argument("--pairs", type=int, default=15)
    pairs = parser.parse_args().pairs
    gc.freeze()
    with tempfile.TemporaryDirectory() as folder:
        (usual, open_to_all), *others = ways(Path(folder)).items()
        print(f"| quick read | µs | {usual}, µs | ratio | half of the pairs |")
        print("|---" * 5 + "|")
        for name, asked in others:
            print(row_of_pairs(name, asked, open_to_all, lambda way: _us(*way), pairs, 3))


if __name__ == "__main__":
    main()
