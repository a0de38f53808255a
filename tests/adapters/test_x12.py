"""X12 read and written: exact both ways, faults told by place, nothing but the named error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, time
from decimal import Decimal

import pytest
from crossdock_adapters.sdk.places import Unreadable
from crossdock_adapters.sdk.x12 import acknowledgments, envelopes, segments
from crossdock_adapters.sdk.x12.acknowledgments import SetAnswer, Status
from crossdock_adapters.sdk.x12.envelopes import Envelope, Payload, TransactionSet
from crossdock_adapters.sdk.x12.segments import USUAL, Delimiters, Fault, Segment, SegmentError
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime(2026, 3, 5, 14, 7, tzinfo=UTC)
ISA = (
    "ISA*00*          *00*          *02*EXLA           *ZZ*NORTHWIND      "
    "*260305*1407*U*00401*000000905*0*P*>~"
)
STATUS = (
    "GS*QM*EXLA*NORTHWIND*20260305*1407*37*X*004010~"
    "ST*214*0001~B10*0412345678*S-2001*EXLA~LX*1~AT7*X1*NS***20260305*1350*LT~"
    "MS1*PORTLAND*OR*US~ZZ9**KEPT>AS*IT*CAME~SE*7*0001~GE*1*37~IEA*1*000000905~"
)
BODY = (ISA + STATUS).encode()
EMPTY = f"{ISA}IEA*0*000000905~".encode()
# What we write with where a partner writes with the usual ones.
OTHERS = Delimiters("|", "+", "!")


def envelope(marks: Delimiters = USUAL, version: str = "00401") -> Envelope:
    """A carrier that writes to a shipper."""
    return Envelope(
        ("02", "EXLA"), ("ZZ", "NORTHWIND"), "EXLA", "NORTHWIND", version, delimiters=marks
    )


def only_set(body: bytes) -> TransactionSet:
    """The one set of a payload that has one."""
    (interchange,) = envelopes.read(body).interchanges
    (group,) = interchange.groups
    (found,) = group.sets
    return found


@st.composite
def marks(draw: st.DrawFn) -> Delimiters:
    """Any delimiters that an ISA can name."""
    each = draw(st.lists(st.sampled_from("*|~>:^!+\t\x1c\x1d\x1e\n\r"), min_size=4, unique=True))
    ends = draw(st.sampled_from(["", "\n", "\r\n"]))
    repetition = draw(st.sampled_from([each[3], ""]))
    return Delimiters(each[0], each[1], each[2], repetition, ends)


@st.composite
def payloads(draw: st.DrawFn) -> Payload:
    """Interchanges of any delimiters, groups, sets, segments nobody knows, empty elements."""
    made = []
    for number in draw(st.lists(st.integers(0, 999_999_999), min_size=1, max_size=3)):
        delimiters = draw(marks())
        segment = segments_of(delimiters)
        how = envelope(delimiters, "00501" if delimiters.repetition else "00401")
        groups = []
        for group_number in draw(st.lists(st.integers(0, 999_999_999), max_size=2)):
            bodies = draw(st.lists(st.lists(segment, max_size=4), max_size=3))
            sets = [
                envelopes.transaction_set(delimiters, "214", f"{place:04}", body)
                for place, body in enumerate(bodies)
            ]
            groups.append(how.group("QM", group_number, NOW, sets))
        made.append(how.interchange(number, NOW, groups))
    before, behind = st.sampled_from(["", "\r\n", " "]), st.sampled_from(["", "\x1a "])
    return Payload(tuple(made), draw(before), draw(behind))


def segments_of(delimiters: Delimiters) -> st.SearchStrategy[Segment]:
    """Segments of any name but the envelopes', with whatever these delimiters leave over."""
    characters = st.characters(
        min_codepoint=32, max_codepoint=255, exclude_characters=[*delimiters.all(), "\x7f"]
    )
    identifiers = st.from_regex(r"[A-Z][A-Z0-9]{1,2}", fullmatch=True)
    others = identifiers.filter(lambda one: one not in ("ISA", "GS", "ST", "SE", "GE", "IEA"))
    told = st.lists(st.text(characters, max_size=8), max_size=6)
    return st.builds(lambda name, each: segments.segment(delimiters, name, *each), others, told)


def look_at_everything(payload: Payload) -> None:
    """Asks each element for each kind of value, and answers each group."""
    kinds: list[Callable[[Segment, int], object]] = [
        Segment.text,
        Segment.need,
        Segment.decimal,
        Segment.count,
        Segment.date,
        Segment.time,
        Segment.components,
        Segment.repetitions,
        lambda found, element: found.implied(element, 2),
    ]
    for interchange in payload.interchanges:
        for group in interchange.groups:
            answers = []
            for found in group.sets:
                faults = []
                for segment in found.body:
                    for element in range(1, len(segment.elements) + 2):
                        for kind in kinds:
                            try:
                                kind(segment, element)
                            except SegmentError as error:
                                assert error.fault is not None
                                faults.append(error.fault)
                answers.append(acknowledgments.judged(found, faults))
                try:
                    acknowledgments.read(found)
                except Unreadable:
                    pass
            if group.functional_id != "FA":
                said = acknowledgments.answer(group, answers)
                built = acknowledgments.build(said, "0001", OTHERS)
                assert acknowledgments.read(built).status is said.status


@given(payloads())
def test_what_is_written_is_read_again_the_same(payload: Payload) -> None:
    """Proves that reading undoes writing, to the byte, whatever the delimiters are, and finds
    nothing wrong with what was written here."""
    body = envelopes.write(payload)
    again = envelopes.read(body)
    assert again == payload
    assert envelopes.write(again) == body
    for interchange in again.interchanges:
        assert all(not group.codes for group in interchange.groups)
        assert all(not found.codes for group in interchange.groups for found in group.sets)


@given(st.data())
def test_a_damaged_payload_is_kept_or_refused_by_the_one_error(data: st.DataObject) -> None:
    """Proves for a payload with pieces cut out, repeated or overwritten that it is either read
    exactly, and each of its values answered or refused, or unreadable with a place."""
    body = bytearray(BODY)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(body)))
        length = data.draw(st.integers(0, 12))
        piece = data.draw(st.one_of(st.binary(max_size=6), st.just(bytes(body[start:][:40]))))
        body[start : start + length] = piece
    try:
        payload = envelopes.read(bytes(body))
    except Unreadable as error:
        assert error.place and "0412345678" not in str(error)
        return
    assert envelopes.write(payload) == bytes(body)
    look_at_everything(payload)


@given(st.binary(max_size=400), st.sampled_from(segments.ENCODINGS))
def test_random_bytes_are_no_interchange(body: bytes, encoding: str) -> None:
    """Proves that whatever comes, with an ISA in front or without, ends in the one error or is
    read exactly, in each encoding."""
    for each in (body, ISA.encode(encoding) + body):
        try:
            payload = envelopes.read(each, encoding)
        except Unreadable:
            continue
        assert envelopes.write(payload, encoding) == each


def test_delimiters_come_from_the_isa() -> None:
    """Proves that other delimiters, a line break as terminator and ISA11 as repetition are read
    from where they stand, and that a version before 00402 repeats nothing."""
    body = BODY.replace(b"*", b"|").replace(b">", b":").replace(b"~", b"\r\n")
    found = only_set(body)
    assert found.body[-1].components(2) == ("KEPT", "AS")
    assert found.body[-1].repetitions(2) == ("KEPT:AS",)
    newer = BODY.replace(b"*U*00401*", b"*^*00501*").replace(b"KEPT>AS", b"A>B^C>D")
    assert only_set(newer).body[-1].repetitions(2) == ("A>B", "C>D")
    assert only_set(newer).body[-1].components(2) == ("A", "B")
    older = BODY.replace(b"*U*00401*", b"*^*00401*").replace(b"KEPT>AS", b"A>B^C>D")
    assert only_set(older).body[-1].repetitions(2) == ("A>B^C>D",)


@pytest.mark.parametrize("encoding", ["cp037", "cp500"])
@pytest.mark.parametrize("ends", ["\x85", "\r\x85", "\n"])
def test_lines_of_a_mainframe_are_read(encoding: str, ends: str) -> None:
    """Proves that the line break of EBCDIC (0x15) may stand behind a segment like any other, and
    is written again."""
    text = BODY.decode().replace("~", f"~{ends}")
    body = text.encode(encoding)
    assert (b"\x15" in body) is ("\x85" in ends)
    payload = envelopes.read(body, encoding)
    assert payload == envelopes.read(BODY)
    assert envelopes.write(payload, encoding) == body


def test_unknown_segments_are_kept_as_they_came() -> None:
    """Proves that a segment nobody knows has its place, its number and its elements."""
    kept = only_set(BODY).body[-1]
    assert (kept.id, kept.number, kept.written()) == ("ZZ9", 8, "ZZ9**KEPT>AS*IT*CAME~")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("ISA*00", "XSA*00", r"segment 1: an ISA is expected here"),
        ("EXLA           ", "EXLA-NORTH-SOUTH", r"segment 1 \(ISA\), element 6: is not 15"),
        ("*02*EXLA", "*2*EXLA", r"segment 1 \(ISA\), element 5: is not 2 characters wide"),
        ("*000000905*0", "*00000090X*0", r"segment 1 \(ISA\), element 13: is no control number"),
        ("*1407*U", "*2507*U", r"segment 1 \(ISA\), element 10: is no time"),
        ("*P*>~GS", "*P**~GS", r"segment 1 \(ISA\): two delimiters are the same"),
        ("~IEA*1*000000905~", "~", r"segment 11: the payload ends before the IEA"),
        ("IEA*1*", "IEA*2*", r"segment 11 \(IEA\), element 1: says another number of groups"),
        ("*000000905~", "*000000906~", r"segment 11 \(IEA\), element 2: is not the control"),
        ("1407*37*X", "1407*A7*X", r"segment 2 \(GS\), element 6: is no group control number"),
        ("GS*QM", "N1*QM", r"segment 2 \(N1\): a GS, a TA1 or the IEA is expected here"),
        ("GS*QM", "GS*Q|", r"segment 2 \(GS\), element 1: is no functional identifier"),
        ("GS*QM", "GS*", r"segment 2 \(GS\), element 1: is no functional identifier"),
        ("ST*214", "N1*214", r"segment 3 \(N1\): an ST or the GE is expected here"),
        ("B10*0412345678", "b10*0412345678", r"segment 4: begins with no segment identifier"),
    ],
)
def test_a_broken_interchange_is_told_by_its_place(old: str, new: str, told: str) -> None:
    """Proves that what makes a payload unreadable is told by segment and element, without what
    stood there."""
    body = BODY.decode().replace(old, new, 1).encode()
    with pytest.raises(Unreadable, match=told):
        envelopes.read(body)


@pytest.mark.parametrize(
    ("old", "new", "codes"),
    [
        ("SE*7*0001", "SE*8*0001", ("4",)),
        ("SE*7*0001", "SE*7*0002", ("3",)),
        ("SE*7*0001~", "", ("2",)),
        ("ST*214*0001", "ST*21X*0001", ("6",)),
        ("ST*214*0001", "ST*214*1", ("7", "3")),
        ("SE*7*0001~", "SE*7*0001~ST*214*0001~SE*2*0001~", ("23",)),
    ],
)
def test_a_broken_set_costs_no_other(old: str, new: str, codes: tuple[str, ...]) -> None:
    """Proves that a wrong trailer, number or count of a set is kept in the codes of AK5, and that
    its 997 rejects it."""
    body = (
        BODY.decode()
        .replace(old, new, 1)
        .replace("GE*1*", "GE*2*" if "ST*" in new[3:] else "GE*1*")
    )
    group = envelopes.read(body.encode()).interchanges[0].groups[0]
    assert group.sets[-1].codes == codes
    answers = [acknowledgments.judged(each) for each in group.sets]
    assert answers[-1].status is Status.REJECTED
    said = acknowledgments.answer(group, answers)
    assert said.status is (Status.PARTLY if len(answers) > 1 else Status.REJECTED)


@pytest.mark.parametrize(
    ("old", "new", "codes"),
    [("GE*1*37~", "", ("3",)), ("GE*1*37", "GE*1*38", ("4",)), ("GE*1*37", "GE*X*37", ("5",))],
)
def test_a_broken_group_is_rejected(old: str, new: str, codes: tuple[str, ...]) -> None:
    """Proves that a wrong trailer of a group is kept in the codes of AK9, and that neither the
    group nor one of its sets is told to be accepted."""
    body = BODY.decode().replace(old, new, 1).encode()
    group = envelopes.read(body).interchanges[0].groups[0]
    assert group.codes == codes
    said = acknowledgments.answer(group, [acknowledgments.judged(each) for each in group.sets])
    assert (said.status, said.accepted, said.codes) == (Status.REJECTED, 0, codes)
    assert [each.status for each in said.sets] == [Status.REJECTED]
    again = acknowledgments.read(acknowledgments.build(said, "0001", USUAL))
    assert again.status_of("0001") is Status.REJECTED


def test_values_are_exact_and_told_by_element() -> None:
    """Proves that decimals keep their digits, implied points are put in, days and times are
    checked, and what is wrong is told by segment and element in the codes of AK4."""
    values = Segment("L1", ("12.50", "12345", "-7", "20260229", "1407", "14075", "x"), 9)
    assert values.decimal(1) == Decimal("12.50") and values.implied(2, 2) == Decimal("123.45")
    assert values.implied(3, 0) == Decimal("-7") and values.decimal(8) is None
    assert values.time(5) == time(14, 7) and values.text(8, "none") == "none"
    assert Segment("DTM", ("20260228",)).date(1) == date(2026, 2, 28)
    assert Segment("DTM", ("14075933",)).time(1) == time(14, 7, 59)
    asked: list[tuple[Callable[[int], object], int, str]] = [
        (values.decimal, 7, "6"),
        (values.count, 3, "7"),
        (values.date, 4, "8"),
        (values.time, 6, "9"),
        (values.need, 8, "1"),
    ]
    for ask, element, code in asked:
        with pytest.raises(SegmentError, match=rf"segment 9 \(L1\), element {element}: ") as told:
            ask(element)
        assert told.value.fault == Fault("L1", 9, "8", element, 0, code)
    for wrong in ("1e5", "1" * 19, "١٢", "--1", "."):
        with pytest.raises(SegmentError):
            Segment("L1", (wrong,)).decimal(1)
    with pytest.raises(SegmentError, match="control character"):
        Segment("K1", ("a\x00b",)).text(1)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (BODY + b" " * segments.MAX_BYTES, "bytes, at most"),
        (BODY.replace(b"LX*1", b"LX" + b"*" * (segments.MAX_ELEMENTS + 1)), "elements"),
        (BODY.replace(b"LX*1", b"LX*" + b"1" * 5001), r"segment 5 \(LX\), element 1: more than"),
        (ISA.encode() + b"LX*1~" * (segments.MAX_SEGMENTS + 1), "more than 50000 segments"),
        (EMPTY * (envelopes.MAX_INTERCHANGES + 1), "more than 5000 interchanges"),
    ],
)
def test_everything_has_a_limit(body: bytes, told: str) -> None:
    """Proves that bytes, segments, elements, characters and interchanges are bounded."""
    with pytest.raises(Unreadable, match=told):
        envelopes.read(body)


def test_what_x12_cannot_say_is_not_written() -> None:
    """Proves that a delimiter in data, a control character and a header that does not fit are
    refused before anything is written, and that free text can be cleaned of them."""
    here = Delimiters(repetition="^")
    for text in ("a*b", "a~b", "a>b", "a^b", "a\nb", "a\x7fb"):
        with pytest.raises(ValueError, match="X12 cannot say"):
            segments.segment(here, "K1", text)
        assert segments.segment(here, "K1", here.clean(text)).elements == ("a b",)
    with pytest.raises(ValueError, match="delimiter"):
        segments.composite(here, "a>b")
    together = segments.segment(here, "SV1", segments.composite(here, "HC", "99213"))
    assert together.elements == ("HC>99213",)
    with pytest.raises(ValueError, match="X12 cannot say"):
        segments.segment(here, "SV1", segments.composite(OTHERS, "a*b", "c"))
    with pytest.raises(ValueError, match="is not 15 characters wide"):
        Envelope(("02", "A" * 16), ("ZZ", "B"), "A", "B").interchange(1, NOW, [])
    with pytest.raises(ValueError, match="nine digits"):
        envelope().interchange(1_000_000_000, NOW, [])
    with pytest.raises(ValueError, match="do not go together"):
        envelope(Delimiters(repetition="^")).interchange(1, NOW, [])


@pytest.mark.parametrize("version", ["00402", "00501", "00801"])
def test_a_newer_version_needs_its_repetition_separator(version: str) -> None:
    """Proves that from 00402 on no ISA is written with the old U in the place of the separator,
    and that GS08 is the release of the version where none is given."""
    with pytest.raises(ValueError, match="needs a repetition separator"):
        envelope(version=version).interchange(1, NOW, [])
    how = envelope(Delimiters(repetition="^"), version)
    assert how.interchange(1, NOW, []).header.raw(11) == "^"
    assert how.group("QM", 1, NOW, []).header.raw(8) == f"{version}0"
    assert envelope().group("QM", 1, NOW, []).header.raw(8) == "004010"
    given = replace(how, release="005010X214")
    assert given.group("QM", 1, NOW, []).header.raw(8) == "005010X214"


@st.composite
def set_answers(draw: st.DrawFn) -> SetAnswer:
    """What a reader may have found in a set."""
    faults = draw(
        st.lists(
            st.one_of(
                st.builds(Fault, st.sampled_from(["B10", "AT7"]), st.integers(1, 99), st.just("3")),
                st.builds(
                    Fault,
                    st.sampled_from(["B10", "AT7"]),
                    st.integers(1, 99),
                    st.just("8"),
                    st.integers(1, 30),
                    st.integers(0, 9),
                    st.sampled_from(["1", "5", "7", "10"]),
                ),
            ),
            max_size=5,
        )
    )
    codes = tuple(draw(st.lists(st.sampled_from(["2", "4", "5", "23"]), max_size=5)))
    number = f"{draw(st.integers(1, 9999)):04}"
    return SetAnswer("214", number, draw(st.sampled_from(Status)), codes, tuple(faults))


@given(st.lists(set_answers(), max_size=4), st.sampled_from(Status))
def test_an_acknowledgement_says_what_was_meant(sets: list[SetAnswer], status: Status) -> None:
    """Proves that a 997 is read as it was built: statuses, codes, and each fault by its place."""
    meant = acknowledgments.GroupAnswer("QM", 37, status, 9, 8, 7, ("4", "5"), tuple(sets))
    built = acknowledgments.build(meant, "0001", Delimiters())
    body = envelopes.write(
        Payload((envelope().interchange(1, NOW, [envelope().group("FA", 1, NOW, [built])]),))
    )
    assert acknowledgments.read(only_set(body)) == meant


def test_a_fault_is_acknowledged_by_its_place_in_the_set() -> None:
    """Proves that AK3 counts from the ST, that AK4 names the element, and that a set whose rest
    was taken is accepted with errors."""
    group = envelopes.read(BODY).interchanges[0].groups[0]
    (found,) = group.sets
    with pytest.raises(SegmentError) as missing:
        found.body[0].need(4)
    assert missing.value.fault is not None
    said = acknowledgments.answer(group, [acknowledgments.judged(found, [missing.value.fault])])
    built = acknowledgments.build(said, "0001", Delimiters())
    assert segments.written(built.segments()) == (
        "ST*997*0001~AK1*QM*37~AK2*214*0001~AK3*B10*2**8~AK4*4**1~AK5*E*5~AK9*E*1*1*1~SE*8*0001~"
    )
    assert acknowledgments.read(built).status_of("0001").accepted


@pytest.mark.parametrize(
    ("header", "trailer", "named"),
    [
        ("ST*214*00\r\n01", "SE*7*00\r\n01", ()),
        ("ST*214*00|1", "SE*7*00|1", ()),
        ("ST*214", "SE*7", ()),
        ("ST*214*0001000100", "SE*7*0001000100", ()),
        ("ST", "SE*7", ()),
        ("ST*\t*0001", "SE*7*0001", ()),
        ("ST*2|4*0001", "SE*7*0001", (("2 4", "0001"),)),
        ("ST*21X*0001", "SE*7*0001", (("21X", "0001"),)),
        ("ST*214*1", "SE*7*1", (("214", "1"),)),
    ],
)
def test_what_cannot_be_said_again_is_not_echoed(
    header: str, trailer: str, named: tuple[tuple[str, str], ...]
) -> None:
    """Proves that a set whose header cannot be repeated in our delimiters costs no 997: it is not
    named, never under the number of another set, and its group is rejected all the same."""
    body = BODY.decode().replace("ST*214*0001", header).replace("SE*7*0001", trailer)
    group = envelopes.read(body.encode()).interchanges[0].groups[0]
    said = acknowledgments.answer(group, [acknowledgments.judged(each) for each in group.sets])
    built = acknowledgments.build(said, "0001", OTHERS)
    again = acknowledgments.read(built)
    assert tuple((each.set_id, each.control_number) for each in again.sets) == named
    assert (again.status, again.received, again.accepted) == (Status.REJECTED, 1, 0)
    assert all(each.raw(1) and each.raw(2) for each in built.body if each.id in ("AK1", "AK2"))


@pytest.mark.parametrize("group", Status)
@pytest.mark.parametrize("own", [Status.ACCEPTED, Status.REJECTED])
def test_a_group_that_is_refused_refuses_its_sets(group: Status, own: Status) -> None:
    """Proves that a set counts as accepted only where its group was not refused, whatever is said
    of the set itself, and that its own word stands in every other group."""
    said = acknowledgments.GroupAnswer(
        "QM", 37, group, 1, 1, 0, (), (SetAnswer("214", "0001", own),)
    )
    refused = group.value in "RMWX"
    assert said.status_of("0001") is (group if refused else own)
    assert said.status_of("0002") is group


def test_no_acknowledgement_is_acknowledged() -> None:
    """Proves that a group of 997s has no answer, and that no set is left without one."""
    group = envelopes.read(BODY.replace(b"GS*QM", b"GS*FA")).interchanges[0].groups[0]
    with pytest.raises(ValueError, match="not acknowledged"):
        acknowledgments.answer(group, [])
    group = envelopes.read(BODY).interchanges[0].groups[0]
    with pytest.raises(ValueError, match="each set"):
        acknowledgments.answer(group, [])


@pytest.mark.parametrize(
    "said",
    [
        "AK9*A*1*1*1~",
        "AK1*QM*37~",
        "AK1*QM*37~AK2*214*0001~AK9*A*1*1*1~",
        "AK1*QM*37~AK2*214*0001~AK4*1**1~AK5*A~AK9*A*1*1*1~",
        "AK1*QM*37~AK2*214*0001~AK3*B10*2**8~AK4*A**1~AK5*A~AK9*A*1*1*1~",
        "AK1*QM*37~AK9*Q*1*1*1~",
        "AK1*QM~AK9*A*1*1*1~",
    ],
)
def test_a_broken_acknowledgement_is_told_by_its_place(said: str) -> None:
    """Proves that a 997 without its segments, or with codes that are none, is unreadable."""
    count = said.count("~") + 2
    body = ISA + f"GS*FA*A*B*20260305*1407*1*X*004010~ST*997*0001~{said}"
    body += f"SE*{count}*0001~GE*1*1~IEA*1*000000905~"
    with pytest.raises(SegmentError, match=r"segment \d+ \("):
        acknowledgments.read(only_set(body.encode()))
