"""LTL freight and what status messages (214) of older and newer releases say, and where."""

from __future__ import annotations

import pytest
from crossdock.tracking.v1 import tracking_pb2
from crossdock_adapters.ltl_freight import conformance
from test_ltl_freight_translate import told

AT7 = "AT7*X4*NS***20260305*1350*PS~"
MS1 = "MS1*PORTLAND*OR*US~"
BODY = conformance.status(1, "X4", "1350").decode()


def scan(*changes: tuple[str, str]) -> tracking_pb2.TrackingEvent:
    """The one scan of a 214 that says so instead."""
    text = BODY
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (found,) = told(text.encode())
    assert not found.errors
    (event,) = found.events
    return event


@pytest.mark.parametrize(
    ("status", "instant"),
    [
        ("AT7*X4*NS***960305*19*1350*PS~", "1996-03-05T21:50:00Z"),
        ("AT7*X4*NS***260305**135005*PS~", "2026-03-05T21:50:05Z"),
        ("AT7*X4*NS***260305*20*1350~", "2026-03-05T21:50:00Z"),
        ("AT7*X4*NS***260305*20~", ""),
        ("AT7*X4*NS***260305*1350*PS~", "2026-03-05T21:50:00Z"),
        # A zone without a time, in words or as an offset, is no time.
        ("AT7*X4*NS***260305**LT~", ""),
        ("AT7*X4*NS***260305**08~", ""),
    ],
)
def test_a_century_may_stand_before_the_time(status: str, instant: str) -> None:
    """Proves of release 003070, whose AT7 has a century in front of its time, that time and zone
    are those that it says, and that without a time it is a day."""
    when = scan((AT7, status)).event_time
    assert (when.instant.ToJsonString() if when.HasField("instant") else "") == instant
    assert bool(instant) or when.local == "2026-03-05T00:00:00"


@pytest.mark.parametrize("wrong", ["13", "9", "135"])
def test_what_is_no_century_is_no_time(wrong: str) -> None:
    """Proves that an hour alone, or another time that is none, is told as wrong in its place, and
    not taken for a century, behind which the day would stand without its hour."""
    (found,) = told(BODY.replace(AT7, f"AT7*X4*NS***260305*{wrong}~").encode())
    (error,) = found.errors
    assert "element 6: is no time" in str(error) and not found.events


@pytest.mark.parametrize(
    ("where", "said"),
    [
        # Degrees, minutes and seconds (MS1-04 to MS1-07), with parts of seconds, and decimal ones.
        ("MS1****1223330*0453000*W*N~", "latitude 45.50000 N, longitude 122.55833 W"),
        ("MS1****1223330.50*0453000.00*W*N~", "latitude 45.50000 N, longitude 122.55847 W"),
        ("MS1********* -122.558 *45.5~".replace(" ", ""), "latitude 45.5, longitude -122.558"),
        ("MS1****122W*045N~", "latitude 045N, longitude 122W"),
        ("MS1****1223330~", ""),
    ],
)
def test_a_position_in_degrees_is_told(where: str, said: str) -> None:
    """Proves that where a truck is by latitude and longitude, in place of a city, is told in words,
    in each of the forms of the standard, and as it stands there in any other."""
    event = scan((MS1, where))
    assert event.description == "; ".join(filter(None, ["reason NS", said]))
    assert not event.HasField("place")


def test_a_postal_code_is_of_the_place() -> None:
    """Proves that the postal code of a place (MS1-08) is told with it."""
    place = scan((MS1, "MS1*PORTLAND*OR*US*****97209~")).place
    assert (place.city, place.postal_code) == ("PORTLAND", "97209")


@pytest.mark.parametrize(
    ("lading", "said"),
    [
        ("Q7*D*PCS*2~", "reason NS; lading exception D 2 PCS"),
        ("Q7*S~", "reason NS; lading exception S"),
        ("Q7**~", "reason NS"),
    ],
)
def test_an_exception_of_the_lading_is_told(lading: str, said: str) -> None:
    """Proves that pieces that are damaged or short (Q7) are told with the status that they stand
    behind."""
    event = scan((MS1, MS1 + lading), ("SE*7*", "SE*8*"))
    assert event.description == said


def test_a_group_without_an_hour_costs_no_estimate() -> None:
    """Proves that an estimate of a group whose time is none (GS05) is told as of its day."""
    event = scan((AT7, "AT7*AG*NS***20260306*1600*PS~"), ("*20260305*1900*", "*20260305*2400*"))
    assert event.event_time.local == "2026-03-05T00:00:00"
    assert event.estimated_delivery.start.ToJsonString() == "2026-03-07T00:00:00Z"


@pytest.mark.parametrize("mark", ["\x00", "\x07", "\x1d"])
def test_what_is_no_character_costs_no_scan(mark: str) -> None:
    """Proves that a NUL or another character that X12 does not have, in the name of a place or in
    an exception, is left out, and the scan is told."""
    event = scan((MS1, f"MS1*PORT{mark}LAND*OR*US~Q7*D{mark}~"), ("SE*7*", "SE*8*"))
    assert event.place.city == "PORT LAND"
    assert event.description == "reason NS; lading exception D"
