"""Two operators at one code: nobody overwrites what he has not seen."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from crossdock.errors import ConflictError
from crossdock.mapping.v1 import mapping_pb2
from crossdock.mapping.v1 import mapping_service_pb2 as service_pb2
from crossdock.types.v1 import types_pb2
from crossdock_hub.identity import Caller
from crossdock_hub.unit import Refused
from decisions import CARRIER, OPERATOR
from first_flow import Flow
from fixtures_hub import Lane, RunningHub
from hypothesis import given
from hypothesis import strategies as st
from story import Story, unique

SERVICE = "mapping.v1.MappingService"
STATUS = mapping_pb2.MAPPING_TOPIC_STATUS
CODE = types_pb2.NativeCode(type="I", code="QZ")
OTHER = Caller("night-shift", "OPERATOR")
MEANINGS = ("IN_TRANSIT", "DELIVERED", "OUT_FOR_DELIVERY")


def word(canonical: str, expected: int | None = None, kind: str = "ups") -> Any:
    request = service_pb2.SetMappingRequest(
        request_id=str(uuid.uuid4()), endpoint_kind=kind, topic=STATUS, native=CODE, reason="said"
    )
    request.meaning.canonical = canonical
    if expected is not None:
        request.expected_revision = expected
    return request


def taken_back(expected: int | None = None) -> Any:
    request = service_pb2.ResetMappingRequest(
        request_id=str(uuid.uuid4()), endpoint_kind="ups", topic=STATUS, native=CODE, reason="wrong"
    )
    if expected is not None:
        request.expected_revision = expected
    return request


def say(flow: Flow, request: Any, who: Caller = OPERATOR) -> Any:
    verb = type(request).__name__.removesuffix("Request")
    return flow.call(f"{SERVICE}/{verb}", request, who).row


def refusal(flow: Flow, request: Any) -> Any:
    with pytest.raises(Refused) as refused:
        say(flow, request)
    return refused.value.refusal


def test_a_word_about_what_was_not_seen_is_refused_with_what_is_there() -> None:
    """Proves that whoever read a row before another operator changed it neither overwrites nor
    resets that word, and is told what stands there, by whom, when, and why."""
    flow = Flow()
    assert say(flow, word("IN_TRANSIT", 0)).revision == 1
    say(flow, word("DELIVERED", 1), OTHER)
    for late in (word("OUT_FOR_DELIVERY", 1), taken_back(1)):
        found = refusal(flow, late)
        assert found.reason == "STALE_REVISION"
        assert found.metadata == {"expected": "1", "actual": "2"}
        for told in ("DELIVERED", "night-shift", "2025-06-15 15:0", "'said'", "read it again"):
            assert told in found.message, (told, found.message)
    assert say(flow, word("OUT_FOR_DELIVERY", 2)).meaning.canonical == "OUT_FOR_DELIVERY"
    assert not say(flow, taken_back(3)).HasField("meaning")


def test_the_first_row_of_a_code_is_not_written_twice() -> None:
    """Proves that 0 means that there was no row, so that of two who both saw none one is told, and
    that without an expected revision the last word holds, as it always did."""
    flow = Flow()
    say(flow, word("IN_TRANSIT", 0))
    assert "IN_TRANSIT" in refusal(flow, word("DELIVERED", 0)).message
    assert say(flow, word("DELIVERED")).meaning.canonical == "DELIVERED"


def test_a_default_that_changed_is_told_with_its_version() -> None:
    """Proves that a default told meanwhile, or taken back, is named as what stands there."""
    flow = Flow()
    file = service_pb2.PublishDefaultMappingsRequest(
        request_id=str(uuid.uuid4()), endpoint="ups", defaults_version="2026.3"
    )
    meaning = mapping_pb2.Meaning(canonical="DELIVERED")
    file.rows.add(topic=STATUS, native=CODE, meaning=meaning, source="a guide", confidence="H")
    flow.call(f"{SERVICE}/PublishDefaultMappings", file, CARRIER)
    message = refusal(flow, word("IN_TRANSIT", 0)).message
    assert "DELIVERED by the adapter's default of version 2026.3" in message
    say(flow, word("IN_TRANSIT", 1))
    say(flow, taken_back(2))
    assert "by the adapter's default" in refusal(flow, word("IN_TRANSIT", 2)).message


@given(st.lists(st.tuples(st.sampled_from(MEANINGS), st.integers(0, 6)), max_size=6))
def test_what_is_taken_is_what_was_seen(words: list[tuple[str, int]]) -> None:
    """Proves that of any words with an expected revision just those are taken that name the row's
    own, that each taken one adds one, and that a refused one changes nothing."""
    flow, revision, meaning = Flow(), 0, ""
    for canonical, expected in words:
        if expected == revision:
            row = say(flow, word(canonical, expected))
            revision, meaning = revision + 1, canonical
            assert (row.revision, row.meaning.canonical) == (revision, meaning)
        else:
            found = refusal(flow, word(canonical, expected))
            assert found.metadata["actual"] == str(revision)
            assert (meaning or "no meaning") in found.message


async def test_over_the_wire_a_stale_word_is_a_conflict(hub: RunningHub, lane: Lane) -> None:
    """Proves that the refusal reaches a caller as ConflictError, and that a repeated request gets
    its first answer instead of being stale by itself."""
    kind = unique("kind").lower().replace("-", "_")
    async with Story(hub, lane) as story:
        first = word("IN_TRANSIT", 0, kind)
        row = (await story.operator.mappings.SetMapping(first)).row
        assert (await story.operator.mappings.SetMapping(first)).row == row
        with pytest.raises(ConflictError, match="IN_TRANSIT"):
            await story.operator.mappings.SetMapping(word("DELIVERED", 0, kind))
