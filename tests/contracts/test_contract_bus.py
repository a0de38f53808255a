"""Subjects, partitions, ids and headers."""

from __future__ import annotations

import re
import uuid
from collections import Counter
from datetime import UTC, datetime

import pytest
from crossdock import bus
from crossdock.event.v1.event_pb2 import EventMetadata
from crossdock.order.v1.order_events_pb2 import OrderApproved
from hypothesis import given
from hypothesis import strategies as st

PRINTABLE = re.compile(r"[\x21-\x7e]*")


def approved() -> OrderApproved:
    event = OrderApproved()
    metadata = event.metadata
    metadata.id, metadata.type = "0193", "crossdock.order.v1.OrderApproved"
    metadata.object_id, metadata.revision, metadata.producer = "o-1", 3, "oms"
    metadata.correlation_id, metadata.causation_id = "o-1", "r-9"
    metadata.record_time.FromJsonString("2026-11-23T08:00:00.5Z")
    event.order.number = "ORD-1"
    return event


def test_subjects_are_the_documented_ones() -> None:
    """Proves the names that other teams subscribe to."""
    assert bus.event_subject("order.approved", 17) == "crossdock.v1.event.order.approved.17"
    assert bus.delivery_subject("netsuite") == "crossdock.v1.delivery.netsuite"
    assert bus.ask_subject("ups", "rates") == "crossdock.v1.ask.ups.rates"
    assert bus.scan_subject(0) == "crossdock.v1.scan.0"


@pytest.mark.parametrize("name", ["", "a.b", "*", ">", "a b", "ä", "A", "a\r\nb"])
def test_an_endpoint_cannot_change_the_shape_of_a_subject(name: str) -> None:
    """Proves that dots, wildcards and blanks are refused."""
    with pytest.raises(ValueError, match="subject"):
        bus.delivery_subject(name)


def test_partitions_are_known_and_even() -> None:
    """Proves FNV-1a by its published vectors, and that objects spread over all partitions."""
    assert bus.partition_of("") == 0x811C9DC5 % 64
    assert bus.partition_of("a") == 0xE40C292C % 64
    assert bus.partition_of("foobar") == 0xBF9CF968 % 64
    keys = (str(uuid.UUID(int=number << 64 | 7)) for number in range(12_800))
    spread = Counter(bus.partition_of(key) for key in keys)
    assert len(spread) == bus.PARTITIONS
    assert min(spread.values()) > 130 and max(spread.values()) < 270
    with pytest.raises(ValueError, match="64"):
        bus.event_subject("order.approved", 64)


def test_a_delivery_has_one_id_one_reference_and_a_message_id_per_dispatch() -> None:
    """Proves that ids are derived: the same work is never two deliveries."""
    event, next_event = (
        "0192e4a1-7c3b-7000-8000-000000000001",
        "0192e4a1-7c3b-7000-8000-000000000002",
    )
    one = bus.delivery_id(event, "ups", "buy_label", "p1")
    assert one == bus.delivery_id(event, "ups", "buy_label", "p1")
    others = [
        (event, "ups", "buy_label", "p2"),
        (event, "ups", "buy_labelp1", ""),
        (next_event, "ups", "buy_label", "p1"),
    ]
    assert one not in {bus.delivery_id(*other) for other in others}
    assert bus.delivery_message_id(one, 2) == f"{one}.2"
    assert re.fullmatch(r"[A-Z2-7]{20}", bus.vendor_reference(one))
    ids = [str(uuid.UUID(int=number)) for number in range(2_000)]
    assert len({bus.vendor_reference(each) for each in ids}) == 2_000


@given(
    st.lists(st.tuples(st.integers(0, 2**48 - 1), st.integers(0, 2**74 - 1)), min_size=2),
    st.text(max_size=20),
)
def test_ids_of_deliveries_follow_the_time_of_their_events(
    events: list[tuple[int, int]], item: str
) -> None:
    """Proves that what is kept by them grows at its end, and that they are UUIDs of RFC 9562."""
    made = []
    for milliseconds, rest in events:
        low = rest & (1 << 62) - 1
        event = uuid.UUID(int=milliseconds << 80 | 7 << 76 | rest >> 62 << 64 | 2 << 62 | low)
        made.append((milliseconds, bus.delivery_id(str(event), "ups", "buy_label", item)))
    for milliseconds, name in made:
        read = uuid.UUID(name)
        assert (read.version, read.variant, str(read)) == (8, uuid.RFC_4122, name)
        assert read.int >> 80 == milliseconds
    assert [m for m, _ in sorted(made, key=lambda each: each[1])] == sorted(m for m, _ in made)
    assert len({name for _, name in made}) == len(set(events))


def test_the_headers_are_cloud_events_in_binary_mode() -> None:
    """Proves every header of the contract, and that an unknown event time is left out."""
    event = approved()
    trace = {"Traceparent": "00-ab-cd-01", "authorization": "secret"}
    assert bus.headers_for(event.metadata, trace=trace, contract_version="1.2.3") == {
        "Nats-Msg-Id": "0193",
        "ce-id": "0193",
        "ce-specversion": "1.0",
        "ce-source": "/crossdock/endpoints/oms",
        "ce-type": "dev.crossdock.order.approved.v1",
        "ce-subject": "o-1",
        "ce-recordedtime": "2026-11-23T08:00:00.500Z",
        "ce-datacontenttype": "application/protobuf",
        "ce-dataschema": "urn:crossdock:contract:1.2.3:crossdock.order.v1.OrderApproved",
        "ce-correlationid": "o-1",
        "ce-causationid": "r-9",
        "ce-partitionkey": "o-1",
        "ce-sequence": "3",
        "traceparent": "00-ab-cd-01",
    }
    event.metadata.event_time.FromJsonString("2026-11-23T07:00:00Z")
    headers = bus.headers_for(event.metadata, replay_id="replay-1")
    assert headers["ce-time"] == "2026-11-23T07:00:00Z"
    assert headers["ce-crossdockreplayid"] == "replay-1"
    assert "content-type" not in {name.lower() for name in headers}


@given(st.datetimes(timezones=st.just(UTC)), st.sampled_from([0, 1_000, 1_000_000]))
def test_times_are_written_as_protobuf_writes_them(moment: datetime, unit: int) -> None:
    """Proves that the quick formatter agrees with the library's, at every precision."""
    metadata = approved().metadata
    metadata.record_time.FromDatetime(moment)
    if unit:
        metadata.record_time.nanos -= metadata.record_time.nanos % unit
    expected = metadata.record_time.ToJsonString()
    assert bus.headers_for(metadata)["ce-recordedtime"] == expected


@given(st.text())
def test_any_value_survives_the_header(value: str) -> None:
    """Proves that headers hold printable ASCII only, so nothing can inject another header."""
    encoded = bus.encode_header(value)
    assert PRINTABLE.fullmatch(encoded) and '"' not in encoded
    assert bus.header({"CE-Subject": encoded}, "ce-subject") == value


def test_an_event_is_decoded_by_what_it_says_itself() -> None:
    """Proves that headers are never believed, and are read whatever their case."""
    event = approved()
    headers = {"Ce-Type": "dev.crossdock.shipment.voided.v1", "CE-CrossdockReplayId": "again%201"}
    received = bus.decode(event.SerializeToString(), headers)
    assert received.event == event
    assert received.metadata == event.metadata
    assert received.replay_id == "again 1"


def test_an_event_of_a_later_contract_is_no_error() -> None:
    """Proves that a subscriber passes over what it does not know, and refuses what is no event."""
    metadata = EventMetadata(id="1", type="crossdock.order.v1.OrderFrozen")
    later = OrderApproved(metadata=metadata)
    assert bus.decode(later.SerializeToString()).event is None
    for data in (b"", b"\xff", b"\x0a\x02\x08\x01"):
        with pytest.raises(ValueError, match="no event"):
            bus.decode(data)
