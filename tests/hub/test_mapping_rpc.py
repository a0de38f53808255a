"""The mapping service over gRPC: rows, history, coverage, and a backfill of more than a page."""

from __future__ import annotations

import time
import uuid
from typing import Any

import pytest
from crossdock.client import HubClient
from crossdock.delivery.v1 import operator_word_pb2
from crossdock.endpoint.v1 import endpoint_pb2, endpoint_service_pb2
from crossdock.errors import (
    AlreadyUsedError,
    InvalidRequestError,
    NotAllowedError,
    NotFoundError,
)
from crossdock.mapping.v1 import mapping_pb2
from crossdock.mapping.v1 import mapping_service_pb2 as service_pb2
from crossdock.types.v1 import types_pb2
from fixtures_hub import Lane, RunningHub
from fixtures_nats import eventually
from story import Story, label, scan, scans, unique

HELD = types_pb2.FACT_OUTCOME_HELD
STATUS = mapping_pb2.MAPPING_TOPIC_STATUS


def native(code: str) -> types_pb2.NativeCode:
    return types_pb2.NativeCode(type="I", code=code)


def coded(number: str, seconds: float, code: str) -> Any:
    event = scan(number, "UNKNOWN", seconds)
    event.status_code = code
    event.native_codes.append(native(code))
    return event


async def register(carrier: HubClient, endpoint: str, kind: str) -> None:
    manifest = endpoint_pb2.Manifest(adapter=kind)
    await carrier.endpoints.RegisterEndpoint(
        endpoint_service_pb2.RegisterEndpointRequest(
            request_id=str(uuid.uuid4()), endpoint=endpoint, manifest=manifest
        )
    )


async def publish(carrier: HubClient, endpoint: str, **meanings: str) -> int:
    request = service_pb2.PublishDefaultMappingsRequest(
        request_id=str(uuid.uuid4()), endpoint=endpoint, defaults_version="1"
    )
    for code, canonical in meanings.items():
        meaning = mapping_pb2.Meaning(canonical=canonical)
        request.rows.add(
            topic=STATUS, native=native(code), meaning=meaning, source="the test", confidence="H"
        )
    return (await carrier.mappings.PublishDefaultMappings(request)).changed


async def set_row(operator: HubClient, kind: str, code: str, canonical: str) -> Any:
    request = service_pb2.SetMappingRequest(
        request_id=str(uuid.uuid4()),
        endpoint_kind=kind,
        topic=STATUS,
        native=native(code),
        meaning=mapping_pb2.Meaning(canonical=canonical),
        reason="the carrier said so",
    )
    return (await operator.mappings.SetMapping(request)).row


async def version_of(carrier: HubClient, endpoint: str) -> int:
    request = endpoint_service_pb2.HeartbeatRequest(endpoint=endpoint)
    return (await carrier.endpoints.Heartbeat(request)).mapping_version


async def backfill(operator: HubClient, kind: str, size: int) -> tuple[dict[str, int], int]:
    """What became of all, and how many pages it took."""
    found: dict[str, int] = {}
    token, pages = "", 0
    while True:
        request = service_pb2.BackfillMappingsRequest(
            request_id=str(uuid.uuid4()),
            endpoint_kind=kind,
            page_size=size,
            page_token=token,
            reason="mapped",
        )
        answer = await operator.mappings.BackfillMappings(request)
        for name in ("examined", "applied", "unmapped", "held"):
            found[name] = found.get(name, 0) + getattr(answer, name)
        token, pages = answer.next_page_token, pages + 1
        if not token:
            return found, pages


async def test_rows_are_listed_with_their_version_and_history(hub: RunningHub, lane: Lane) -> None:
    """Proves that a heartbeat tells each change, that pages hold every row once, and that one row
    shows its default, the deployment's word and everything that was said."""
    kind = unique("kind").lower().replace("-", "_")
    async with Story(hub, lane) as story:
        await register(story.carrier, lane.carrier, kind)
        before = await version_of(story.carrier, lane.carrier)
        assert await publish(story.carrier, lane.carrier, AR="IN_TRANSIT", OT="DELIVERED") == 2
        assert await publish(story.carrier, lane.carrier, AR="IN_TRANSIT", OT="DELIVERED") == 0
        told = await version_of(story.carrier, lane.carrier)
        assert told > before
        await set_row(story.operator, kind, "OT", "OUT_FOR_DELIVERY")
        assert await version_of(story.carrier, lane.carrier) == told + 1
        rows, token = [], ""
        while True:
            request = service_pb2.ListMappingsRequest(
                endpoint_kind=kind, page_size=1, page_token=token
            )
            page = await story.carrier.mappings.ListMappings(request)
            assert page.mapping_version == told + 1
            rows += page.rows
            token = page.next_page_token
            if not token:
                break
        assert [(row.native.code, row.meaning.canonical) for row in rows] == [
            ("AR", "IN_TRANSIT"),
            ("OT", "OUT_FOR_DELIVERY"),
        ]
        asked = service_pb2.GetMappingRequest(endpoint_kind=kind, topic=STATUS, native=native("OT"))
        one = await story.operator.mappings.GetMapping(asked)
        asked.native.code = "ZZ"
        with pytest.raises(NotFoundError):
            await story.operator.mappings.GetMapping(asked)
    assert one.row.default_mapping.meaning.canonical == "DELIVERED"
    (word,) = one.words
    assert word.verb == operator_word_pb2.OPERATOR_VERB_MAP
    assert word.reason == "the carrier said so"


async def test_an_endpoint_sees_its_own_kind_only(hub: RunningHub, lane: Lane) -> None:
    """Proves that an adapter reads the rows of its kind, whatever it asks for, and not who said so
    and why; and that an operator reads all of it."""
    mine, other = (unique(name).lower() for name in ("mine", "other"))
    async with Story(hub, lane) as story:
        await register(story.carrier, lane.carrier, mine)
        await publish(story.carrier, lane.carrier, AR="IN_TRANSIT")
        await set_row(story.operator, mine, "QQ", "DELIVERED")
        await set_row(story.operator, other, "QQ", "RETURNED")
        page = await story.carrier.mappings.ListMappings(service_pb2.ListMappingsRequest())
        assert [row.endpoint_kind for row in page.rows] == [mine, mine]
        assert page.mapping_version == await version_of(story.carrier, lane.carrier)
        said = next(row for row in page.rows if row.native.code == "QQ")
        assert said.origin == mapping_pb2.MAPPING_ORIGIN_DEPLOYMENT
        assert said.deployment.meaning.canonical == "DELIVERED"
        assert (said.deployment.reason, said.deployment.operator) == ("", "")
        foreign = service_pb2.ListMappingsRequest(endpoint_kind=other)
        with pytest.raises(NotAllowedError, match="is not the caller's"):
            await story.carrier.mappings.ListMappings(foreign)
        (row,) = (await story.operator.mappings.ListMappings(foreign)).rows
        assert row.deployment.reason == "the carrier said so"


async def test_what_a_kind_with_a_hyphen_quarantines_can_be_ended(
    hub: RunningHub, lane: Lane
) -> None:
    """Proves that every name that an adapter may register under can be named to the mapping
    service: its rows are set, shown and reset, and its quarantine is counted and gone through."""
    kind = f"Vendor {unique('Ltd-')}."
    async with Story(hub, lane) as story:
        await register(story.carrier, lane.carrier, kind)
        await story.carrier.tracking.ReportTrackingEvents(scans(coded("1Z-no", time.time(), "QQ")))
        await set_row(story.operator, kind, "ZZ", "DELIVERED")
        asked = service_pb2.GetMappingRequest(endpoint_kind=kind, topic=STATUS, native=native("ZZ"))
        assert (await story.operator.mappings.GetMapping(asked)).row.endpoint_kind == kind
        listed = service_pb2.ListMappingsRequest(endpoint_kind=kind)
        assert len((await story.operator.mappings.ListMappings(listed)).rows) == 1
        coverage = service_pb2.GetMappingCoverageRequest(endpoint_kind=kind)
        found = await story.operator.mappings.GetMappingCoverage(coverage)
        assert [each.quarantined for each in found.unmapped_codes] == [1]
        told, _ = await backfill(story.operator, kind, 10)
        assert (told["examined"], told["unmapped"]) == (1, 1)
        reset = service_pb2.ResetMappingRequest(
            request_id=str(uuid.uuid4()),
            endpoint_kind=kind,
            topic=STATUS,
            native=native("ZZ"),
            reason="the carrier was wrong",
        )
        assert not (await story.operator.mappings.ResetMapping(reset)).row.HasField("meaning")


async def test_coverage_names_what_has_no_row_until_it_is_mapped(
    hub: RunningHub, lane: Lane
) -> None:
    """Proves that quarantined scans are counted by endpoint and code, that mapping one code writes
    its scans and no other's, and that the parcel moves as they say."""
    number, start = unique("1Z"), time.time() - 600
    kind = unique("kind").lower().replace("-", "_")
    async with Story(hub, lane) as story:
        await register(story.carrier, lane.carrier, kind)
        await publish(story.carrier, lane.carrier, AR="IN_TRANSIT")
        packed = await story.packed()
        await story.manifest(packed.id)
        await story.carrier.labels.CreateLabel(label(packed.id, packed.packages[0].id, number))
        answer = await story.carrier.tracking.ReportTrackingEvents(
            scans(
                coded(number, start, "AR"),
                coded(number, start + 60, "QQ"),
                coded(number, start + 120, "QQ"),
                coded(number, start + 180, "ZZ"),
            )
        )
        assert [r.outcome == HELD for r in answer.receipts] == [False, True, True, True]
        request = service_pb2.GetMappingCoverageRequest(endpoint_kind=kind)
        found = await story.operator.mappings.GetMappingCoverage(request)
        (topic,) = found.topics
        assert (topic.rows, topic.deployment_rows) == (1, 0)
        assert [
            (each.endpoint, each.native_codes[0].code, each.quarantined, each.mapped_since)
            for each in found.unmapped_codes
        ] == [(lane.carrier, "QQ", 2, False), (lane.carrier, "ZZ", 1, False)]
        await set_row(story.operator, kind, "QQ", "OUT_FOR_DELIVERY")

        async def written() -> bool:
            left = await story.operator.mappings.GetMappingCoverage(request)
            return [each.native_codes[0].code for each in left.unmapped_codes] == ["ZZ"]

        await eventually(written, "driving what waited for QQ")
    (milestone,) = hub.query("SELECT milestone FROM parcels WHERE tracking_number = ?", number)
    assert milestone[0] == "OUT_FOR_DELIVERY"


async def test_a_backfill_takes_more_than_a_page(hub: RunningHub, lane: Lane) -> None:
    """Proves that a backfill reads past what still has no row, page after page, writes the rest
    once, and that a second one leaves everything as it is."""
    number, start = unique("1Z"), time.time() - 600
    kind = unique("kind").lower().replace("-", "_")
    async with Story(hub, lane) as story:
        await register(story.carrier, lane.carrier, kind)
        packed = await story.packed()
        await story.manifest(packed.id)
        await story.carrier.labels.CreateLabel(label(packed.id, packed.packages[0].id, number))
        told = [coded(number, start + n, "QQ" if n % 2 else "ZZ") for n in range(30)]
        await story.carrier.tracking.ReportTrackingEvents(scans(*told))
        found, pages = await backfill(story.operator, kind, 7)
        assert (found["examined"], found["unmapped"], pages) == (30, 30, 5)
        await set_row(story.operator, kind, "QQ", "IN_TRANSIT")

        async def settled() -> bool:
            found, _ = await backfill(story.operator, kind, 7)
            return found == {"examined": 15, "applied": 0, "unmapped": 15, "held": 0}

        await eventually(settled, "everything with a row is written")
    assert hub.count("scans", f"tracking_number = '{number}'") == 15


async def test_a_backfill_is_answered_once_for_its_request(hub: RunningHub, lane: Lane) -> None:
    """Proves that a repeated request gets the first answer and no second word, that its id is not
    taken for another one, that a page only fits its own query, and that what was said is read."""
    kind = unique("kind").lower()
    async with Story(hub, lane) as story:
        await register(story.carrier, lane.carrier, kind)
        number = unique("1Z")
        told = [coded(number, time.time() - n, code) for n, code in enumerate(("QQ", "ZZ"))]
        await story.carrier.tracking.ReportTrackingEvents(scans(*told))
        await set_row(story.operator, kind, "QQ", "IN_TRANSIT")
        request = service_pb2.BackfillMappingsRequest(
            request_id=str(uuid.uuid4()), endpoint_kind=kind, page_size=1, reason="mapped"
        )
        coverage = service_pb2.GetMappingCoverageRequest(endpoint_kind=kind)

        async def driven() -> bool:
            found = await story.operator.mappings.GetMappingCoverage(coverage)
            return [each.native_codes[0].code for each in found.unmapped_codes] == ["ZZ"]

        await eventually(driven, "driving what waited for QQ")
        await story.carrier.tracking.ReportTrackingEvents(
            scans(*(coded(number, time.time() - n, "Z2") for n in range(10, 12)))
        )
        first = await story.operator.mappings.BackfillMappings(request)
        assert (first.examined, first.unmapped, bool(first.next_page_token)) == (1, 1, True)
        await set_row(story.operator, kind, "ZZ", "IN_TRANSIT")
        assert await story.operator.mappings.BackfillMappings(request) == first
        other = service_pb2.BackfillMappingsRequest()
        other.CopyFrom(request)
        other.page_size = 2
        with pytest.raises(AlreadyUsedError):
            await story.operator.mappings.BackfillMappings(other)
        other.request_id = str(uuid.uuid4())
        other.page_token, other.topic = first.next_page_token, STATUS
        with pytest.raises(InvalidRequestError, match="belongs to another query"):
            await story.operator.mappings.BackfillMappings(other)
        other.topic = mapping_pb2.MAPPING_TOPIC_UNSPECIFIED
        assert (await story.operator.mappings.BackfillMappings(other)).examined == 2
