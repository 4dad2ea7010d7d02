"""Reports as a table for spreadsheets (RFC 4180)."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from aiohttp import web

from web.http.replies import SERVER

_CSV = "text/csv"


def wants_csv(request: web.Request) -> bool:
    """Whether the caller takes CSV and does not rather take JSON."""
    accept = request.headers.get("Accept", "")
    return _CSV in accept and "application/json" not in accept


def csv_reply(
    name: str, columns: Sequence[str], rows: Iterable[Sequence[object]], position: str
) -> web.Response:
    """The table, with a line of names; `position`: what it is of, for a header."""
    written = io.StringIO()
    lines = csv.writer(written)
    lines.writerow(columns)
    lines.writerows(["" if cell is None else cell for cell in row] for row in rows)
    headers = {
        "Content-Type": f"{_CSV}; charset=utf-8; header=present",
        "Content-Disposition": f'inline; filename="{name}.csv"',
        "Cache-Control": "no-cache",
        "Onhand-Position": position,
        **SERVER,
    }
    return web.Response(body=written.getvalue().encode(), headers=headers)
