from app import topics
from app.config import Settings
from tables.home.changelog import MAX_BATCH_BYTES, MAX_DEAD_LETTER_BYTES


def test_topics_take_the_largest_batch_that_the_service_sends() -> None:
    assert topics.LARGEST_BATCH_BYTES == MAX_BATCH_BYTES
    assert topics.CHANGELOG_MAX_BYTES >= MAX_BATCH_BYTES
    assert topics.DLQ_MAX_BYTES > MAX_DEAD_LETTER_BYTES > topics.SOURCE_MAX_BYTES


def test_what_check_refuses_create_never_makes() -> None:
    for replication in (1, 3):
        for topic in topics.desired(Settings(replication=replication)):
            assert all(need.holds(topic.config[need.name]) for need in topic.needs), topic.name


def test_three_copies_are_written_to_two_before_a_write_is_acknowledged() -> None:
    for topic in topics.desired(Settings(replication=3)):
        assert topic.config["min.insync.replicas"] == "2"
