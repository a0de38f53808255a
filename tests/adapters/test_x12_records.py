"""X12 that a host cut into records of one width, and X12 that only looks like it."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import pytest
from crossdock_adapters.sdk.x12 import envelopes, receiving
from crossdock_adapters.sdk.x12.envelopes import Payload
from crossdock_adapters.sdk.x12.segments import USUAL, Delimiters, segment
from hypothesis import given
from hypothesis import strategies as st
from test_x12 import BODY, NOW, OTHERS, envelope, only_set

TEXT: Final = BODY.decode()
# The last two are EBCDIC's: a new line, and a carriage return in front of it.
BREAKS: Final = ("\r\n", "\n", "\r", "\x85", "\r\x85")
FILLING: Final = " \t\r\n\x85\x00\x1a"
# An answer to a tender, an acknowledgement and a status: what is short is cut once or twice.
SHORT: Final = {
    "990": ("GF", [("B1", "EXLA", "REF-20931", "20260305", "A"), ("N9", "CN", "118204417")]),
    "997": ("FA", [("AK1", "SM", "41"), ("AK2", "204", "0001"), ("AK5", "A"),
                   ("AK9", "A", "1", "1", "1")]),
    "214": ("QM", [("B10", "118204417", "REF-20931", "EXLA"), ("LX", "1"),
                   ("AT7", "X6", "NS", "", "", "20260305", "1407", "LT"),
                   ("MS1", "SALEM", "OR", "US")]),
}  # fmt: skip
WORDS: Final = st.text("ABÅé 0123456789.-", min_size=1, max_size=30)


def written(set_id: str, remarks: list[str] | None = None, marks: Delimiters = USUAL) -> str:
    """An interchange of one set, with free text in it."""
    functional_id, said = SHORT[set_id]
    body = [segment(marks, *each) for each in said]
    body += [segment(marks, "K1", marks.clean(each) or "NONE") for each in remarks or []]
    how = envelope(marks)
    group = how.group(
        functional_id, 37, NOW, [envelopes.transaction_set(marks, set_id, "0001", body)]
    )
    made = envelopes.write(Payload((how.interchange(905, NOW, [group]),)), "utf-8")
    return made.decode("utf-8")


def cut(text: str, width: int, line_break: str, filled_up: bool = False) -> str:
    """A text in records of one width, the last one filled up or not."""
    records = [text[at : at + width] for at in range(0, len(text), width)]
    if filled_up:
        records[-1] = records[-1].ljust(width) + line_break
    return line_break.join(records)


def digests(payload: Payload) -> list[str]:
    """What each interchange says."""
    return [receiving.digest(each) for each in payload.interchanges]


def same(text: str, records: str, encoding: str, line_break: str) -> None:
    """Whether both say the same, in the same segments, by the same codes."""
    whole = envelopes.read(text.encode(encoding), encoding)
    found = envelopes.read(records.encode(encoding), encoding)
    assert found.interchanges == whole.interchanges
    assert digests(found) == digests(whole)
    for one, other in zip(found.interchanges, whole.interchanges, strict=True):
        for group, wanted in zip(one.groups, other.groups, strict=True):
            assert group.codes == wanted.codes
            assert [each.codes for each in group.sets] == [each.codes for each in wanted.sets]
    # Where each break falls behind a segment, it is left there.
    again = envelopes.write(found, encoding).decode(encoding)
    assert again.replace(line_break, "").rstrip(FILLING) == text.rstrip(FILLING)


@given(
    set_id=st.sampled_from(list(SHORT)),
    remarks=st.lists(WORDS, max_size=12),
    marks=st.sampled_from([USUAL, OTHERS]),
    width=st.integers(40, 300),
    line_break=st.sampled_from(BREAKS),
    filled_up=st.booleans(),
    encoding=st.sampled_from(["utf-8", "cp037", "cp500"]),
)
def test_records_of_any_width_are_joined(
    set_id: str,
    remarks: list[str],
    marks: Delimiters,
    width: int,
    line_break: str,
    filled_up: bool,
    encoding: str,
) -> None:
    """Proves that what was written says the same after it was cut into records of one width,
    however short it is, wherever the cuts fall and by whichever line break."""
    text = written(set_id, remarks, marks)
    same(text, cut(text, width, line_break, filled_up), encoding, line_break)


@pytest.mark.parametrize("set_id", list(SHORT))
@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\r"])
def test_a_short_set_is_joined_at_every_width(set_id: str, line_break: str) -> None:
    """Proves that what fills one record and a part of another is joined, too, at each width."""
    text = written(set_id)
    assert len(text) < 300
    for width in range(40, 301):
        same(text, cut(text, width, line_break), "latin-1", line_break)


@pytest.mark.parametrize("width", [72, 80, 96, 128, 150])
@pytest.mark.parametrize("line_break", BREAKS)
@pytest.mark.parametrize("filled_up", ["", " " * 9, "\r\n\x1a"])
def test_a_payload_cut_into_records_is_joined(width: int, line_break: str, filled_up: str) -> None:
    """Proves that a payload in records of one width, cut wherever that falls, inside its ISA too,
    says what it said in one line, and has the same digest, behind a mark of its encoding, too."""
    records = cut(TEXT, width, line_break) + filled_up
    assert only_set(records.encode("latin-1")).body == only_set(BODY).body
    payload = envelopes.read(("\ufeff" + records).encode(), "utf-8")
    assert digests(payload) == digests(envelopes.read(BODY))


@pytest.mark.parametrize("terminator", ["\n", "\x85", "\r"])
def test_a_terminator_may_be_another_line_break(terminator: str) -> None:
    """Proves that records are told from segments that end with a line break of another kind."""
    text = TEXT.replace("~", terminator)
    line_break = "\n" if terminator == "\r" else "\r\n"
    # At 105 the terminator of the ISA is the first character of the second record.
    for width in (72, 80, 104, 106, 132):
        same(text, cut(text, width, line_break), "latin-1", line_break)


def test_interchanges_in_records_of_their_own_are_joined() -> None:
    """Proves that a second interchange may begin with a record of its own, behind one that was
    filled up."""
    text = written("990")
    records = cut(text, 80, "\n", filled_up=True) + cut(written("997"), 80, "\n", filled_up=True)
    payload = envelopes.read(records.encode())
    alone = [envelopes.read(each.encode()) for each in (text, written("997"))]
    assert digests(payload) == [digests(each)[0] for each in alone]


@given(
    set_id=st.sampled_from(list(SHORT)),
    remarks=st.lists(WORDS, max_size=6),
    terminator=st.sampled_from(["~", "'", "\n", "\r", "\r\n", "\x85", "\t"]),
    breaks=st.lists(st.sampled_from(["", *BREAKS, "\n\n", " \n", "\n\t "]), min_size=1),
    encoding=st.sampled_from(["utf-8", "cp037"]),
)
def test_breaks_behind_segments_are_left(
    set_id: str, remarks: list[str], terminator: str, breaks: list[str], encoding: str
) -> None:
    """Proves that breaks of any kind behind segments, behind each or some or none, are written
    again as they came."""
    text, end = written(set_id, remarks), ""
    for at, each in enumerate(text.removesuffix("~").split("~")):
        end += each + terminator + breaks[at % len(breaks)]
    body = end.encode(encoding)
    assert envelopes.write(envelopes.read(body, encoding), encoding) == body


@pytest.mark.parametrize("line_break", BREAKS)
@pytest.mark.parametrize("blanks", ["", "   ", "\t"])
def test_lines_of_one_width_may_be_segments(line_break: str, blanks: str) -> None:
    """Proves that lines as wide as each other are left as they came where each of them ends with
    segments, filled up with blanks or not."""
    header, rest = TEXT[:106], TEXT[106:].replace("SE*7*", "SE*8*")
    opening, middle = rest[: rest.index("LX*1~")], rest[rest.index("AT7") : rest.index("SE*")]
    trailers = rest[rest.index("SE*") :]
    # Remarks make these lines as wide as the ISA.
    lines = [header, *(f"{each}{'K1*':A<{105 - len(each)}}~" for each in (opening, middle))]
    assert [len(each) for each in lines] == [106] * 3
    lines.append(trailers)
    body = (blanks + line_break).join(lines).encode("latin-1")
    assert only_set(body).codes == ()
    assert envelopes.write(envelopes.read(body)) == body


@pytest.mark.parametrize("line_break", BREAKS)
def test_one_break_behind_a_segment_is_left(line_break: str) -> None:
    """Proves that two lines, the first the longer one, are left as they came where the break
    between them is behind a segment, whichever one that is."""
    ends = [at for at, one in enumerate(TEXT, start=1) if one == "~" and at * 2 >= len(TEXT)]
    for at in ends[:-1]:
        body = (TEXT[:at] + line_break + TEXT[at:]).encode("latin-1")
        assert envelopes.write(envelopes.read(body)) == body


@pytest.mark.parametrize(
    "at",
    [
        # A last line that is longer than the record.
        (149,),
        (130,),
        # Lines of two widths.
        (170, 250),
        (120, 250),
    ],
)
def test_lines_of_other_widths_are_left(at: tuple[int, ...]) -> None:
    """Proves that breaks inside elements which make no records of one width stay in them."""
    places = [0, *at, len(TEXT)]
    body = "\n".join(TEXT[one:two] for one, two in pairwise(places)).encode()
    assert envelopes.write(envelopes.read(body)) == body


def test_a_letter_of_another_encoding_is_no_break() -> None:
    """Proves that one byte 0x85, which is a part of a letter in UTF-8, is kept in what is read as
    latin-1, and that it makes records where the header cannot be read otherwise."""
    text = written("214", ["ASK FOR MR X"])
    body = text.replace("X~SE", "Å~SE").encode()
    assert envelopes.write(envelopes.read(body)) == body
    same(text, cut(text, 80, "\x85"), "latin-1", "\x85")


@pytest.mark.parametrize("terminator", ["~", "\r", "\t"])
def test_a_break_may_separate_components(terminator: str) -> None:
    """Proves that a line break which the ISA names as a separator is no cut, whatever is behind."""
    made = envelope(Delimiters("*", "\n", terminator, "", "\n")).interchange(905, NOW, [])
    body = envelopes.write(Payload((made,)))
    assert envelopes.write(envelopes.read(body)) == body
