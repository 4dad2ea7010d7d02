"""What a person reads of an exception."""

import errno
import ssl

import pytest
from aiokafka import errors

from core.words import in_words, named_partitions, spans


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "x"), "connection refused"),
        (OSError(errno.ECONNREFUSED, "Connect call failed ('127.0.0.1', 1)"), "connection refused"),
        (OSError(-2, "Name or service not known"), "name or service not known"),
        (OSError("Multiple exceptions: [Errno 111] Connect, [Errno 111] Connect"), None),
        (TimeoutError(), "no answer in time"),
        (TimeoutError(errno.ETIMEDOUT, "x"), "connection timed out"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1)"), None),
        (errors.KafkaConnectionError("[('localhost', 9092, <AF_UNSPEC: 0>)]"), None),
        (errors.TopicAuthorizationFailedError("x"), "topic authorization failed"),
        (errors.UnknownTopicOrPartitionError(), "unknown topic or partition"),
        (errors.RequestTimedOutError(), "Kafka gave no answer in time"),
        (errors.for_code(90)("error code 90"), None),
        (errors.IllegalStateError("Closed."), "illegal state: Closed"),
        (errors.KafkaError("this worker is stopping"), "this worker is stopping"),
        (UnicodeDecodeError("utf-8", b"ab\xff", 2, 3, "x"), "it is not UTF-8, at byte 3"),
    ],
)
def test_an_error_is_told_in_words(error: Exception, words: str | None) -> None:
    said = in_words(error)

    assert words in (None, said)
    for sign in ("Errno", "[", "(", "Error", "<", "'"):
        assert sign not in said


def test_every_error_of_kafka_has_words() -> None:
    every = [e for e in vars(errors).values() if isinstance(e, type)]
    for kind in [kind for kind in every if issubclass(kind, errors.KafkaError)]:  # all but a base
        try:
            said = in_words(kind())
        except TypeError:  # wants more than we give
            continue
        assert said
        assert "Error" not in said, kind


def test_what_nobody_foresaw_is_named() -> None:
    assert in_words(KeyError("x")) == "KeyError: 'x'"
    assert in_words(ValueError()) == "ValueError"


def test_numbers_are_shown_as_people_write_them() -> None:
    assert spans([]) == "none"
    assert spans([7, 0, 1, 2, 9, 10]) == "0–2, 7, 9–10"


def test_one_partition_is_named_as_one() -> None:
    assert named_partitions([3]) == "partition 3"
    assert named_partitions([7, 0, 1]) == "partitions 0–1, 7"
