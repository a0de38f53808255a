"""LTL freight by the standard's own rules (release 004010): what must stand where, in both ways."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from crossdock_adapters.ltl_freight import (
    translate_invoice,
    translate_status,
    translate_tender,
)
from crossdock_adapters.ltl_freight.adapter import ADAPTER
from crossdock_adapters.ltl_freight.translate_status import Status, StatusRules
from crossdock_adapters.sdk.edi_mailbox import Read
from crossdock_adapters.sdk.places import Unreadable
from crossdock_adapters.sdk.settings import SettingsError
from crossdock_adapters.sdk.x12 import acknowledgments, envelopes, segments
from crossdock_adapters.sdk.x12.envelopes import Envelope, Group, TransactionSet
from crossdock_adapters.sdk.x12.segments import USUAL, SegmentError
from ltl_freight_world import running


def received(set_id: str, *body: str) -> tuple[TransactionSet, Group]:
    """A set as it came, with these segments, and its group."""
    lines = [
        "ISA*00*          *00*          *02*EXLA           *ZZ*NORTHWIND      "
        "*260305*1407*U*00401*000000071*0*P*>",
        "GS*QM*EXLA*NORTHWIND*20260305*1407*71*X*004010",
        f"ST*{set_id}*0001",
        *body,
        f"SE*{len(body) + 2}*0001",
        "GE*1*71",
        "IEA*1*000000071",
    ]
    (interchange,) = envelopes.read("".join(f"{line}~" for line in lines).encode()).interchanges
    (group,) = interchange.groups
    return group.sets[0], group


def status(found: TransactionSet, group: Group) -> Status:
    """What a 214 says."""
    return translate_status.read(found, group, ADAPTER.mappings, StatusRules("LTL"))


def wrong(found: TransactionSet, group: Group) -> list[Unreadable]:
    """What is wrong with a set that came."""
    try:
        match found.id:
            case "214":
                return list(status(found, group).errors)
            case "210":
                translate_invoice.invoice(found)
            case "990":
                translate_tender.response(found)
    except SegmentError as error:
        return [error]
    return []


@pytest.mark.parametrize(
    ("set_id", "body", "said", "place"),
    [
        ("214", ["LX*1", "AT7*X1*NS***20260305"], "AK3*B10*2**3", "segment 3 (ST): has no B10"),
        ("214", ["L11*7*BM", "B10*41**EXLA"], "AK3*AT7*4**3", "segment 5 (B10): has no AT7"),
        ("210", ["C3*USD", "L3*9*G***100"], "AK3*B3*2**3", "segment 3 (ST): has no B3"),
        ("990", ["N9*CN*41"], "AK3*B1*2**3", "segment 3 (ST): has no B1"),
    ],
)
def test_a_997_names_the_segment_that_is_missing(
    set_id: str, body: list[str], said: str, place: str
) -> None:
    """Proves that an AK3 of code 3 has the name of the segment that should be there and the
    position where it is missed, never the name of one that is there; people are told behind
    which one it belongs."""
    found, group = received(set_id, *body)
    errors = wrong(found, group)
    assert [str(each) for each in errors] == [place]
    judged = acknowledgments.judged(found, Read.of(errors).faults)
    built = acknowledgments.build(acknowledgments.answer(group, [judged]), "0001", USUAL)
    (named,) = [each for each in built.body if each.id == "AK3"]
    assert segments.written([named]) == f"{said}~"


@pytest.mark.parametrize(
    ("head", "pro"),
    [
        # R0106: one of B10-01 and B10-06 is there; P0506: the sixth with its qualifier.
        ("B10**S-2001*EXLA**CN*041-2345678", "0412345678"),
        ("B10*0412345678*S-2001*EXLA**CN*99", "0412345678"),
        ("B10**S-2001*EXLA**BM*S-2001", "55500017"),
    ],
)
def test_the_pro_may_stand_behind_its_qualifier(head: str, pro: str) -> None:
    """Proves that where B10-01 is empty the reference that B10-05 calls the carrier's is the PRO,
    before any of L11, and that another qualifier's is not."""
    found, group = received("214", head, "L11*55500017*CN", "LX*1", "AT7*X1*NS***20260305")
    assert status(found, group).pro == pro


def test_a_reference_of_another_kind_is_no_pro() -> None:
    """Proves that a 214 which names only the shipper's numbers is held with its element."""
    found, group = received("214", "B10**S-2001*EXLA**BM*S-2001", "AT7*X1*NS***20260305")
    (error,) = wrong(found, group)
    assert str(error).startswith("segment 4 (B10), element 1: is missing")


@pytest.mark.parametrize(
    ("version", "release", "day"),
    [
        ("00306", "003060", "260305"),
        ("00307", "", "260305"),
        ("00401", "", "20260305"),
        ("00401", "004010UCS", "20260305"),
        ("00306", "004010", "20260305"),
        ("00200", "005010X230", "20260305"),
    ],
)
def test_the_day_of_a_group_is_as_wide_as_its_release_says(
    version: str, release: str, day: str
) -> None:
    """Proves that GS04 has six digits before release 004010 and eight from it on, by GS08 and not
    by the version of the interchange, and is read again as the same day."""
    how = Envelope(("02", "EXLA"), ("ZZ", "NORTHWIND"), "A1", "B2", version, release)
    header = how.group("FA", 1, datetime(2026, 3, 5, 14, 7, tzinfo=UTC), []).header
    assert header.raw(4) == day
    assert header.date(4) == date(2026, 3, 5)


async def test_tenders_are_of_the_release_that_they_are_written_in(tmp_path: Path) -> None:
    """Proves that an endpoint which tenders by an older release, whose 204 is another one, is
    refused at its start, and that one which only reads and acknowledges is not."""
    older = {"interchange_version": "00306", "release": "003060"}
    with pytest.raises(SettingsError, match=r"release is '003060'.*004010"):
        async with running(tmp_path, booking="tender", **older):
            pass
    async with running(tmp_path, **older):
        pass


@pytest.mark.parametrize("booking", ["tender", "rest"])
@pytest.mark.parametrize("release", ["3060", "VICS3060", "00401", "0040100000000", "004010vics"])
async def test_a_release_that_is_none_is_refused(
    release: str, booking: str, tmp_path: Path
) -> None:
    """Proves that a release which cannot be told to be older or newer is refused at the start,
    with the setting, the rule and what to give."""
    said = rf"release is '{release}'.*six digits.*give it as the partner's guide says it"
    with pytest.raises(SettingsError, match=said):
        async with running(tmp_path, booking=booking, release=release):
            pass


def test_a_cancellation_has_the_stops_that_every_204_has() -> None:
    """Proves that a tender is taken back by a 204 that has what the standard requires of each one:
    after its head a stop (S5) to load at and one to unload at; a partner's translator rejects it
    without them."""
    rules = translate_tender.TenderRules("EXLA")
    made = translate_tender.cancellation("REF-1", rules, USUAL)
    assert segments.written(made.segments()) == (
        "ST*204*0001~B2**EXLA**REF-1**PP~B2A*01~S5*1*LD~S5*2*UL~SE*6*0001~"
    )


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("2400", "2026-03-01T00:00:00-05:00"),
        ("240000", "2026-03-01T00:00:00-05:00"),
        ("24000000", "2026-03-01T00:00:00-05:00"),
        ("2401", ""),
        ("240001", ""),
        ("2500", ""),
        ("2359", "2026-02-28T23:59:00-05:00"),
    ],
)
def test_an_end_of_day_is_the_next_days_first_moment_where_the_carrier_means_so(
    written: str, told: str
) -> None:
    """Proves that 24:00, which X12 does not have, is held unless a deployment says that its carrier
    means the end of the day, then over the end of a month; no other hour is read so."""
    scan = f"AT7*D1*NS***20260228*{written}*ES"
    found, group = received("214", "B10*500000001*S-2001*EXLA", "LX*1", scan)
    rules = StatusRules("LTL", ends_days=True)
    read = translate_status.read(found, group, ADAPTER.mappings, rules)
    moments = [event.event_time.instant.ToDatetime(UTC) for event in read.events]
    assert moments == ([datetime.fromisoformat(told)] if told else [])
    assert len(read.errors) == (0 if told else 1)
    strict = status(found, group)
    assert bool(strict.events) is (written == "2359")
