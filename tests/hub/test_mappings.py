"""What codes mean: rows decide scans, and what has no row waits."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any

import pytest
from crossdock.mapping.v1 import mapping_pb2
from crossdock.mapping.v1 import mapping_service_pb2 as service_pb2
from crossdock.shipment.v1 import shipment_pb2
from crossdock.tracking.v1 import tracking_pb2
from crossdock.types.v1 import types_pb2
from crossdock_hub.backfilling import backfill
from crossdock_hub.identity import Caller
from crossdock_hub.objects.mappings import (
    AWAITS_BYTES_MAX,
    Code,
    Unmapped,
    awaits_of,
    unmapped_of,
    waiting_for,
)
from crossdock_hub.unit import Refused
from decisions import CARRIER, OPERATOR, outcome
from first_flow import Flow, scan, seconds
from hypothesis import example, given
from hypothesis import strategies as st

SERVICE = "mapping.v1.MappingService"
STATUS = mapping_pb2.MAPPING_TOPIC_STATUS
NO_WORDS = st.characters(codec="utf-8", exclude_characters="\0")


def native(code: str, type_: str = "I") -> types_pb2.NativeCode:
    return types_pb2.NativeCode(type=type_, code=code)


def coded(
    time: int | None, *codes: str, number: str = "1Z1", signed_by: str = ""
) -> tracking_pb2.TrackingEvent:
    """A scan whose reporter does not know what its codes mean."""
    event = scan("UNKNOWN", time, number=number, code=codes[0])
    event.native_codes.extend(native(code) for code in codes)
    event.signed_by = signed_by
    return event


def set_row(flow: Flow, code: str, canonical: str, reason: str = "", *, kind: str = "ups") -> Any:
    request = service_pb2.SetMappingRequest(
        request_id=str(uuid.uuid4()),
        endpoint_kind=kind,
        topic=STATUS,
        native=native(code),
        meaning=mapping_pb2.Meaning(canonical=canonical, exception_reason=reason),
        reason="the carrier told us by telephone",
    )
    return flow.call(f"{SERVICE}/SetMapping", request, OPERATOR).row


@pytest.mark.parametrize(
    ("topic", "word", "known"),
    [
        ("STATUS", "ACTIVE", "is no milestone; there are CARRIER_ACCEPTED, DELIVERED"),
        ("ITEM_STATUS", "DELIVERED", "ACTIVE, BLOCKED, INACTIVE, PHASING_OUT"),
        ("CREDIT_STATUS", "ACTIVE", "GOOD, HOLD, PREPAID, REVIEW"),
        ("ITEM_STATUS", "UNSPECIFIED", "is no status of an item"),
        ("UNIT", "KILO", "is no code of UN/ECE Rec 20: two or three capital letters or digits"),
        ("UNIT", "K", "is no code of UN/ECE Rec 20"),
    ],
)
def test_a_word_is_one_of_its_topic(topic: str, word: str, known: str) -> None:
    """Proves that a meaning which nobody could read by is refused with the words that there are."""
    request = service_pb2.SetMappingRequest(
        request_id=str(uuid.uuid4()),
        endpoint_kind="legacy-soap",
        topic=mapping_pb2.MappingTopic.Value(f"MAPPING_TOPIC_{topic}"),
        native=native("Z", ""),
        meaning=mapping_pb2.Meaning(canonical=word),
        reason="the ERP's list says so",
    )
    with pytest.raises(Refused) as refused:
        Flow().call(f"{SERVICE}/SetMapping", request, OPERATOR)
    (violation,) = refused.value.refusal.violations
    assert violation.field == "meaning" and known in violation.description


def file(version: str, endpoint: str = "ups", **meanings: str) -> Any:
    """A data file as an adapter tells it."""
    request = service_pb2.PublishDefaultMappingsRequest(
        request_id=str(uuid.uuid4()), endpoint=endpoint, defaults_version=version
    )
    for code, canonical in meanings.items():
        request.rows.add(
            topic=STATUS,
            native=native(code),
            meaning=mapping_pb2.Meaning(canonical=canonical),
            source="the test",
            confidence="H",
        )
    return request


def publish(flow: Flow, version: str, **meanings: str) -> int:
    """Tell the defaults of the carrier's adapter. Returns how many rows changed."""
    request = file(version, **meanings)
    changed: int = flow.call(f"{SERVICE}/PublishDefaultMappings", request, CARRIER).changed
    return changed


def backfilled(flow: Flow) -> dict[str, int]:
    """Everything that waits for a code of the carrier, decided again in the order it came."""
    ids = [record.id for record in flow.held() if unmapped_of(record.awaits)]
    found = flow.decide(
        OPERATOR, "backfill", lambda unit: backfill(unit, ids=ids, scope="ups", reason="mapped")
    )
    return dict(found)


def milestone(flow: Flow, number: str = "1Z1") -> str:
    return str(flow.records["parcel", "UPSN", number].milestone)


CODES = st.builds(Code, st.text(NO_WORDS, max_size=32), st.text(NO_WORDS, max_size=64))


@given(
    st.from_regex("[a-z0-9_]{1,20}", fullmatch=True),
    st.sampled_from(["STATUS", "UNIT"]),
    st.lists(CODES, min_size=1, max_size=8).map(tuple),
)
@example("ups", "STATUS", (Code("a/b", "c|d"), Code("", "%2F"), Code("", "")))
def test_what_a_fact_waits_for_is_read_as_it_was_written(
    kind: str, topic: str, codes: tuple[Code, ...]
) -> None:
    """Proves that no letter of a vendor's code is lost or taken for another code's in the text
    under which a fact is held, and that a row for any of the codes finds it."""
    unmapped = Unmapped(kind, topic, codes)
    awaits = awaits_of(unmapped)
    found = unmapped_of(awaits)
    assert found is not None
    assert found == replace(unmapped, codes=codes[: len(found.codes)])
    assert found == unmapped or len(awaits_of(replace(unmapped, codes=codes))) > 1_200
    for row in found.row_ids():
        assert waiting_for([awaits, "parcel:UPSN/1Z1"], frozenset({f"mapping:{row}"})) == [awaits]
    assert waiting_for([awaits], frozenset({"mapping:other/STATUS/a/b"})) == []


def test_what_a_fact_waits_for_fits_an_index() -> None:
    """Proves that the longest codes that the contract allows are held under a text that
    PostgreSQL takes into an index, with the most telling codes in it."""
    codes = tuple(Code("\U0001f69a" * 32, f"{n}" + "\U0001f69a" * 63) for n in range(8))
    awaits = awaits_of(Unmapped("\U0001f69a" * 64, "STATUS", codes))
    assert len(awaits.encode()) <= AWAITS_BYTES_MAX
    found = unmapped_of(awaits)
    assert found is not None
    assert found.codes == codes[:1]


def test_another_kind_s_scan_of_the_same_is_kept_too() -> None:
    """Proves that what two vendors report of one parcel, each with codes of its own, is two facts:
    a row for the codes of the second lets it go on, whatever became of the first."""
    flow = Flow()
    flow.labelled()
    broker = Caller("broker", "CARRIER")
    flow.employ(broker)
    event = coded(flow.now, "QQ")
    (mine,) = flow.report(event)
    (other,) = flow.report(event, caller=broker)
    assert [outcome(mine), outcome(other)] == ["HELD", "HELD"]
    assert mine.held_fact_id != other.held_fact_id
    assert [fact.endpoint for fact in flow.held()] == ["ups", "broker"]
    set_row(flow, "QQ", "DELIVERED", kind="broker")
    assert len(flow.drive()) == 1
    assert milestone(flow) == "DELIVERED"
    assert [fact.endpoint for fact in flow.held()] == ["ups"]


def test_the_first_code_with_a_row_decides() -> None:
    """Proves that a scan means what the row of its first known code says, reason and return leg
    included, whatever the reporter wrote, and that the codes are not kept with it."""
    flow = Flow()
    flow.labelled()
    publish(flow, "1", AR="IN_TRANSIT", RS="RETURNING")
    set_row(flow, "C1", "IN_TRANSIT", "CUSTOMS_HOLD")
    said = coded(flow.now, "QQ", "C1", "RS")
    said.milestone = shipment_pb2.MILESTONE_DELIVERED
    assert [outcome(receipt) for receipt in flow.report(said)] == ["APPLIED"]
    kept = tracking_pb2.TrackingEvent.FromString(flow.scans[-1].body)
    assert kept.milestone == shipment_pb2.MILESTONE_IN_TRANSIT
    assert (kept.exception_reason, kept.return_leg) == ("CUSTOMS_HOLD", False)
    assert not kept.native_codes
    flow.report(coded(flow.now + seconds(1), "RS"))
    assert tracking_pb2.TrackingEvent.FromString(flow.scans[-1].body).return_leg
    assert milestone(flow) == "RETURNING"


def test_a_deployment_goes_before_the_default_and_back() -> None:
    """Proves that an operator's row goes before the data file's, stays when the file changes, and
    that its withdrawal brings the newest default back; each with who, why and which revision."""
    flow = Flow()
    flow.labelled()
    assert publish(flow, "1", AR="IN_TRANSIT", XX="DELIVERED") == 2
    assert publish(flow, "1", AR="IN_TRANSIT", XX="DELIVERED") == 0
    row = set_row(flow, "AR", "CARRIER_ACCEPTED")
    assert (row.origin, row.revision) == (mapping_pb2.MAPPING_ORIGIN_DEPLOYMENT, 2)
    assert row.deployment.operator == "operator"
    assert publish(flow, "2", AR="OUT_FOR_DELIVERY") == 2
    flow.report(coded(flow.now, "AR"))
    assert milestone(flow) == "CARRIER_ACCEPTED"
    request = service_pb2.ResetMappingRequest(
        request_id=str(uuid.uuid4()),
        endpoint_kind="ups",
        topic=STATUS,
        native=native("AR"),
        reason="the file is right by now",
    )
    row = flow.call(f"{SERVICE}/ResetMapping", request, OPERATOR).row
    assert (row.origin, row.defaults_version) == (mapping_pb2.MAPPING_ORIGIN_DEFAULT, "2")
    flow.report(coded(flow.now + seconds(1), "AR"))
    assert milestone(flow) == "OUT_FOR_DELIVERY"
    # The default that the file no longer has.
    assert [outcome(r) for r in flow.report(coded(flow.now, "XX"))] == ["HELD"]
    words = [record for key, record in flow.records.items() if key[0] == "operator_word"]
    assert [word.verb for word in words] == ["MAP", "UNMAP"]
    assert words[0].change == "from IN_TRANSIT to CARRIER_ACCEPTED, revision 2"


def test_a_code_without_a_row_is_kept_once_and_waits() -> None:
    """Proves that a scan whose code has no row moves nothing and is neither dropped nor guessed: it
    is held with its raw pair, once however often it is told, and its neighbours are written."""
    flow = Flow()
    flow.labelled()
    publish(flow, "1", AR="IN_TRANSIT")
    unknown = coded(flow.now, "QQ", "Q2")
    receipts = flow.report(unknown, coded(flow.now + 1, "AR"), unknown)
    assert [outcome(receipt) for receipt in receipts] == ["HELD", "APPLIED", "HELD"]
    (again,) = flow.report(unknown)
    assert again.held_fact_id == receipts[0].held_fact_id == receipts[2].held_fact_id
    assert again.held_because.reason == "UNMAPPED_CODE"
    (fact,) = flow.held()
    assert fact.awaits == "code:ups/STATUS/I/QQ|I/Q2"
    assert flow.counters["unmapped_fact", "ups", "STATUS"] == 1
    assert len(flow.scans) == 1


@pytest.mark.parametrize("code", ["QQ", "Q2"])
def test_a_row_for_any_of_its_codes_lets_a_fact_go_on(code: str) -> None:
    """Proves that what waits is written when a row comes for whichever of its codes."""
    flow = Flow()
    flow.labelled()
    flow.report(coded(flow.now, "QQ", "Q2"))
    set_row(flow, code, "OUT_FOR_DELIVERY")
    assert len(flow.drive()) == 1
    assert milestone(flow) == "OUT_FOR_DELIVERY"
    assert flow.held() == []


def test_a_fact_goes_on_to_wait_for_what_is_missing_next() -> None:
    """Proves that a scan of an unknown parcel with an unknown code waits for both in turn."""
    flow = Flow()
    (receipt,) = flow.report(coded(flow.now, "QQ"))
    assert outcome(receipt) == "HELD"
    set_row(flow, "QQ", "DELIVERED")
    assert flow.drive() == []
    assert [fact.awaits for fact in flow.held()] == ["parcel:UPSN/1Z1"]
    flow.labelled()
    flow.drive()
    assert milestone(flow) == "DELIVERED"


def test_backfill_says_what_became_of_each() -> None:
    """Proves that a backfill writes what has a row, leaves what has none untouched, and keeps the
    operator's word; a second one finds nothing to do."""
    flow = Flow()
    flow.labelled()
    flow.report(coded(flow.now, "QQ"))
    flow.report(coded(flow.now, "ZZ"))
    flow.report(coded(flow.now, "QQ", number="1Z-nobody"))
    set_row(flow, "QQ", "IN_TRANSIT")
    assert backfilled(flow) == {"applied": 1, "held": 1, "unmapped": 1}
    assert [fact.drives for fact in flow.held()] == [0, 1]
    assert backfilled(flow) == {"unmapped": 1}
    words = [record for key, record in flow.records.items() if key[0] == "operator_word"]
    assert [word.change for word in words if word.verb == "BACKFILL"] == [
        "1 applied, 1 held, 1 unmapped"
    ]


@pytest.mark.parametrize("canonical", ["UNKNOWN", "UNSPECIFIED", "SOMEWHERE"])
def test_a_meaning_that_is_none_is_refused(canonical: str) -> None:
    """Proves that a status can only mean a milestone, and that the refusal names them."""
    with pytest.raises(Refused) as refused:
        set_row(Flow(), "QQ", canonical)
    assert refused.value.refusal.reason == "INVALID_FIELD"
    assert "OUT_FOR_DELIVERY" in refused.value.refusal.message
