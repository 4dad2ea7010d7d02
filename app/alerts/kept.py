"""What `/v1/alerts` tells of a record: the words of its topic as those of HTTP."""

from __future__ import annotations

import msgspec

from agents.alerts.told import AlertMessage, ToldAlert
from app.config import Settings
from domain.alerts import AlertRules
from web.http.times import rfc3339
from web.records.kept import AlertBody, AlertRuleBody, KeptTopic
from wire.fetch import Stored


def kept_alerts(settings: Settings, rules: AlertRules) -> KeptTopic[AlertBody]:
    """What was told last of each row."""
    told = [AlertRuleBody(one.name, one.below, one.above) for one in rules.rules]
    return KeptTopic(settings.alerts_topic, settings.partitions, _alert, told)


def _alert(record: Stored) -> AlertBody:
    told = msgspec.json.decode(record.value or b"", type=ToldAlert)
    on_hand = None
    if told.body:
        on_hand = msgspec.json.decode(told.body, type=AlertMessage).data.on_hand
    return AlertBody(
        rule=told.rule,
        sku=told.sku,
        location=told.location,
        told=told.told,
        state=told.state,
        at=rfc3339(record.timestamp),
        seq=told.seq,
        id=told.id,
        on_hand=on_hand,
        attempts=told.attempts,
        next_try=rfc3339(told.next_ms) if told.is_pending and told.next_ms else None,
        failed=told.failed,
    )
