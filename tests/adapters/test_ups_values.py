"""Values UPS writes in its own way: 1Z numbers, status codes, times of scans."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from importlib.resources import files

import pytest
from crossdock import contracts
from crossdock.exception_reasons import EXCEPTION_REASONS
from crossdock.shipment.v1 import shipment_pb2
from crossdock_adapters.sdk import carrier_scans
from crossdock_adapters.sdk.carrier_scans import read_offset
from crossdock_adapters.sdk.mappings import FILE_NAME, Code, Topic, read_file
from crossdock_adapters.ups import status_codes, tracking_number
from crossdock_adapters.ups.scan_times import read_scan_time, read_time
from hypothesis import assume, given
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
        ("X", "SR", "003", "IN_TRANSIT"),
        ("X", "8", "", "EXCEPTION"),
        ("X", "08", "", "EXCEPTION"),
        ("D", "MQ", "", "DELIVERED"),
        ("I", "DL", "", "IN_TRANSIT"),
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
     ("", "", ""), ("NA", "", ""), ("I", "QZ", ""), ("D", "Q9", ""), ("D", "Q8", ""),
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
# The rest of them, by what UPS tells the recipient.
MORE_X_CODES = {
    "CARRIER_ACCEPTED": ("P4"),
    "DELIVERY_ATTEMPTED": ("7L HQ OH"),
    "EXCEPTION": (
        "01 03 04 06 07 08 1 11 15 16 17 18 19 1A 1B 1C 1E 1G 1H 1K 1L 1O 1Q 1V 1W 1X 22 23 24 "
        "25 26 27 29 2A 2B 2H 2Y 2Z 3 31 33 34 3A 3B 3C 3D 3J 3L 3S 3T 4 40 43 46 47 4K 4P 4Q "
        "4T 4Y 4Z 54 5T 5Z 6 60 64 65 66 67 68 6D 6E 6T 6Z 7 71 72 73 7F 7G 7H 7I 7N 7P 7R 7S "
        "7T 7U 7V 7W 7X 7Y 7Z 8 84 87 8A 8D 8G 8K 8L 8Y 8Z 91 93 95 9F 9L 9M 9N 9O 9P 9Q 9R 9S "
        "9T 9U 9V 9X 9Y 9Z A1 A2 A3 A4 AJ AO AX B1 B5 B9 BA BB BD BE BF BG BH BJ BK BP BZ C5 C6 "
        "C7 C8 C9 CA CC CD CF CH CJ CK CL CM CQ CT CV CW CX CY CZ D1 D2 D4 D9 DC DD DF DG DJ DN "
        "DP DQ DR DU DW DY E2 E3 ED EH EN ES EU EV EW EX EY FA FE FF FG G6 G9 GC GF GH GI GV GZ "
        "H7 H9 HA HG HH HK HN HO I2 IY J0 J8 K1 K2 L2 L5 LE LF LH LI LN LO LQ LV MI MT NI NP NW "
        "OD OI OJ OM OQ OS P6 PH PI PZ Q0 Q1 R6 R7 RA RR RS RX RY S1 S2 S3 S8 SJ SL SN SP TC TE "
        "TF TG TI TN TT TX U0 U3 UG UK UN UR US UW UX VB VI VJ VL VP VQ VR X5 X6 X8 X9 XA XB XC "
        "XE XG XN XO XS XV XW Y1 Y4 Y5 Y7 YE YF YL YM YU YV YW"
    ),
    "INFORMATION": (
        "02 14 1D 1T 2 2E 2G 2R 2U 30 37 3Q 3R 3U 3V 3W 3Z 4L 4M 4N 5A 5B 5D 5U 5V 5W 63 6G 6H "
        "6I 6J 6K 6L 6W 6X 76 78 79 7C 7D 7E 7Q 8C 8E 8F 8M 92 99 9C 9D 9I 9J 9K AH AT AZ BQ BR "
        "BT CG D7 DT E0 E7 F5 FW G1 GN GO GQ GR H6 HJ I3 I9 IB IJ J9 JA JB JC JH JI JJ K5 K6 K8 "
        "KN KO L0 L8 LU LZ O1 O2 O3 O6 O7 O9 OL P7 R3 R8 RF RG RH RI RO RW S0 S6 SO SU T4 T5 T6 "
        "T7 T8 TA TB TH TK TL TO TR TS UD UL UT UZ V9 VA VD VE VF VG VH VM VU VV VW X0 Y2 Y3 Y9 "
        "YR YS Z7 Z8 ZA ZB ZC ZL ZU"
    ),
    "IN_TRANSIT": (
        "05 1M 1P 1U 2N 2O 2S 2T 2V 3P 4B 4C 4F 4H 4I 4J 5 5S 6P 77 7M 8R B3 B4 B6 B8 BV BW BX "
        "C3 CE D5 DB DE E4 E8 E9 EO ER GD HL HM HW I8 IP L3 LX LY OA OB PG R1 R4 R5 RB RC RD RE "
        "RJ RM RP RU RZ S4 S5 SF SI SR SS SV SX SY T9 UI VK VX VZ W8 X2 X3 X4 X7 XD XJ XK XL XY "
        "XZ YA YG YI YT YX Z1 Z3 ZD ZK ZN ZO ZS ZV ZW ZX ZY ZZ"
    ),
    "OUT_FOR_DELIVERY": ("RL"),
    "READY_FOR_COLLECTION": ("8I"),
    "RETURNING": ("4R CS O0"),
}
MORE_D_CODES = {
    "CARRIER_ACCEPTED": ("VS"),
    "DELIVERED": (
        "3F 3G 3H 8N 8O AI FV M1 M2 M3 M4 M6 M8 M9 MA MB MC MD ME MG MH MJ MK MM MN MP MQ MR MS "
        "MU MW MX NL NT OO OZ PF UC YC ZE ZF ZG ZH"
    ),
    "EXCEPTION": (
        "0 00 09 12 32 41 42 44 57 61 62 74 9 98 AU BI BL BM BS CB CO CU DK DZ EB EF EI EK EL "
        "EM F2 FC FO GK HI KU L4 LM MV RQ SG ST"
    ),
    "INFORMATION": ("1Z 2C 38 7A 8Q EE F1 FD FI GW L6 MY SB SE TW UJ"),
    "IN_TRANSIT": ("2D 2J 4X 85 86 A0 EC EG EQ EZ FB YH"),
    "OUT_FOR_DELIVERY": ("7K"),
}
# In the table of exceptions, and delivered by their text.
TOLD_AS_DELIVERED = "56 59 F4 FN FT K7"
# Not in the appendix: what replies in public have, all of them deliveries.
SEEN_D_CODES = {"9E", "FS", "KB", "KM"}
DELIVERIES = {
    *(code for each in (D_CODES, MORE_D_CODES) for code in each["DELIVERED"].split()),
    *TOLD_AS_DELIVERED.split(),
    *SEEN_D_CODES,
}


@pytest.mark.parametrize("code", sorted(DELIVERIES))
def test_a_code_of_a_delivery_is_one_only_where_the_type_says_so(code: str) -> None:
    """Proves that a text that says delivered moves nothing to delivered under UPS's type of
    exceptions or of returns, and does under that of deliveries."""
    assert TABLE.resolve("D", code, "").milestone == "DELIVERED"
    assert TABLE.resolve("X", code, "").milestone == "EXCEPTION"
    assert TABLE.resolve("RS", code, "").milestone == "EXCEPTION"
    assert TABLE.resolve("X", code, "011").milestone == "DELIVERED"


def test_no_code_of_doubtful_meaning_ends_a_parcel() -> None:
    """Proves that void is what the vendor's own table says alone, and that a delivery of less
    certain meaning is one only where UPS's type says delivered beside it."""
    statuses = [row for row in FILE.rows if row.topic is Topic.STATUS]
    ends = [row for row in statuses if row.meaning.canonical in ("VOIDED", "DELIVERED")]
    doubtful = [row for row in ends if row.confidence != "H"]
    assert {(row.code.type, row.meaning.canonical) for row in doubtful} == {("D", "DELIVERED")}


@pytest.mark.parametrize(
    ("kind", "code", "three_digit"), [("X", "", "081"), ("X", "YJ", ""), ("X", "YK", "")]
)
def test_what_is_said_last_of_a_parcel_ends_its_way(kind: str, code: str, three_digit: str) -> None:
    """Proves that a code which is often the last about a parcel that came back is told as
    returned: as returning the parcel would be asked about for ever, and its shipment never end."""
    assert TABLE.resolve(kind, code, three_digit).milestone == "RETURNED"


@pytest.mark.parametrize(("kind", "listed"), [("X", X_CODES), ("D", D_CODES)])
def test_the_tables_of_exceptions_and_deliveries_are_whole(
    kind: str, listed: dict[str, str]
) -> None:
    """Proves that every code of the vendor's two tables means what it is listed for, and that no
    row is there for another: none for any code in particular."""
    listings = (listed, MORE_X_CODES if kind == "X" else MORE_D_CODES)
    expected = {code: means for each in listings for means in each for code in each[means].split()}
    for code, means in expected.items():
        assert TABLE.resolve(kind, code, "").milestone == means, code
    of_kind = {r.code.code for r in FILE.rows if r.topic is Topic.STATUS and r.code.type == kind}
    assert of_kind - {""} == set(expected) | DELIVERIES


@given(
    st.sampled_from(["D", "I", "M", "MV", "X", "U", "ZZ"]),
    st.text("ABDEFOT0123456789", max_size=2),
    st.sampled_from(NUMBERS),
    st.integers(0, 3),
)
def test_a_known_three_digit_code_decides_alone(
    kind: str, code: str, number: int, zeros: int
) -> None:
    """Zero padding, type and pair change nothing once the three-digit code is known, unless that
    says "ready" of what is an exception or a delivery."""
    assume(number != status_codes.READY or kind not in status_codes.AFTER_READY)
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


@pytest.mark.parametrize(
    ("country", "code"), [("us", "US"), ("USA", ""), ("U1", ""), ("\u0178S", ""), ("", "")]
)
def test_a_country_that_is_no_code_costs_no_scan(country: str, code: str) -> None:
    """Proves that what the contract would refuse as a country, and with it every scan of the
    report, is left out: letters of other alphabets, too."""
    found = carrier_scans.place("Reno", "NV", "", country)
    assert found is not None and found.country_code == code
    violations = contracts.validate(found.DESCRIPTOR.full_name, found.SerializeToString())
    assert not violations
