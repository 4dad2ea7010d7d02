"""`onhand token`: who may call what. Works on the file alone; workers see a change in 1 s."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from app.commands.console import print_json, table
from app.commands.running import Commands, as_json, refuse

if TYPE_CHECKING:
    from web.access.tokens import Token

SCOPES = ("read", "write", "dead-letters", "operate")

file_option = click.option(
    "--file", "file", metavar="PATH", help="The file of tokens. Beats ONHAND_TOKENS."
)


@click.group("token", cls=Commands, short_help="Make, list and revoke tokens.")
def token() -> None:
    """Make, list and revoke the tokens by which others may call workers.

    The file holds hashes, never a token. Copy it to every worker, or mount it: each reads it
    again when it changes.
    """


@token.command("create", short_help="Make a token, and show it once.")
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    type=click.Choice(SCOPES),
    help="What it is good for; repeat it for several.",
)
@click.option("--source", "sources", multiple=True, help="Only facts of this source; till-* too.")
@click.option("--location", "locations", multiple=True, help="Only facts of this location.")
@file_option
@as_json
def create_token(
    name: str,
    scopes: tuple[str, ...],
    sources: tuple[str, ...],
    locations: tuple[str, ...],
    file: str | None,
    as_json: bool,
) -> None:
    """Make a token for NAME, such as till-17. It is shown now and never again.

    NAME goes into each fact that is posted with it, as the attribute onhandactor. To change a
    token, make a second one of the same name, hand it out, then revoke the first.
    """
    import re

    from web.access.callers import Scope
    from web.access.tokens import TOKEN_NAME, new_token

    if not re.fullmatch(TOKEN_NAME, name):
        refuse("NAME is 1 to 64 letters, digits, dots, hyphens, underscores and @.")
    if (sources or locations) and "write" not in scopes:
        refuse("--source and --location say what may be written: add --scope write.")
    created = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    chosen = [Scope(scope) for scope in SCOPES if scope in scopes]
    secret, entry = new_token(name, chosen, sources, locations, created)
    with _changing(_path(file)) as entries:
        entries.append(entry)
    if as_json:
        print_json({"token": secret, **_shown(entry)})
        return
    click.echo(secret)
    click.echo(f"Token {entry.id} of {name}: keep it now, it cannot be shown again.", err=True)


@token.command("list", short_help="Show who has a token, and for what.")
@file_option
@as_json
def list_tokens(file: str | None, as_json: bool) -> None:
    """Show who has a token, and for what. No token is shown: none is kept."""
    entries = _read(_path(file))
    if as_json:
        print_json({"tokens": [_shown(entry) for entry in entries]})
        return
    rows = [
        (
            entry.id,
            entry.name,
            ", ".join(entry.scopes),
            ", ".join(entry.sources) or "-",
            ", ".join(entry.locations) or "-",
            entry.created or "-",
        )
        for entry in entries
    ]
    click.echo(table([("ID", "NAME", "SCOPES", "SOURCES", "LOCATIONS", "CREATED"), *rows]))


@token.command("revoke", short_help="Take tokens out of the file.")
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@file_option
def revoke(ids: tuple[str, ...], file: str | None) -> None:
    """Take the tokens of these IDs out: a second later no worker that has the file knows them."""
    with _changing(_path(file)) as entries:
        missing = sorted({*ids} - {entry.id for entry in entries})
        if missing:
            refuse(f"There is no token {', '.join(missing)}: `onhand token list` shows all.")
        entries[:] = [entry for entry in entries if entry.id not in ids]
    click.echo(f"Revoked: {', '.join(ids)}.")


@token.command("secret", short_help="Make a secret by which workers know each other.")
def secret() -> None:
    """Show a new secret, a line for the file that ONHAND_PEER_SECRET names.

    Nothing keeps it but that file.
    """
    click.echo(secrets.token_hex(32))


def _shown(entry: Token) -> dict[str, object]:
    return {
        "id": entry.id,
        "name": entry.name,
        "scopes": list(entry.scopes),
        "sources": entry.sources,
        "locations": entry.locations,
        "created": entry.created or None,
    }


def _path(file: str | None) -> Path:
    named = file or os.environ.get("ONHAND_TOKENS")
    if not named:
        refuse("Which file? Set ONHAND_TOKENS, or name it by --file.")
    return Path(named)


def _read(path: Path) -> list[Token]:
    from web.access.tokens import entries_of
    from web.access.watched import AccessError

    try:
        return entries_of(path.read_bytes())
    except OSError as error:
        refuse(f"{path} cannot be read ({error.strerror}).")
    except AccessError as error:
        refuse(f"{path}: {error}")


@contextmanager
def _changing(path: Path) -> Iterator[list[Token]]:
    """The entries, written back as a whole after the block; two commands wait for each other."""
    import fcntl

    from web.access.tokens import as_file

    path = path.resolve()  # a link stays one
    try:
        folder = os.open(path.parent, os.O_RDONLY)
    except OSError as error:
        refuse(f"{path.parent} cannot be read ({error.strerror}).")
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        entries = _read(path) if path.exists() else []
        yield entries
        try:
            _replace(path, as_file(entries))
        except OSError as error:
            refuse(f"{path} cannot be written ({error.strerror}).")
    finally:
        os.close(folder)


def _replace(path: Path, data: bytes) -> None:
    """Whole or not at all; rights and owner stay as they were, a new file is its maker's alone."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".tokens-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            before = path.stat()
            os.chmod(name, before.st_mode & 0o7777)
            with suppress(PermissionError):
                os.chown(name, before.st_uid, before.st_gid)
        os.replace(name, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(name)
        raise
