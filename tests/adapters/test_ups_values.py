"""Values UPS writes in its own way: 1Z numbers, status codes, times of scans."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from importlib.resources import files

import pytest
from crossdock.exception_reasons import EXCEPTION_REASONS
from crossdock.shipment.v1 import shipment_pb2
from crossdock_adapters.sdk.carrier_scans import read_offset
from crossdock_adapters.sdk.mappings import FILE_NAME, Code, Topic, read_file
from crossdock_adapters.ups import status_codes, tracking_number
from crossdock_adapters.ups.scan_times import read_scan_time, read_time
from hypothesis import given
from hypothesis import strategies as st

TABLE = status_codes.shipped_table()
FILE = read_file(files("crossdock_adapters.ups").joinpath(FILE_NAME).read_text("utf-8"))
NUMBERS = [int(row.code.code) for row in FILE.rows if row.code.type == status_codes.THREE_DIGIT]
NEGATIVE = ("53", "5F", "7B", "CI", "DI", "DO", "EA", "FZ", "28", "50")
ACCOUNTS = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", min_size=6, max_size=6)
SERVICES = st.sampled_from(["01", "02", "03", "12", "59", "M4"])
SERIALS = st.integers(0, 9_999_999)


def shipment_milestones() -> set[str]:
    """The names of the contract's milestones."""
    return {name.removeprefix("MILESTONE_") for name, _ in shipment_pb2.Milestone.items()}


@given(ACCOUNTS, SERVICES, SERIALS)
def test_built_numbers_are_valid_and_name_their_account(
    account: str, service: str, serial: int
) -> None:
    """Every number that is built passes the check and carries its account."""
    number = tracking_number.build(account, service, serial)
    assert tracking_number.is_valid(number)
    assert tracking_number.shipper_account(number) == account


@given(ACCOUNTS, SERVICES, SERIALS, st.integers(10, 17), st.integers(1, 9))
def test_any_single_wrong_digit_is_seen(
    account: str, service: str, serial: int, position: int, shift: int
) -> None:
    """One mistyped digit never passes, except where doubling maps two digits to one value."""
    number = tracking_number.build(account, service, serial)
    wrong = str((int(number[position]) + shift) % 10)
    changed = number[:position] + wrong + number[position + 1 :]
    doubled = (position - 2) % 2 == 1 and position < 17
    if doubled and shift == 5:
        assert tracking_number.is_valid(changed)  # a known weakness of the vendor's rule
    else:
        assert not tracking_number.is_valid(changed)


def test_the_published_example_is_valid() -> None:
    """The number that documentation everywhere shows has the right check digit."""
    assert tracking_number.is_valid("1Z999AA10123456784")
    assert not tracking_number.is_valid("1Z999AA10123456785")
    assert not tracking_number.is_valid("1z999aa10123456784")


@pytest.mark.parametrize("text", ["", "1Z", "1Z999AA1012345678", "1Z999AA101234567844"])
def test_wrong_lengths_are_no_numbers(text: str) -> None:
    """Shape comes before arithmetic."""
    assert not tracking_number.is_valid(text)


def test_every_status_of_the_file_means_something_of_the_contract() -> None:
    """Each status means a milestone of the contract's enum, and never that nobody knows."""
    statuses = [row for row in FILE.rows if row.topic is Topic.STATUS]
    assert {row.meaning.canonical for row in statuses} <= shipment_milestones() - {
        "UNKNOWN",
        "UNSPECIFIED",
    }
    assert {row.meaning.exception_reason for row in statuses} <= {"", *EXCEPTION_REASONS}


@pytest.mark.parametrize(
    ("kind", "code", "status_code", "milestone"),
    [
        ("I", "OT", "021", "OUT_FOR_DELIVERY"),
        ("I", "OT", "", "OUT_FOR_DELIVERY"),
        ("X", "OT", "", "EXCEPTION"),
        ("I", "DS", "", "IN_TRANSIT"),
        ("X", "DS", "", "EXCEPTION"),
        ("I", "OD", "072", "IN_TRANSIT"),
        ("", "011", "", "DELIVERED"),
        ("D", "FS", "11", "DELIVERED"),
        ("D", "FS", "011", "DELIVERED"),
        ("D", "F7", "", "IN_TRANSIT"),
        ("D", "2Q", "", "READY_FOR_COLLECTION"),
        ("D", "B0", "", "RETURNED"),
        ("D", "", "", "DELIVERED"),
        ("X", "UF", "", "RETURNING"),
        ("X", "70", "", "IN_TRANSIT"),
        ("D", "48", "", "DELIVERY_ATTEMPTED"),
        *(("D", code, "", "EXCEPTION") for code in NEGATIVE),
        ("M", "MP", "003", "LABEL_CREATED"),
        ("X", "A5", "003", "EXCEPTION"),
        ("D", "Q9", "003", "LABEL_CREATED"),
        ("MV", "VP", "007", "VOIDED"),
        ("MV", "", "", "VOIDED"),
        ("U", "UT", "153", "INFORMATION"),
        ("I", "", "118", "INFORMATION"),
        ("P", "", "", "CARRIER_ACCEPTED"),
    ],
)
def test_codes_resolve_in_the_documented_order(
    kind: str, code: str, status_code: str, milestone: str
) -> None:
    """Three digits first, then the pair of type and code, then the type."""
    assert TABLE.resolve(kind, code, status_code).milestone == milestone


@pytest.mark.parametrize(
    ("kind", "code", "status_code"),
    [("I", "QZ", "911"), ("D", "Q9", "911"), ("D", "", "911"), ("M", "Q9", ""), ("Z", "", ""),
     ("", "", ""), ("NA", "", ""), ("I", "QZ", ""), ("D", "Q9", ""), ("D", "M4", ""),
     ("X", "0A", ""), ("X", "Q9", "911"), ("RS", "Q9", ""), ("U", "Q9", "")],
)  # fmt: skip
def test_undocumented_codes_are_unknown_never_guessed(
    kind: str, code: str, status_code: str
) -> None:
    """A code nobody mapped moves nothing, whatever its type says of others."""
    meaning = TABLE.resolve(kind, code, status_code)
    assert meaning.milestone == "UNKNOWN"
    assert not meaning.is_mapped


# The vendor's tables of exceptions and deliveries, as far as the appendix is in public.
X_CODES = {
    "CARRIER_ACCEPTED": "HF Z5",
    "OUT_FOR_DELIVERY": "RK",
    "IN_TRANSIT": "DA 2X 5R 89 6R",
    "DELIVERY_ATTEMPTED": "48 C4 GB G3 G7 KX L1 FM 55 49 AY G8 IR IQ YD ZM 52",
    "READY_FOR_COLLECTION": "I5 ZP 5G 6B",
    "RETURNING": "UF DL KP O4 3N 6C H8 90 RV I1 XU 8H",
    "RETURNED": "UA PP TU 4S YJ YK",
    "EXCEPTION": "KT KR KS AM AN AP AQ AS KQ KI KZ 51 45 HR TV 13 HD HE S9 TJ UO F8 UP A5 A6 A7 A8 "
    "A9 AA AB AC AD AE AF AG AK AL AV AW DS H1 H2 H3 H4 H5 E1 39 O5 O8 S7 UE VN T3 MF 1F OR OT "
    "D0 CP CN G4 G5 KY",
}
D_CODES = {
    "DELIVERED": "ML M7 M5 ZI P5 2W",
    "OUT_FOR_DELIVERY": "2K",
    "IN_TRANSIT": "F7 F0 F3 70 B2 ET 83 BN",
    "READY_FOR_COLLECTION": "2Q ZQ EP 1N",
    "RETURNED": "B0",
    "EXCEPTION": "53 5F 7B CI DI DO EA FZ 28 50 BO CR EJ RN NS NX OE",
}
# Not in the appendix: what replies in public have, all of them deliveries.
SEEN_D_CODES = {"9E", "FS", "KB", "KM"}


@pytest.mark.parametrize(("kind", "listed"), [("X", X_CODES), ("D", D_CODES)])
def test_the_tables_of_exceptions_and_deliveries_are_whole(
    kind: str, listed: dict[str, str]
) -> None:
    """Proves that every code of the vendor's two tables means what it is listed for, and that no
    row is there for another: none for any code in particular."""
    expected = {code: means for means, codes in listed.items() for code in codes.split()}
    for code, means in expected.items():
        assert TABLE.resolve(kind, code, "").milestone == means, code
    of_kind = {r.code.code for r in FILE.rows if r.topic is Topic.STATUS and r.code.type == kind}
    assert of_kind - {""} == set(expected) | (SEEN_D_CODES if kind == "D" else set())


@given(
    st.sampled_from(["D", "I", "M", "MV", "X", "U", "ZZ"]),
    st.text("ABDEFOT0123456789", max_size=2),
    st.sampled_from(NUMBERS),
    st.integers(0, 3),
)
def test_a_known_three_digit_code_decides_alone(
    kind: str, code: str, number: int, zeros: int
) -> None:
    """Zero padding, type and pair change nothing once the three-digit code is known."""
    written = "0" * zeros + str(number)
    (row,) = (each for each in FILE.rows if each.code == Code("three_digit", f"{number:03d}"))
    found = TABLE.resolve(kind, code, written)
    assert found.is_mapped
    assert found.milestone == row.meaning.canonical
    assert found.reason == row.meaning.exception_reason


@given(st.text(max_size=4), st.text(max_size=4), st.text(max_size=5))
def test_any_text_resolves_to_a_milestone(kind: str, code: str, status_code: str) -> None:
    """Whatever UPS writes, resolving never raises and answers one of the known names."""
    assert TABLE.resolve(kind, code, status_code).milestone in shipment_milestones() - {
        "UNSPECIFIED"
    }
    codes = status_codes.codes_of(kind, code, status_code)
    assert 1 <= len(codes) <= 4
    assert len(set(codes)) == len(codes)


def test_the_raw_pair_comes_first() -> None:
    """What an operator is shown of an unknown status is what UPS wrote, the most telling first."""
    assert [(c.type, c.code) for c in status_codes.codes_of("X", "q9", "911")] == [
        ("three_digit", "911"),
        ("X", "Q9"),
        ("D", "Q9"),
    ]
    assert [(c.type, c.code) for c in status_codes.codes_of("NEW", "AB", "")] == [("NEW", "AB")]
    assert [(c.type, c.code) for c in status_codes.codes_of("", "", "")] == [("", "")]


INSTANTS = st.datetimes(datetime(2020, 1, 1), datetime(2035, 12, 31), timezones=st.just(UTC)).map(
    lambda moment: moment.replace(microsecond=0)
)
OFFSETS = st.sampled_from([-600, -480, -420, -300, -210, 0, 60, 330, 345, 720])


def written(minutes: int, separator: str) -> str:
    hours, rest = divmod(abs(minutes), 60)
    return f"{'-' if minutes < 0 else '+'}{hours:02d}{separator}{rest:02d}"


@given(INSTANTS, OFFSETS, st.sampled_from([":", "."]), st.booleans())
def test_gmt_parts_give_the_instant_back(
    moment: datetime, minutes: int, separator: str, drop_zero: bool
) -> None:
    """With GMT parts the instant is exact, with a lost leading zero and either offset style."""
    local = moment + timedelta(minutes=minutes)
    gmt_time = f"{moment:%H%M%S}"
    read = read_scan_time(
        f"{local:%Y%m%d}",
        f"{local:%H:%M:%S}",
        f"{moment:%Y%m%d}",
        gmt_time.removeprefix("0") if drop_zero else gmt_time,
        written(minutes, separator),
    )
    assert read.instant == moment
    assert read.utc_offset_minutes == minutes
    assert read.local == local.replace(tzinfo=None).isoformat()


@given(INSTANTS, OFFSETS)
def test_local_time_with_offset_gives_the_instant(moment: datetime, minutes: int) -> None:
    """Local time and offset are as good as GMT."""
    local = moment + timedelta(minutes=minutes)
    read = read_scan_time(f"{local:%Y%m%d}", f"{local:%H%M%S}", "", "", written(minutes, "."))
    assert read.instant == moment


@given(INSTANTS)
def test_local_time_alone_is_never_utc(moment: datetime) -> None:
    """Without offset and GMT there is no instant."""
    read = read_scan_time(f"{moment:%Y%m%d}", f"{moment:%H%M%S}", "", "", "")
    assert read.instant is None
    assert not read.zone_known
    assert read.local == moment.replace(tzinfo=None).isoformat()


def test_a_date_alone_is_day_precise() -> None:
    """Without a time of day nothing is invented."""
    read = read_scan_time("20260305", "", "", "", "")
    assert (read.local, read.day_only, read.instant) == ("2026-03-05", True, None)


@pytest.mark.parametrize(
    "parts",
    [
        ("", "", "", "", ""),
        ("2026-13-01", "120000", "", "", ""),
        ("20260305", "250000", "", "", ""),
        ("00010101", "000000", "", "", "+05:00"),
        ("20260305", "120000", "", "", "east"),
        ("20260305", "120000", "20260305", "9999999", "-05:00"),
    ],
)
def test_nonsense_is_refused(parts: tuple[str, str, str, str, str]) -> None:
    """What is no time is an error, not a guess."""
    with pytest.raises(ValueError, match=r"no |must be in"):
        read_scan_time(*parts)


@given(st.text(max_size=8))
def test_reading_parts_raises_only_value_errors(text: str) -> None:
    """Any text is a value or a ValueError."""
    for read in (read_offset, read_time):
        try:
            read(text)
        except ValueError:
            continue
