"""What the documents' commands use of curl, for `make readme` on machines that have none.

Not a second curl: options that the documents do not use are refused.
"""

from __future__ import annotations

import argparse
import http.client
import sys
from pathlib import Path
from urllib.parse import urlsplit

FORM = "application/x-www-form-urlencoded"
TIMEOUT_S = 30.0


def options() -> argparse.ArgumentParser:
    """As curl spells them."""
    parser = argparse.ArgumentParser(prog="curl", allow_abbrev=False)
    parser.add_argument("-s", "--silent", action="store_true")
    parser.add_argument("-i", "--include", action="store_true")
    parser.add_argument("-d", "--data")
    parser.add_argument("-H", "--header", action="append", default=[])
    parser.add_argument("-o", "--output", default="-")
    parser.add_argument("-w", "--write-out", default="")
    parser.add_argument("url")
    return parser


def main() -> int:
    """Exit code 7, as curl's, where nobody answers."""
    asked = options().parse_args()
    parts = urlsplit(asked.url if "://" in asked.url else f"http://{asked.url}")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    headers = {"User-Agent": "curl", "Accept": "*/*"}
    body = None if asked.data is None else asked.data.encode()
    if body is not None:
        headers["Content-Type"] = FORM
    for line in asked.header:
        name, _, value = line.partition(":")
        headers[name.strip().title()] = value.strip()
    connection = http.client.HTTPConnection(parts.netloc, timeout=TIMEOUT_S)
    try:
        connection.request("GET" if body is None else "POST", target, body, headers)
        answer = connection.getresponse()
        content = answer.read()
    except OSError as error:
        print(f"curl: (7) {error}", file=sys.stderr)
        return 7
    finally:
        connection.close()
    lines = "".join(f"{name}: {value}\r\n" for name, value in answer.getheaders())
    head = f"HTTP/1.1 {answer.status} {answer.reason}\r\n{lines}\r\n" if asked.include else ""
    written = asked.write_out.replace("%{http_code}", str(answer.status)).replace("\\n", "\n")
    if asked.output == "-":
        sys.stdout.buffer.write(head.encode("latin-1") + content)
    else:
        Path(asked.output).write_bytes(head.encode("latin-1") + content)
    sys.stdout.buffer.write(written.encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
