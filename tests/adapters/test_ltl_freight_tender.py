"""LTL freight by load tender: one 204, its 997 and 990 in any order, and none that is late."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from crossdock_adapters.ltl_freight import conformance, translate_tender
from crossdock_adapters.ltl_freight.translate_tender import TenderRules
from crossdock_adapters.sdk import edi_replies
from crossdock_adapters.sdk.attempts import HubAway
from crossdock_adapters.sdk.conformance import conforming
from crossdock_adapters.sdk.conformance.bench import CHECKS
from crossdock_adapters.sdk.conformance.report import Result
from crossdock_adapters.sdk.conformance.stage import until
from crossdock_adapters.sdk.drop_folder import LocalFolder
from crossdock_adapters.sdk.outcomes import (
    AnswerLater,
    NeedsPerson,
    OutcomeUnknown,
    Reject,
    Retry,
    Unreachable,
    Untranslatable,
)
from crossdock_adapters.sdk.settings import SettingsError
from crossdock_adapters.sdk.x12 import envelopes, segments
from crossdock_adapters.sdk.x12.segments import USUAL
from ltl_freight_world import REFERENCE, World, pallets, running

NOW = datetime(2026, 3, 5, 14, 7, tzinfo=UTC)
PRO = "500000001"
RULES = TenderRules("EXLA", services={"LTL_GUARANTEED_NOON": "STANDARD"})


async def tendered(world: World) -> None:
    """The first attempt: the tender is out, and the carrier has answered it."""
    with pytest.raises(AnswerLater, match=r"waits for its 997"):
        await world.buy(pallets(2))
    await world.answered()


@pytest.mark.timeout(300)
async def test_tenders_over_sftp_conform(tmp_path: Path) -> None:
    """Proves that booking and taking back by tender pass every check of the kit with a mailbox over
    SFTP, but for three that SFTP and files cannot have, and that of a stranger's call, which no
    poll has, each with its reason."""
    place = f"{conformance.__name__}:BY_TENDER"
    report = await conforming.conform(conformance.BY_TENDER, tmp_path, place=place)
    assert report.conforms, report.as_text()
    assert {finding.check for finding in report.findings} == set(CHECKS)
    left_out = [each for each in report.findings if each.result is not Result.PASSED]
    assert all(each.said for each in left_out)
    assert {each.check for each in left_out} == {
        *conformance.BY_TENDER.not_applicable,
        "unproven_sender",
    }


async def test_an_upload_that_is_cut_off_is_no_tender(tmp_path: Path) -> None:
    """Proves that a connection which is cut while a tender is uploaded leaves nothing that the
    carrier reads, is told as not done, and that the next attempt sends it once, as its number."""
    over_sftp = {"mailbox_password": conformance.MAILBOX_PASSWORD}
    async with running(tmp_path, over_sftp, booking="tender") as world:
        faults, calls = world.sandbox.faults, world.sandbox.calls
        faults.add({"kind": "slow", "operation": "put", "count": 1, "delay_seconds": 0.3})
        first = asyncio.create_task(world.buy(pallets(2)))
        await until(lambda: any(call.operation == "put" for call in calls), "the upload began")
        faults.add({"kind": "down"})
        await world.sandbox.apply_outage()
        with pytest.raises(Retry, match="the connection was lost"):
            await first
        faults.clear("down")
        await world.sandbox.apply_outage()
        await until(
            lambda: world.names("to_carrier") == ["SM_000000001.edi.tmp"],
            "what was begun is there, under a name that nobody reads",
        )
        await world.sandbox.tick()
        assert not world.sandbox.books()["tenders"]
        await tendered(world)
        done = await world.buy(pallets(2))
        assert [each.value for each in done.references] == [PRO, PRO]
        assert len(world.sandbox.books()["tenders"]) == 1 and not world.names("to_carrier")[1:]


async def test_a_tender_whose_rename_is_not_answered_is_sent_once(tmp_path: Path) -> None:
    """Proves that a rename which the server did and called a failure is an unknown outcome, and
    that the same bytes under the same number, which follow it, are no second truck."""
    over_sftp = {"mailbox_password": conformance.MAILBOX_PASSWORD}
    async with running(tmp_path, over_sftp, booking="tender") as world:
        world.sandbox.faults.add({"kind": "reply_lost", "operation": "tender", "count": 1})
        with pytest.raises(OutcomeUnknown, match="the connection was lost"):
            await world.buy(pallets(2))
        await world.sandbox.tick()
        await tendered(world)
        done = await world.buy(pallets(2))
        books = world.sandbox.books()
        assert len(done.facts) == 2 and len(books["tenders"]) == 1
        assert (books["tenders_repeated"], books["tenders_doubled"]) == (1, 0)


async def test_a_tender_is_booked_when_it_is_accepted(tmp_path: Path) -> None:
    """Proves that a 997 alone confirms nothing, that an acceptance does, once, with the labels of
    all pallets, and that what was booked by it is the whole shipment."""
    async with running(tmp_path, booking="tender") as world:
        await world.command("misbehave", kind="no_answer")
        await tendered(world)
        with pytest.raises(AnswerLater, match="waits for its answer"):
            await world.buy(pallets(2))
        await world.command("respond", reference=REFERENCE, code="A")
        await world.look()
        done = await world.buy(pallets(2))
        assert [each.value for each in done.references] == [PRO, PRO] and len(done.facts) == 2
        (tender,) = world.sandbox.books()["tenders"]
        assert tender == {"reference": REFERENCE, "purpose": "00", "pro": PRO}
        assert not world.hub.held
    async with running(tmp_path, booking="tender") as world:
        await tendered(world)
        await world.buy(pallets(2))
        (bol,) = world.sandbox.books()["bols"]
        assert (bol["pro"], bol["units"], bol["weight"]) == (PRO, 2, 1810)
        assert bol["destination"] == ("PORTLAND", "OR")


async def test_a_quick_answer_ends_the_attempt_that_sent_it(tmp_path: Path) -> None:
    """Proves that an answer that comes while the attempt waits for it is its outcome."""
    async with running(tmp_path, booking="tender", answer_wait_seconds=60) as world:
        booking = asyncio.create_task(world.buy(pallets(2)))
        async with asyncio.timeout(60):
            while not booking.done():
                await world.answered()
                await asyncio.sleep(0.01)
        assert len((await booking).facts) == 2


async def test_a_declined_tender_is_rejected(tmp_path: Path) -> None:
    """Proves that a decline is the carrier's refusal with its reason, however often it is asked."""
    async with running(tmp_path, booking="tender") as world:
        await world.command("misbehave", kind="decline")
        await tendered(world)
        for _ in range(2):
            with pytest.raises(Reject, match="NO TRUCK") as refused:
                await world.buy(pallets(2))
            assert refused.value.code == "D"
        assert len(world.sandbox.books()["tenders"]) == 1


async def test_silence_is_what_the_setting_says(tmp_path: Path) -> None:
    """Proves that a tender without an answer in time is declined, or a person's, and that an
    acceptance that comes after that is held for one."""
    quick: dict[str, Any] = {"booking": "tender", "tender_answer_seconds": 0}
    async with running(tmp_path, **quick) as world:
        with pytest.raises(Reject, match="did not answer within"):
            await world.buy(pallets(2))
        await world.answered()
        ((_, reason),) = world.hub.held
        assert reason.endswith("it says A of what was answered X before")
        with pytest.raises(Reject, match="did not answer within"):
            await world.buy(pallets(2))
    async with running(tmp_path, **quick, tender_silence="person") as world:
        with pytest.raises(NeedsPerson, match="ask it"):
            await world.buy(pallets(2))
        await world.answered()
        ((_, reason),) = world.hub.held
        assert reason.endswith("it says A of what was answered X before")
        with pytest.raises(NeedsPerson, match="ask it"):
            await world.buy(pallets(2))
        assert len(world.sandbox.books()["tenders"]) == 1
    async with running(tmp_path, booking="tender", acknowledgement_seconds=0) as world:
        with pytest.raises(OutcomeUnknown, match="SILENT: interchange 000000001 has no 997"):
            await world.buy(pallets(2))


async def test_a_tender_that_cannot_be_read_parks(tmp_path: Path) -> None:
    """Proves that a 997 that rejects our tender is told with its interchange."""
    async with running(tmp_path, booking="tender") as world:
        await world.command("misbehave", kind="unreadable")
        await tendered(world)
        with pytest.raises(NeedsPerson, match=r"interchange 000000001 \(997 or TA1 says R"):
            await world.buy(pallets(2))


async def test_strange_answers_are_held(tmp_path: Path) -> None:
    """Proves that a conditional answer and one to no tender are held with their place, and that a
    decline after the acceptance is held and takes nothing back."""
    async with running(tmp_path, booking="tender") as world:
        await world.command("misbehave", kind="conditional")
        await tendered(world)
        with pytest.raises(AnswerLater, match="its answer"):
            await world.buy(pallets(2))
        await world.command("respond", reference="NOBODYS", code="A")
        await world.look()
        reasons = [reason for _, reason in world.hub.held]
        assert reasons == [
            "segment 4 (B1), element 4: is none of A, D and E",
            "segment 3 (ST): it answers nothing that is known to be sent",
        ]
    async with running(tmp_path, booking="tender") as world:
        await world.command("misbehave", kind="decline_after_accept")
        await tendered(world)
        await world.buy(pallets(2))
        ((_, reason),) = world.hub.held
        assert reason.endswith("it says D of what was answered A before")


def dying(world: World, after: int) -> Any:
    """The hub does not take what is known of tenders once it has taken so many changes of it."""
    kept, left = world.cursors.put_cursor, after

    async def dies(name: str, value: bytes, expected_version: int) -> int:
        nonlocal left
        if name == "sent:SM":
            left -= 1
            if left < 0:
                raise Retry(0.0, "the hub is away")
        return await kept(name, value, expected_version)

    return patch.object(world.cursors, "put_cursor", dies)


async def test_what_is_not_noted_is_not_tendered(tmp_path: Path) -> None:
    """Proves that nothing is out of a tender that the hub could not note, or has no room for, and
    that the next attempt sends it under the number that was taken."""
    async with running(tmp_path, booking="tender") as world:
        with dying(world, 0), pytest.raises(Retry, match="the hub is away"):
            await world.buy(pallets(2))
        with (
            patch.object(edi_replies, "MAX_SENT", 0),
            pytest.raises(Retry, match="wait for their answer"),
        ):
            await world.buy(pallets(2))
        assert world.names("to_carrier") == []
        await tendered(world)
        assert len((await world.buy(pallets(2))).facts) == 2
        assert len(world.sandbox.books()["tenders"]) == 1


async def test_a_death_behind_the_file_loses_no_answer(tmp_path: Path) -> None:
    """Proves that an attempt that published its tender and could not say so is unknown, and that
    the carrier's answer in the meantime books it, once."""
    async with running(tmp_path, booking="tender") as world:
        with dying(world, 1), pytest.raises(OutcomeUnknown, match="is out, and not noted yet"):
            await world.buy(pallets(2))
        await world.answered()
        assert len((await world.buy(pallets(2))).facts) == 2
        books = world.sandbox.books()
        assert (len(books["tenders"]), books["tenders_repeated"]) == (1, 0)
        assert not world.hub.held


async def test_a_death_behind_the_file_sends_the_same_again(tmp_path: Path) -> None:
    """Proves that the next attempt sends the same number while the carrier has not answered, also
    when its key is long forgotten, and that the carrier knows it again."""
    async with running(tmp_path, booking="tender") as world:
        await world.command("misbehave", kind="no_997")
        await world.command("misbehave", kind="no_answer")
        with dying(world, 1), pytest.raises(OutcomeUnknown, match="is out, and not noted yet"):
            await world.buy(pallets(2))
        assert (await world.poll().sequences.state("interchange")).open == ()  # type: ignore[union-attr]
        await world.sandbox.tick()
        for _ in range(2):
            with pytest.raises(AnswerLater):
                await world.buy(pallets(2))
            await world.sandbox.tick()
        books = world.sandbox.books()
        assert (len(books["tenders"]), books["tenders_repeated"]) == (1, 1)


async def test_a_tender_whose_time_went_by_is_not_sent(tmp_path: Path) -> None:
    """Proves that a tender which was noted and could not be published goes out while there is time
    to answer it, and parks unsent after that, however often; what is out already is not asked."""
    full = patch.object(LocalFolder, "put", side_effect=Unreachable(0.0, "no space"))
    async with running(tmp_path, booking="tender", tender_answer_seconds=3600) as world:
        with full, pytest.raises(Unreachable):
            await world.buy(pallets(2))
        raw, version = world.cursors.values["sent:SM"]
        (noted,) = edi_replies.decode(raw)
        early = replace(noted, sent=noted.sent - timedelta(seconds=3610))
        world.cursors.values["sent:SM"] = edi_replies.encode((early,)), version
        for _ in range(2):
            with pytest.raises(NeedsPerson, match="000000001: its time went by before it was sent"):
                await world.buy(pallets(2))
        assert not world.names("to_carrier")
        world.cursors.values["sent:SM"] = edi_replies.encode((replace(early, out=True),)), version
        with pytest.raises(Reject, match="did not answer within"):
            await world.buy(pallets(2))
    async with running(tmp_path, booking="tender") as world:
        with full, pytest.raises(Unreachable):
            await world.buy(pallets(2))
        await tendered(world)


async def test_an_answered_tender_is_kept_for_its_delivery(tmp_path: Path) -> None:
    """Proves that a tender whose answer no delivery has taken makes no room for another one, which
    waits unsent, and is offered once; and that it does when its delivery has the answer."""
    async with running(tmp_path, booking="tender") as world:
        other = "OTHERFZDMZTWQ2LKNNWG"
        with patch.object(edi_replies, "MAX_SENT", 1):
            await tendered(world)
            with pytest.raises(Retry, match="or their delivery"):
                await world.buy(pallets(1), other)
            assert len((await world.buy(pallets(2))).facts) == 2
            with patch.object(edi_replies, "KEPT_COLLECTED", timedelta(0)):
                with pytest.raises(AnswerLater):
                    await world.buy(pallets(1), other)
                await world.answered()
        books = world.sandbox.books()
        assert [each["reference"] for each in books["tenders"]] == [REFERENCE, other]
        assert books["tenders_doubled"] == 0


async def test_room_for_tenders_is_asked_for_in_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Proves that the log says how many tenders wait, and what to do, before one has to wait
    unsent, and that one whose delivery has its answer is not counted."""
    with (
        patch.object(edi_replies, "MAX_SENT", 2),
        patch.object(edi_replies, "KEPT_COLLECTED", timedelta(0)),
    ):
        async with running(tmp_path, booking="tender") as world:
            await tendered(world)
            await world.buy(pallets(2))
            for number, warned in ((1, False), (2, True)):
                with pytest.raises(AnswerLater):
                    await world.buy(pallets(1), f"{number:020}")
                said = "2 of at most 2 sets of SM wait for their answer" in caplog.text
                assert said is warned


async def test_the_carrier_counts_second_offers(tmp_path: Path) -> None:
    """Proves that the simulated carrier tells a shipment that is offered a second time under
    another control number, as by a hub that lost what it had noted."""
    async with running(tmp_path, booking="tender") as world:
        for doubled in range(2):
            world.cursors.values.pop("sent:SM", None)
            await tendered(world)
            assert world.sandbox.books()["tenders_doubled"] == doubled


async def test_a_tender_is_taken_back_once(tmp_path: Path) -> None:
    """Proves that a cancellation waits for its 997, and that two pallets are cancelled by one."""
    async with running(tmp_path, booking="tender") as world:
        await tendered(world)
        two = pallets(2)
        await world.buy(two)
        for package in two.packages:
            with pytest.raises(AnswerLater, match="waits for its 997"):
                await world.void(two, package.id)
        await world.answered()
        for package in two.packages:
            assert len((await world.void(two, package.id)).facts) == 2
        books = world.sandbox.books()
        assert [each["purpose"] for each in books["tenders"]] == ["00", "01"]
        assert books["cancelled"] == 1


@pytest.mark.parametrize("trouble", [HubAway("no answer"), Retry(0.0, "moved by others")])
async def test_an_end_that_is_not_noted_is_unknown(tmp_path: Path, trouble: Exception) -> None:
    """Proves that a cancellation that is done, and a tender whose time is over, are unknown where
    the hub cannot note it, because both are out; and that the next attempt ends them."""

    @contextmanager
    def unnoted() -> Iterator[None]:
        with (
            patch.object(edi_replies, "note_answer", side_effect=trouble),
            pytest.raises(OutcomeUnknown, match="is out; its end is not noted"),
        ):
            yield

    async with running(tmp_path, booking="tender") as world:
        await tendered(world)
        one = pallets(1)
        await world.buy(one)
        with pytest.raises(AnswerLater):
            await world.void(one)
        await world.answered()
        with unnoted():
            await world.void(one)
        assert len((await world.void(one)).facts) == 1
    async with running(tmp_path, booking="tender", tender_answer_seconds=0) as world:
        with unnoted():
            await world.buy(pallets(1))
        with pytest.raises(Reject, match="did not answer within"):
            await world.buy(pallets(1))


async def test_tenders_need_a_mailbox_and_a_carrier(tmp_path: Path) -> None:
    """Proves that booking by tender without a mailbox or a SCAC is refused at the start."""
    without: list[dict[str, Any]] = [{"location": ""}, {"scacs": []}]
    for missing in without:
        with pytest.raises(SettingsError, match="booking by tender needs"):
            async with running(tmp_path, booking="tender", **missing):
                pass


def test_a_tender_says_the_shipment() -> None:
    """Proves a 204: who, our reference, the PRO, until when, both stops in order, weight."""
    made = translate_tender.tender(
        conformance.shipment(), "REF", PRO, NOW, NOW.date(), RULES, USUAL
    )
    assert segments.written(made.segments()) == (
        "ST*204*0001~B2**EXLA**REF**PP~B2A*00~L11*500000001*CN~L11*S-2001*BM~L11*SO-2001*PO~"
        "G62*64*20260305*1*1407*UT~S5*1*LD*905*L*1*PL~G62*10*20260305~N1*SF*Northwind Outfitters~"
        "N3*12 Dock Road~N4*Reno*NV*89502*US~S5*2*UL*905*L*1*PL~N1*ST*Cascade Supply~"
        "N3*7 Alder Street~N4*Portland*OR*97205*US~L3*905*G~SE*18*0001~"
    )


def test_what_x12_cannot_say_is_not_tendered() -> None:
    """Proves that free text loses delimiters, and that a reference with one is refused."""
    shipment = conformance.shipment()
    shipment.ship_to.name = "Cascade*Supply~"
    rules = RULES
    made = translate_tender.tender(shipment, "REF", PRO, NOW, NOW.date(), rules, USUAL)
    assert [each.text(2) for each in made.body if each.id == "N1"][1] == "Cascade Supply"
    shipment.order_number = "SO*1"
    with pytest.raises(Untranslatable, match="cannot be said in X12"):
        translate_tender.tender(shipment, "REF", PRO, NOW, NOW.date(), rules, USUAL)
    shipment = conformance.shipment()
    shipment.ship_from.address.ClearField("lines")
    with pytest.raises(Untranslatable, match="SF: a stop needs"):
        translate_tender.tender(shipment, "REF", PRO, NOW, NOW.date(), rules, USUAL)


def test_a_tender_says_its_accessorials_as_notes_or_not_at_all() -> None:
    """Proves that an ordered service and accessorials, for which a 204 has no element, are refused
    unless they may go as notes, that special instructions go as notes of at most 80 characters, and
    that what needs too many of them is refused."""
    shipment, today = conformance.shipment(), NOW.date()
    rules = TenderRules("EXLA", accessorials=["LFTD"], services={"LTL_GUARANTEED_NOON": "GTD_NOON"})
    with pytest.raises(Untranslatable, match="no element for GTD_NOON, LFTD: set tender_notes"):
        translate_tender.tender(shipment, "REF", PRO, NOW, today, rules, USUAL)
    with pytest.raises(Untranslatable, match="no accessorial code"):
        translate_tender.tender(shipment, "REF", PRO, NOW, today, TenderRules("EXLA"), USUAL)
    rules = replace(rules, notes=True, special_instructions="Call the dock~ " * 8)
    made = translate_tender.tender(shipment, "REF", PRO, NOW, today, rules, USUAL)
    notes = [each.text(2) for each in made.body if each.id == "NTE"]
    assert notes[0] == "ACCESSORIALS GTD_NOON LFTD" and len(notes) == 3
    assert " ".join(notes[1:]) == " ".join(["Call the dock"] * 8)
    assert all(len(each) <= 80 for each in notes)
    rules = replace(rules, special_instructions="Call the dock " * 80)
    with pytest.raises(Untranslatable, match="special_instructions: at most 10 notes"):
        translate_tender.tender(shipment, "REF", PRO, NOW, today, rules, USUAL)


async def test_what_a_tender_cannot_say_takes_no_number(tmp_path: Path) -> None:
    """Proves that a shipment is refused by what a tender says before a PRO is taken, and that what
    only a bill of lading needs is not asked of it."""
    async with running(tmp_path, booking="tender", tender_notes=False) as world:
        with pytest.raises(Untranslatable, match="no element for GTD_NOON"):
            await world.buy(pallets(1))
        assert not world.drafts and not world.cursors.values
        plain = pallets(1)
        plain.service_code = "FREIGHT"
        plain.packages[0].ClearField("length")
        with pytest.raises(AnswerLater):
            await world.buy(plain)
        assert world.drafts[REFERENCE] == PRO


async def test_what_the_encoding_does_not_have_takes_no_number(tmp_path: Path) -> None:
    """Proves that a name or an instruction with a character outside the mailbox's encoding is
    refused with its element before a PRO is taken, that any other set is before it is noted, and
    that an encoding that has it sends it."""
    apostrophe = pallets(1)
    apostrophe.ship_to.name = apostrophe.ship_to.company = "Joe\u2019s Outfitters"
    async with running(tmp_path, booking="tender") as world:
        with pytest.raises(
            Untranslatable, match="N102: the encoding latin-1 does not have '\u2019'"
        ):
            await world.buy(apostrophe)
        assert not world.drafts
        assert world.vendor.mailbox is not None
        dashed = [segments.segment(USUAL, "B2", "", "one \u2013 two")]
        made = envelopes.transaction_set(USUAL, "204", "0001", dashed)
        work = world.work("void_label", None, REFERENCE, "")
        with pytest.raises(Untranslatable, match="B202"):
            await edi_replies.send_once(
                work, world.vendor.mailbox, "SM", REFERENCE, lambda _: [made]
            )
        assert not world.cursors.values and not world.names("to_carrier")
    dashed_too = {"special_instructions": "Dock 3 \u2013 call"}
    async with running(tmp_path, booking="tender", **dashed_too) as world:
        with pytest.raises(Untranslatable, match="NTE02"):
            await world.buy(pallets(1))
    async with running(tmp_path, booking="tender", encoding="utf-8", **dashed_too) as world:
        with pytest.raises(AnswerLater):
            await world.buy(apostrophe)
        (name,) = world.names("to_carrier")
        assert "Joe\u2019s" in (world.folder("to_carrier") / name).read_text(encoding="utf-8")
