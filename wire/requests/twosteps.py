"""The requests of a transaction that Kafka 4 ends in two steps: KIP-890's second part.

A broker that is sent records adds their partition to the transaction by itself (Produce 12), and
the answer to EndTxn 5 brings another epoch, now and then another producer id: each transaction
has its own, so that nothing late of one can land in the next. aiokafka 0.14.0 speaks Produce up
to 7 and EndTxn 0. So here are those requests, and the one that asks whether the cluster has
agreed on them (ApiVersions 3), over aiokafka's connections, in the words of Kafka's
`ProduceRequest.json`, `EndTxnRequest.json`, `ApiVersionsRequest.json` and their responses.

`tests/integration/wire/test_twosteps.py` says what broke after an upgrade.
"""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from typing import Any, TypeAlias

from aiokafka.errors import IncompatibleBrokerVersion
from aiokafka.protocol.api import Request, RequestStruct, Response, ResponseHeader_v0
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.transaction import EndTxnRequest
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactBytes,
    CompactString,
    Int16,
    Int32,
    Int64,
    Schema,
    TaggedFields,
)

#: By API key, the lowest and highest version that a connection's broker speaks.
_Versions: TypeAlias = Mapping[int, tuple[int, int]]
#: What brokers have agreed on, as they name it; from 2 on a transaction ends in two steps.
_FEATURE, _TWO_STEPS = "transaction.version", 2
#: Number of the tagged field of an answer to ApiVersions 3 that tells it.
_FINALIZED = 2
_NO_TAGS: dict[int, bytes] = {}


class _ProduceResponse_v12(Response):  # type: ignore[misc]  # named as aiokafka's
    API_KEY = 0
    API_VERSION = 12
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(
                ("topic", CompactString()),
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32),
                        ("error_code", Int16),
                        ("offset", Int64),
                        ("log_append_time_ms", Int64),
                        ("log_start_offset", Int64),
                        (
                            "record_errors",
                            CompactArray(
                                ("batch_index", Int32),
                                ("message", CompactString()),
                                ("tags", TaggedFields),
                            ),
                        ),
                        ("error_message", CompactString()),
                        ("tags", TaggedFields),
                    ),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("throttle_time_ms", Int32),
        ("tags", TaggedFields),
    )


class _ProduceRequest_v12(RequestStruct):  # type: ignore[misc]
    API_KEY = 0
    API_VERSION = 12
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _ProduceResponse_v12
    SCHEMA = Schema(
        ("transactional_id", CompactString()),
        ("required_acks", Int16),
        ("timeout", Int32),
        (
            "topics",
            CompactArray(
                ("topic", CompactString()),
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32), ("records", CompactBytes), ("tags", TaggedFields)
                    ),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _EndTxnResponse_v5(Response):  # type: ignore[misc]
    API_KEY = 26
    API_VERSION = 5
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("error_code", Int16),
        ("producer_id", Int64),
        ("producer_epoch", Int16),
        ("tags", TaggedFields),
    )


class _EndTxnRequest_v5(RequestStruct):  # type: ignore[misc]
    API_KEY = 26
    API_VERSION = 5
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _EndTxnResponse_v5
    SCHEMA = Schema(
        ("transactional_id", CompactString()),
        ("producer_id", Int64),
        ("producer_epoch", Int16),
        ("is_commit", Boolean),
        ("tags", TaggedFields),
    )


class _ApiVersionsResponse_v3(Response):  # type: ignore[misc]
    API_KEY = 18
    API_VERSION = 3
    SCHEMA = Schema(
        ("error_code", Int16),
        (
            "api_versions",
            CompactArray(
                ("api_key", Int16),
                ("min_version", Int16),
                ("max_version", Int16),
                ("tags", TaggedFields),
            ),
        ),
        ("throttle_time_ms", Int32),
        ("tags", TaggedFields),
    )


class _ApiVersionsRequest_v3(RequestStruct):  # type: ignore[misc]
    API_KEY = 18
    API_VERSION = 3
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _ApiVersionsResponse_v3
    SCHEMA = Schema(
        ("client_software_name", CompactString()),
        ("client_software_version", CompactString()),
        ("tags", TaggedFields),
    )

    def parse_response_header(self, read_buffer: BytesIO | bytes) -> ResponseHeader_v0:
        """Without tags, whatever the version: who asks does not know yet what the broker speaks."""
        return ResponseHeader_v0.decode(read_buffer)


class FeaturesRequest(Request[_ApiVersionsRequest_v3]):  # type: ignore[misc]
    """What has the cluster agreed on? `ends_in_two_steps` reads the answer."""

    API_KEY = 18

    def build(self, request_struct_class: type[_ApiVersionsRequest_v3]) -> _ApiVersionsRequest_v3:
        """See aiokafka's `Request`."""
        return request_struct_class("onhand", "1", _NO_TAGS)


class ProduceAndAdd(ProduceRequest):  # type: ignore[misc]
    """Records of a transaction; their partitions join it."""

    def prepare(self, versions: _Versions) -> _ProduceRequest_v12:
        """See aiokafka's `Request`."""
        _demand(versions, _ProduceRequest_v12)
        topics = [
            (topic, [(partition, data, _NO_TAGS) for partition, data in its], _NO_TAGS)
            for topic, its in self._topics
        ]
        return _ProduceRequest_v12(
            self._transactional_id, self._required_acks, self._timeout, topics, _NO_TAGS
        )


class EndAndMoveOn(EndTxnRequest):  # type: ignore[misc]
    """End a transaction; the answer has the producer id and epoch of the next one."""

    def prepare(self, versions: _Versions) -> _EndTxnRequest_v5:
        """See aiokafka's `Request`."""
        _demand(versions, _EndTxnRequest_v5)
        return _EndTxnRequest_v5(
            self._transactional_id,
            self._producer_id,
            self._producer_epoch,
            self._transaction_result,
            _NO_TAGS,
        )


def ends_in_two_steps(answer: Any) -> bool:
    """Whether all brokers of the cluster do; `answer` is one to `FeaturesRequest`."""
    raw = answer.tags.get(_FINALIZED)
    if raw is None:
        return False
    features = CompactArray(
        ("name", CompactString()), ("highest", Int16), ("lowest", Int16), ("tags", TaggedFields)
    ).decode(BytesIO(raw))
    return any(name == _FEATURE and highest >= _TWO_STEPS for name, highest, *_ in features or ())


def _demand(versions: _Versions, wanted: type[RequestStruct]) -> None:
    """Never another version: the steps of one transaction belong together."""
    low, high = versions.get(wanted.API_KEY, (0, -1))
    if not low <= wanted.API_VERSION <= high:
        raise IncompatibleBrokerVersion(f"the broker has no {wanted.__name__}")
