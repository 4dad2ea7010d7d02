"""`onhand settings`: every setting as it is here, and where it comes from."""

from __future__ import annotations

import os
from typing import Any

import click

from app.commands.console import print_json, table
from app.commands.running import as_json, settings_from

#: These name files, which must exist.
_FILES = ("tokens", "peer_secret", "kafka_sasl_token_file")
_SECRET = ("password", "secret", "token")


@click.command("settings", short_help="Show every setting and where it comes from.")
@as_json
def show_settings(as_json: bool) -> None:
    """Show every setting with its value here; passwords are not shown.

    .env.example says what each is for.
    """
    from app.config import PREFIX, Settings, without_password

    settings = settings_from()
    shown: list[dict[str, Any]] = []
    for field in Settings.__struct_fields__:
        name = PREFIX + field.upper()
        value = without_password(str(getattr(settings, field)))
        if value and any(word in field for word in _SECRET) and field not in _FILES:
            value = "***"
        origin = "environment" if os.environ.get(name) else "default"
        shown.append({"name": name, "value": value, "from": origin})
    if as_json:
        print_json({"settings": shown})
        return
    rows = [(one["name"], one["value"] or "-", one["from"]) for one in shown]
    click.echo(table([("SETTING", "VALUE", "FROM"), *rows]))
