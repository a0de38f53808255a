"""X12 as translators leave it: marks, blanks, missing terminators, points and short dates."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from crossdock_adapters.sdk.places import Unreadable
from crossdock_adapters.sdk.x12 import acknowledgments, envelopes, receiving
from crossdock_adapters.sdk.x12.acknowledgments import SetAnswer, Status
from crossdock_adapters.sdk.x12.segments import USUAL, Fault, Segment, SegmentError
from test_x12 import BODY, only_set

TEXT = BODY.decode()


@pytest.mark.parametrize(
    "text",
    [
        # A byte order mark, and segments that are indented or filled up.
        "\ufeff" + TEXT,
        "\ufeff\r\n " + TEXT.replace("~", "~\r\n\t  "),
        TEXT.replace("~", "~   \r\n"),
        TEXT.replace("~", "\n  ") + "\n\n",
        # No terminator behind the IEA, with and without a filled up end.
        TEXT.removesuffix("~"),
        TEXT.replace("~", "\r\n").removesuffix("\r\n"),
        TEXT.removesuffix("~") + " \r\n\x1a",
        # An ISA whose names are filled up otherwise, or not at all.
        " ".join(TEXT.split()),
        TEXT.replace("NORTHWIND      *260305", "NORTHWIND         *260305"),
        TEXT.replace("          *", "*"),
        # A line that an editor broke behind the blanks of a name.
        TEXT.replace("NORTHWIND      *", "NORTHWIND      \n*"),
        TEXT.replace("EXLA           *ZZ", "EXLA           \r\n*ZZ"),
        # Midnight as the end of its day.
        TEXT.replace("*1407*U", "*2400*U"),
        # One character as repetition and as component.
        TEXT.replace("*U*00401*", "*>*00501*"),
    ],
)
def test_what_translators_leave_otherwise_is_read(text: str) -> None:
    """Proves that marks, blanks and line breaks between segments, a last terminator that is left
    out and names that are not filled up change nothing of what is said, or of its digest, and are
    written again as they came."""
    for encoding in ("utf-8", "latin-1"):
        body = text.encode("utf-8")
        payload = envelopes.read(body, encoding)
        assert envelopes.write(payload, encoding) == body
        found = only_set(body)
        assert (found.codes, found.body) == ((), only_set(BODY).body)
        (interchange,) = payload.interchanges
        assert interchange.sender == ("02", "EXLA")
        assert interchange.receiver == ("ZZ", "NORTHWIND")
    (whole,) = envelopes.read(BODY).interchanges
    (again,) = envelopes.read(text.encode()).interchanges
    if again.header == whole.header and again.delimiters == whole.delimiters:
        assert receiving.digest(again) == receiving.digest(whole)


def test_a_set_may_be_numbered_with_small_letters() -> None:
    """Proves that a number of a set in letters of either case, which are in the standard's extended
    characters, is one."""
    body = TEXT.replace("ST*214*0001", "ST*214*a00B").replace("SE*7*0001", "SE*7*a00B").encode()
    assert (only_set(body).codes, only_set(body).control_number) == ((), "a00B")


def test_a_file_of_a_day_is_read() -> None:
    """Proves that a file with an interchange for each of two thousand statuses, as a VAN puts them
    together, is read."""
    read = envelopes.read(BODY * 2000)
    assert len(read.interchanges) == 2000 and envelopes.write(read) == BODY * 2000


def test_a_group_number_may_be_filled_up() -> None:
    """Proves that blanks behind the numbers of a group change nothing, as behind other elements."""
    body = TEXT.replace("*37*X*", "*37       *X*").replace("GE*1*37~", "GE*1  *37       ~").encode()
    (group,) = envelopes.read(body).interchanges[0].groups
    assert (group.control_number, group.codes) == (37, ())
    assert envelopes.write(envelopes.read(body)) == body


@pytest.mark.parametrize("left", ["IEA*1*00000090", "IEA*1*", "IEA", "IEA*1*0000009055"])
def test_an_end_that_breaks_off_is_no_end(left: str) -> None:
    """Proves that an IEA without its terminator is one only where its numbers are whole."""
    body = TEXT.replace("IEA*1*000000905~", left).encode()
    with pytest.raises(Unreadable, match=r"segment 11"):
        envelopes.read(body)


@pytest.mark.parametrize(
    ("told", "means"),
    [("165250", "1652.50"), ("1652.50", "1652.50"), ("1652.5", "1652.50"), ("-.05", "-0.05"),
     ("1652.", "1652.00"), ("-20", "-0.20")],
)  # fmt: skip
def test_a_point_that_is_implied_may_be_written(told: str, means: str) -> None:
    """Proves that an amount of type N with its point is what it says, to the cent."""
    assert Segment("B3", (told,)).implied(1, 2) == Decimal(means)


@pytest.mark.parametrize("told", ["1652.505", "1,652.50", "1.652.50", ".", "12e3", "1652.5x"])
def test_an_amount_that_is_none_is_refused(told: str) -> None:
    """Proves that more decimals than the type has, and what is no number, are refused by place."""
    with pytest.raises(SegmentError, match=r"segment 4 \(B3\), element 1"):
        Segment("B3", (told,), 4).implied(1, 2)


@pytest.mark.parametrize(
    ("told", "means"),
    [("260305", date(2026, 3, 5)), ("991231", date(1999, 12, 31)), ("790101", date(2079, 1, 1))],
)
def test_a_date_of_an_older_release_is_read(told: str, means: date) -> None:
    """Proves that six digits are a day of the years 1980 to 2079, and that none is guessed."""
    assert Segment("B3", (told,)).date(1) == means
    for wrong in ("260230", "2603051", "26030", "26O305"):
        with pytest.raises(SegmentError, match="is no date"):
            Segment("B3", (wrong,)).date(1)


def test_an_acknowledgement_of_a_later_release_is_read() -> None:
    """Proves that a 999 says the same as the 997 with these words, and that one which lacks a
    segment is refused by its place."""
    body = [
        Segment("AK1", ("SM", "37", "005010")),
        Segment("AK2", ("204", "0001", "005010")),
        Segment("IK3", ("S5", "12", "", "8")),
        Segment("CTX", ("SITUATIONAL TRIGGER", "S5", "12")),
        Segment("IK4", ("6", "355", "1")),
        Segment("CTX", ("STOP",)),
        Segment("IK5", ("R", "5")),
        Segment("AK9", ("R", "1", "1", "0")),
    ]
    said = acknowledgments.read(envelopes.transaction_set(USUAL, "999", "0001", body))
    fault = Fault("S5", 12, "8", 6, 0, "1")
    assert said.sets == (SetAnswer("204", "0001", Status.REJECTED, ("5",), (fault,)),)
    assert (said.status_of("0001"), said.control_number) == (Status.REJECTED, 37)
    with pytest.raises(SegmentError, match="has no AK5"):
        acknowledgments.read(envelopes.transaction_set(USUAL, "999", "0001", body[:6]))
