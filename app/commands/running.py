"""What all commands have in common: options, settings, refusals, and how a coroutine is run."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Coroutine
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from app.commands.console import GLADLY_S, Ticker

if TYPE_CHECKING:
    import ssl

    from app.config import Settings

#: How often it is said that a command waits.
TELL_EVERY_S = 1.0

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
#: A path may stand before ours, as a proxy has it; what else an address may have would not be sent.
_ADDRESS = re.compile(r"(?:https?://)?[^/?#@\s]+(?:/(?!/)[^?#\s]*)?")
#: The variable that holds a token for commands.
TOKEN = "ONHAND_TOKEN"  # noqa: S105 - its name
#: The same one as of workers.
AUTHORITIES = "ONHAND_TLS_CA"

as_json = click.option("--json", "as_json", is_flag=True, help="One JSON document, for programs.")
kafka_option = click.option("--kafka", metavar="HOST:PORT", help="Brokers. Beats ONHAND_KAFKA.")
_url = click.option(
    "--url",
    multiple=True,
    help="A worker; any one will do. Several (repeated, or joined by commas): the next is asked "
    "where one does not answer. Beats ONHAND_URL.",
)


_token = click.option(
    "--token",
    envvar=TOKEN,
    expose_value=False,
    metavar="TOKEN",
    callback=lambda context, _, value: context.meta.update({TOKEN: value}),
    help=f"Of `onhand token create`. Others on this machine see an option: better set {TOKEN}.",
)


_tls_ca = click.option(
    "--tls-ca",
    envvar=AUTHORITIES,
    expose_value=False,
    metavar="FILE",
    callback=lambda context, _, value: context.meta.update({AUTHORITIES: value}),
    help=f"PEM file of who signed the workers' certificates. Default: {AUTHORITIES}, else the "
    "system's.",
)


class Commands(click.Group):
    """A group that knows what somebody meant who misspelt one of its commands."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's; a command that there is not gets those that are spelt much like it."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            names = self.list_commands(ctx)
            meant = get_close_matches(args[0], names, n=2, cutoff=0.6)
            there = (
                f"Did you mean {' or '.join(meant)}?" if meant else f"There is: {', '.join(names)}."
            )
            ctx.fail(f"No such command {args[0]!r}. {there}")
        return super().resolve_command(ctx, args)


def url_option(command: F) -> F:
    """Whom a command asks, by which token, and whose certificates it believes."""
    return _url(_token(_tls_ca(command)))


def waiting_options(command: F) -> F:
    """What must be counted before the answer, and how long to wait for that."""
    position = click.option(
        "--min-position", help="Wait until this event is counted (from a POST's answer)."
    )
    wait = click.option(
        "--wait-ms",
        type=click.IntRange(0, 10_000),
        help="How long to wait for it; 1,000 by default.",
    )
    return position(wait(command))


def token_of_command() -> str | None:
    """The token that this command was given, to be sent to those whom it names."""
    context = click.get_current_context(silent=True)
    token = None if context is None else context.meta.get(TOKEN)
    if token is None:
        return None
    token = token.strip()
    if not token.isascii() or not token.isprintable() or " " in token:
        refuse(f"{TOKEN} (or --token) is no token: `onhand token create` makes one.")
    return str(token)


def authorities_of_command() -> ssl.SSLContext:
    """For https: whose certificates are believed; a file that cannot be used ends the command."""
    import ssl
    from pathlib import Path

    from web.access.certificates import read_authorities
    from web.access.watched import AccessError

    context = click.get_current_context(silent=True)
    named = None if context is None else context.meta.get(AUTHORITIES)
    try:
        return ssl.create_default_context() if not named else read_authorities(Path(named))
    except AccessError as error:
        refuse(str(error))


def workers_of(urls: tuple[str, ...]) -> list[str]:
    """Whom to ask: those named, else the one of the settings; no address ends the command."""
    named = [one.strip() for url in urls for one in url.split(",") if one.strip()]
    for one in named:
        if not _ADDRESS.fullmatch(one):
            refuse(f"{one} is no address of a worker: use http://HOST:PORT, or https://HOST:PORT.")
    return named or [settings_from().url]


def settings_from(**options: Any) -> Settings:
    """Settings of the environment and these options; what is wrong with them ends the command."""
    from app.config import Settings, SettingsError

    try:
        return Settings.from_env(None, **options)
    except SettingsError as error:
        refuse(str(error))


def refuse(sentences: str) -> NoReturn:
    """End the command: it could not be asked."""
    click.echo(sentences, err=True)
    sys.exit(2)


def run(work: Coroutine[Any, Any, T], *refusals: type[Exception]) -> T:
    """Run to the end; a refusal becomes its sentence and exit code 2."""
    import asyncio
    import logging

    # What Kafka's client says while it tries again is in the one sentence at the end, and it
    # leaves futures behind that asyncio would show as tracebacks.
    for name in ("aiokafka", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    Ticker.newest = None
    try:
        return asyncio.run(_patiently(work))
    except refusals as error:
        refuse(str(error))


async def _patiently(work: Coroutine[Any, Any, T]) -> T:
    """Say that it goes on, for as long as it does: what has a count always, the rest to a person.

    A program that reads what is said would find one more line only where something is slow.
    """
    import asyncio
    import time

    began = time.monotonic()

    async def tell() -> None:
        while True:
            await asyncio.sleep(TELL_EVERY_S)
            if Ticker.newest is not None:
                Ticker.newest.again()
            elif sys.stderr.isatty() and time.monotonic() - began > GLADLY_S:
                click.echo(f"Waiting for an answer: {time.monotonic() - began:.0f} s …", err=True)

    telling = asyncio.create_task(tell())
    try:
        return await work
    finally:
        telling.cancel()
