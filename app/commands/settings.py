"""`onhand settings`: every setting as it is here, and where it comes from."""

from __future__ import annotations

import os
from typing import Any

import click

from app.commands.console import print_json, table
from app.commands.running import as_json, settings_from


@click.command("settings", short_help="Show every setting and where it comes from.")
@as_json
def show_settings(as_json: bool) -> None:
    """Show every setting with its value here, but for passwords and the address of alerts.

    .env.example says what each is for.
    """
    from app.config import PREFIX

    shown: list[dict[str, Any]] = []
    for field, value in settings_from().shown().items():
        name = PREFIX + field.upper()
        origin = "environment" if os.environ.get(name) else "default"
        shown.append({"name": name, "value": str(value), "from": origin})
    if as_json:
        print_json({"settings": shown})
        return
    rows = [(one["name"], one["value"] or "-", one["from"]) for one in shown]
    click.echo(table([("SETTING", "VALUE", "FROM"), *rows]))
