"""Alerts as the settings say: rules, receiver and topic, for one worker."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from agents.alerts.alerts import Alerts, AlertsConfig
from agents.alerts.home import KafkaTold
from agents.alerts.teller import Telling
from agents.alerts.webhook import Waits, Webhook, secret_of
from app.config import Settings, SettingsError
from core.words import in_words
from domain.alerts import AlertRules, AlertRulesError, read_alert_rules
from tables.ports import Membership
from tables.stock import InventoryTable
from web.access.watched import AccessError, WatchedFile


def build_alerts(
    settings: Settings,
    table: InventoryTable,
    membership: Membership,
    is_active: Callable[[], bool],
) -> Alerts | None:
    """Of a worker; None: none are wanted.

    Args:
        settings: of the worker.
        table: whose rows are watched.
        membership: of its group.
        is_active: whether the worker's version is.

    Raises:
        SettingsError: rules or secrets that cannot be used, a sentence each.
        AccessError: the file of secrets cannot be read.
    """
    if not settings.alerts:
        return None
    secrets = WatchedFile(Path(settings.alerts_secret), signing_secrets)
    webhook = Webhook(settings.alerts_url, secrets.get)
    home = home_of(settings)
    waits = Waits([float(one) for one in settings.alerts_waits_s.split(",")])
    telling = Telling(rules_of(settings), webhook, home, settings.version, waits)
    config = AlertsConfig(settings.client_kwargs(), settings.control_topic)
    return Alerts(config, table, membership, is_active, telling, home, webhook)


def home_of(settings: Settings) -> KafkaTold:
    """The topic of what was told."""
    return KafkaTold(
        settings.client_kwargs(), settings.alerts_topic, settings.alerts_transactional_id
    )


def rules_of(settings: Settings) -> AlertRules:
    """Read the file of rules; raises SettingsError."""
    file = settings.alerts
    try:
        return read_alert_rules(Path(file).read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError([f"{file} cannot be read: {in_words(error)}."]) from None
    except AlertRulesError as error:
        raise SettingsError([f"{file}: {told}" for told in error.problems]) from None


def signing_secrets(content: bytes) -> list[bytes]:
    """What the file of secrets holds, one a line, the newest first; raises AccessError."""
    lines = [line.strip() for line in content.decode(errors="replace").splitlines()]
    try:
        found = [secret_of(line) for line in lines if line and not line.startswith("#")]
    except ValueError as why:
        raise AccessError(f"{why}, one a line: docs/alerts.md says how to make one.") from None
    if not found:
        raise AccessError("it has no secret: docs/alerts.md says how to make one.")
    return found
