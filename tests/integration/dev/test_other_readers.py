"""The readers that judge the service read whatever a broker takes, as it was sent."""

import pytest

from dev.kafka import Kafka
from dev.oracle.headers import headers_at
from dev.oracle.log import read_topics
from tests.support.topics.logs import make
from tests.support.topics.rawlog import GZIP, LZ4, NONE, SNAPPY, ZSTD, Raw, a_batch, send

STRANGE = b"\xff\xfe na\xefve"
NAME = STRANGE.decode(errors="surrogateescape")


@pytest.mark.parametrize("codec", [NONE, GZIP, SNAPPY, LZ4, ZSTD])
async def test_headers_whose_names_are_no_utf_8_come_with_all_others(
    kafka: Kafka, codec: int
) -> None:
    topic = make(kafka.bootstrap)
    sent = [
        Raw(b"a", b"1", [(b"plain", b"x")]),
        Raw(b"b", b"2", [(b"plain", None), (STRANGE, b"\xff"), (b"", b"")]),
        Raw(None, b"3" * 300),
        Raw(b"d", None, [(STRANGE, None)]),
    ]
    for _ in range(2):  # two batches
        await send(kafka.bootstrap, topic, a_batch(sent, codec))

    found = read_topics(kafka.bootstrap, [topic])

    assert [(record.key, record.value) for record in found] == [raw[:2] for raw in sent] * 2
    headers = [
        (("plain", b"x"),),
        (("plain", None), (NAME, b"\xff"), ("", b"")),
        (),
        ((NAME, None),),
    ]
    assert [record.headers for record in found] == headers * 2
    assert found[1].size == 2 + len(b"plain") + 2 + len(STRANGE) + 1 + 2 + 2
    with pytest.raises(LookupError, match="has no record at 8"):
        headers_at(kafka.bootstrap, topic, 0, 8)
