"""Messages that are made of encoded ones say what those that are made of messages do."""

from __future__ import annotations

from crossdock.tracking.v1 import tracking_pb2
from crossdock_hub.encoded import listed
from hypothesis import given
from hypothesis import strategies as st

FIELD = tracking_pb2.TrackingEventBatch.TRACKING_EVENTS_FIELD_NUMBER
# Around one, two and three bytes of a length.
SIZES = st.sampled_from([0, 1, 120, 127, 128, 300, 16_380, 16_390]) | st.integers(0, 400)


@given(st.lists(SIZES, max_size=8))
def test_a_list_of_encoded_messages_is_the_encoding_of_the_list(sizes: list[int]) -> None:
    """Proves that whoever reads it can't tell how it was made, whatever is in it."""
    scans = [tracking_pb2.TrackingEvent(description="x" * size) for size in sizes]
    made = listed(FIELD, [scan.SerializeToString() for scan in scans])
    assert made == tracking_pb2.TrackingEventBatch(tracking_events=scans).SerializeToString()


def test_a_field_with_a_high_number_is_told_as_protobuf_does() -> None:
    """Proves that a key of two bytes is written in the order that a parser takes."""
    assert listed(300, [b"\x08\x01"]) == b"\xe2\x12\x02\x08\x01"
