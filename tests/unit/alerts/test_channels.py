"""What /asyncapi.json and the topics say where alerts are on, and that they say nothing else."""

import json

import msgspec
import pytest

from agents.alerts.told import Compared, DeliveryState
from app import topics
from app.channels.document import topics_document
from app.config import PREFIX, Settings, SettingsError
from domain.alerts import AlertRule
from domain.rows import Row
from tests.support.judges.asyncapi_check import TopicContract

ON = Settings(name="shop", alerts="rules.toml", alerts_url="https://shop.example/hook?key=secret")
RULE = AlertRule("low", 10, 14)


def test_the_topic_is_there_only_where_alerts_are_on() -> None:
    made = {topic.name: topic for topic in topics.desired(ON)}
    off = {topic.name for topic in topics.desired(Settings(name="shop"))}

    assert made.keys() - off == {"shop-alerts"}
    assert made["shop-alerts"].partitions == ON.partitions
    assert made["shop-alerts"].config["cleanup.policy"] == "compact"
    assert "alerts" not in topics_document(Settings(name="shop"), "0")["channels"]


def test_no_name_of_what_was_told_has_a_version() -> None:
    two = msgspec.structs.replace(ON, version=2)

    assert two.alerts_topic == ON.alerts_topic == "shop-alerts"
    assert two.alerts_transactional_id(3) == ON.alerts_transactional_id(3) == "shop-alerts-3"


def test_a_record_and_a_message_are_what_the_document_tells() -> None:
    document = json.loads(json.dumps(topics_document(ON, "0")))
    contract = TopicContract(document)
    told = Compared("topic-1", 1).next_message(
        "low", RULE, ("Käse", "shop"), Row(received=3, events=1), None
    )
    assert told is not None

    for record in (told, told.moved(DeliveryState.SENT, body="")):
        value = msgspec.json.encode(record)
        assert contract.message_of(ON.alerts_topic, record.key, value) == "told"
    assert contract.message_of(ON.alerts_topic, b"low", msgspec.json.encode(told)) is None
    alert = document["components"]["messages"]["alert"]
    assert contract.holds(alert["payload"], json.loads(told.body))
    for example in (alert, document["components"]["messages"]["told"]):
        assert contract.holds(example["payload"], example["examples"][0]["payload"])


def test_whom_it_tells_is_told_without_what_lets_in() -> None:
    document = topics_document(ON, "0")

    assert document["servers"]["receiver"]["host"] == "shop.example"
    assert "secret" not in json.dumps(document["channels"]) + json.dumps(document["servers"])
    assert "key=secret" not in repr(ON)


def settings_of(**given: str) -> Settings:
    return Settings.from_env({PREFIX + name: value for name, value in given.items()})


def test_rules_a_receiver_and_a_secret_are_wanted_together() -> None:
    with pytest.raises(SettingsError, match="Set all three, or none"):
        settings_of(ALERTS_URL="https://shop.example/hook")


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("ALERTS_URL", "shop.example/secret", "ONHAND_ALERTS_URL is set: use https://HOST/PATH"),
        ("ALERTS_URL", "https://ann:secret@shop.example/", "ONHAND_ALERTS_URL is set: use https"),
        ("ALERTS_WAITS_S", "5,x", "ONHAND_ALERTS_WAITS_S is '5,x': use seconds, such as 5,300"),
        ("ALERTS_SECRET", "whsec_secret", "ONHAND_ALERTS_SECRET is set: there is no such file"),
    ],
)
def test_a_setting_that_is_wrong_is_refused_and_no_secret_shown(
    name: str, value: str, told: str
) -> None:
    with pytest.raises(SettingsError, match=told) as caught:
        settings_of(**{name: value})

    assert "secret" not in str(caught.value).replace("secret by which", "").replace("SECRET", "")
