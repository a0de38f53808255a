"""Rows of the mapping service, and what waits for codes, as messages of the contract; pure."""

from __future__ import annotations

from crossdock.mapping.v1 import mapping_pb2

from crossdock_hub.objects.mappings import Unmapped, topic_value
from crossdock_hub.objects.resources import stamp
from crossdock_hub.objects.unsent_words import UnsentWord
from crossdock_hub.records import MappingRecord, UnmappedCount


def row_message(record: MappingRecord) -> mapping_pb2.MappingRow:
    """A row with its default and what the deployment says."""
    message = mapping_pb2.MappingRow(
        endpoint_kind=record.endpoint_kind,
        topic=topic_value(record.topic),
        defaults_version=record.shipped_version,
        revision=record.revision,
    )
    message.native.type, message.native.code = record.native_type, record.native_code
    if record.shipped:
        message.default_mapping.ParseFromString(record.shipped)
    if record.deployment:
        message.deployment.ParseFromString(record.deployment)
    if record.canonical:
        message.meaning.canonical = record.canonical
        message.meaning.exception_reason = record.exception_reason
        message.meaning.preferred = record.preferred
        message.origin = (
            mapping_pb2.MAPPING_ORIGIN_DEPLOYMENT
            if record.deployment
            else mapping_pb2.MAPPING_ORIGIN_DEFAULT
        )
    return message


def row_for_endpoint(record: MappingRecord) -> mapping_pb2.MappingRow:
    """A row as endpoints see it: who said something here, and why, is between operators."""
    message = row_message(record)
    message.deployment.ClearField("reason")
    message.deployment.ClearField("operator")
    if not record.deployment:
        message.ClearField("deployment")
    return message


def unmapped_message(
    count: UnmappedCount, unmapped: Unmapped, mapped_since: bool
) -> mapping_pb2.UnmappedCode:
    """Codes that came without a row, at one endpoint."""
    message = mapping_pb2.UnmappedCode(
        endpoint_kind=unmapped.endpoint_kind,
        topic=topic_value(unmapped.topic),
        endpoint=count.endpoint,
        quarantined=count.facts,
        mapped_since=mapped_since,
    )
    for code in unmapped.codes:
        message.native_codes.add(type=code.type, code=code.code)
    stamp(message.first_time, count.first_at)
    stamp(message.last_time, count.last_at)
    return message


def unsent_message(
    count: UnmappedCount, word: UnsentWord, mapped_since: bool
) -> mapping_pb2.UnmappedCode:
    """A word that was to be sent and has no code, at one endpoint."""
    message = mapping_pb2.UnmappedCode(
        endpoint_kind=word.endpoint_kind,
        topic=topic_value(word.topic),
        endpoint=count.endpoint,
        canonical=word.canonical,
        parked_deliveries=count.facts,
        mapped_since=mapped_since,
    )
    for type_ in word.types:
        message.native_codes.add(type=type_)
    stamp(message.first_time, count.first_at)
    stamp(message.last_time, count.last_at)
    return message
