"""What Kafka does not let this worker's user do: no further try helps, one sentence does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from aiokafka.errors import TopicAuthorizationFailedError, TransactionalIdAuthorizationFailed

from tables.tasks import Final


class RightMissing(Final):
    """Kafka refuses this worker's user what it cannot work without; says what to grant."""


MAY_NOT_READ = (
    "Kafka does not let this worker read its topics: grant its user READ and DESCRIBE on the "
    "sources and the changelog."
)


@contextmanager
def reading() -> Iterator[None]:
    """Around questions about the sources and the changelog; raises RightMissing."""
    try:
        yield
    except TopicAuthorizationFailedError as error:
        raise RightMissing(MAY_NOT_READ) from error


@contextmanager
def writing(transactional_id: str, *topics: str) -> Iterator[None]:
    """Around a transaction of this id that writes these topics; raises RightMissing."""
    try:
        yield
    except TransactionalIdAuthorizationFailed as error:
        raise RightMissing(
            f"Kafka does not let this worker write by the transactional id {transactional_id}: "
            "grant its user WRITE on it, and on those of the other partitions."
        ) from error
    except TopicAuthorizationFailedError as error:
        raise RightMissing(
            f"Kafka does not let this worker write to {' or '.join(topics)}: grant its user "
            "WRITE there."
        ) from error
