"""A difference between database and bus as a message of the contract; pure."""

from __future__ import annotations

from collections.abc import Iterable

from crossdock.hub.v1 import hub_service_pb2

from crossdock_hub.reading.presenting import word_message
from crossdock_hub.records import Difference, OperatorWordRecord

PREFIX = "DIFFERENCE_KIND_"


def difference_message(
    record: Difference, words: Iterable[OperatorWordRecord]
) -> hub_service_pb2.Difference:
    """A difference with what operators said about it."""
    message = hub_service_pb2.Difference(
        kind=hub_service_pb2.DifferenceKind.Value(f"{PREFIX}{record.kind}"),
        sentence=record.sentence,
        count=record.count,
        acknowledged=record.acknowledged,
        words=map(word_message, words),
    )
    message.first_time.FromMicroseconds(record.first_at)
    message.last_time.FromMicroseconds(record.last_at)
    return message
