"""LTL freight at its simulated carrier: one bill of lading, whatever is lost; files told once."""

from __future__ import annotations

import logging
import os
import time
from datetime import date
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from crossdock.shipment.v1 import shipment_pb2
from crossdock_adapters.ltl_freight.adapter import ADAPTER
from crossdock_adapters.ltl_freight.client import Taken
from crossdock_adapters.ltl_freight.conformance import status
from crossdock_adapters.sdk.alerts import Alerts
from crossdock_adapters.sdk.edi_mailbox import RECORD
from crossdock_adapters.sdk.http import Answer
from crossdock_adapters.sdk.outcomes import (
    NeedsPerson,
    NotTried,
    OutcomeUnknown,
    Reject,
    Untranslatable,
)
from crossdock_adapters.sdk.settings import SettingsError
from crossdock_adapters.sdk.work import HeldPayload
from crossdock_adapters.sdk.x12 import receiving
from crossdock_adapters.sdk.x12.receiving import Seen
from ltl_freight_world import REFERENCE, World, pallets, running
from multidict import CIMultiDict

PAYLOADS = Path(__file__).parent / "payloads" / "ltl-freight"
FIRST_PRO = "500000001"


async def lost_once(world: World) -> None:
    """An attempt whose answer is lost, behind the carrier's back door."""
    world.sandbox.faults.add({"kind": "reply_lost", "operation": "create", "count": 1})
    with pytest.raises(OutcomeUnknown):
        await world.buy(pallets(1))


async def test_a_lost_answer_makes_one_bill_of_lading(tmp_path: Path) -> None:
    """Proves that the second call under the same PRO is told that it is taken, finds our reference
    with it and adopts it, and that the carrier has one."""
    async with running(tmp_path) as world:
        await lost_once(world)
        done = await world.buy(pallets(1))
        assert [each.value for each in done.references] == [FIRST_PRO, FIRST_PRO]
        assert "already" in done.note and "print it from the carrier" in done.note
        (bol,) = world.sandbox.books()["bols"]
        assert (bol["pro"], bol["shipment_id"]) == (FIRST_PRO, REFERENCE)


async def test_a_pro_that_is_somebody_elses_is_never_adopted(tmp_path: Path) -> None:
    """Proves that a PRO under which the carrier shows another reference parks, and that one which
    it does not show at all stays unknown."""
    async with running(tmp_path) as world:
        await world.buy(pallets(1), "ANOTHER" + "A" * 13)
        world.cursors.values.clear()
        with pytest.raises(NeedsPerson, match="belongs to another shipment"):
            await world.buy(pallets(1))
    async with running(tmp_path, {"events_visible_after_seconds": 3600}) as world:
        await lost_once(world)
        with pytest.raises(OutcomeUnknown, match="no event shows whose it is"):
            await world.buy(pallets(1))
    async with running(
        tmp_path, {"events_visible_after_seconds": 3600}, verify_duplicates=False
    ) as world:
        await lost_once(world)
        assert (await world.buy(pallets(1))).references[0].value == FIRST_PRO


async def test_labels_that_cannot_be_drawn_cost_no_second_shipment(tmp_path: Path) -> None:
    """Proves that code 1200 is a bill of lading that was made, told without an image."""
    async with running(tmp_path) as world:
        await world.command("misbehave", kind="image_failure")
        done = await world.buy(pallets(1))
        assert "could not be drawn" in done.note and not world.hub.stored[0].image
        assert len(world.sandbox.books()["bols"]) == 1
        again = await world.buy(pallets(1), "B" * 20)
        assert world.hub.stored[1].image.startswith(b"%PDF") and not again.note


async def test_pallets_share_one_bill_of_lading(tmp_path: Path) -> None:
    """Proves that the first pallet books all, with a number for each, that the others wait for it
    and make no call, and that a status is told of each of them."""
    async with running(tmp_path) as world:
        three = pallets(3)
        second = three.packages[1].id
        with pytest.raises(NotTried):
            await world.buy(three, "SECOND" + "A" * 14, second)
        await world.buy(three)
        done = await world.buy(three, "SECOND" + "A" * 14, second)
        assert done.references[0].value == f"{FIRST_PRO}-002"
        (bol,) = world.sandbox.books()["bols"]
        assert (bol["units"], bol["weight"]) == (3, 3 * 905)
        await world.command("report", pro=FIRST_PRO, status="AF")
        await world.look()
        numbers = sorted(event.tracking_number for event in world.hub.scans.values())
        assert numbers == [FIRST_PRO, f"{FIRST_PRO}-002", f"{FIRST_PRO}-003"]


async def test_cancelling_is_one(tmp_path: Path) -> None:
    """Proves that each pallet's cancellation is one of the bill of lading, that a second one finds
    it cancelled, that without a label there is nothing to do, and that freight on its way stays."""
    async with running(tmp_path) as world:
        two = pallets(2)
        assert "nothing to cancel" in (await world.void(two)).note
        await world.buy(two)
        for package in two.packages:
            done = await world.void(two, package.id)
            assert len(done.facts) == 2
        assert world.sandbox.books()["cancelled"] == 1
    async with running(tmp_path) as world:
        await world.buy(pallets(1))
        await world.command("pickup")
        await world.sandbox.tick()
        with pytest.raises(Reject, match="was picked up"):
            await world.void(pallets(1))


async def test_freight_is_picked_up_by_itself_unless_it_is_cancelled(tmp_path: Path) -> None:
    """Proves that a simulated carrier with auto_pickup_seconds needs no command, that what was
    cancelled before does not move, and that its control numbers begin behind skipped_numbers."""
    given = {"auto_pickup_seconds": 0, "skipped_numbers": 40_000}
    for cancelled, state in ((True, "cancelled"), (False, "delivered")):
        async with running(tmp_path, given) as world:
            await world.buy(pallets(1))
            if cancelled:
                await world.void(pallets(1))
            await world.sandbox.tick()
            books = world.sandbox.books()
            assert [bol["state"] for bol in books["bols"]] == [state]
            assert (books["interchanges"] > 40_000) is not cancelled


async def test_what_cannot_be_said_takes_no_number(tmp_path: Path) -> None:
    """Proves that a shipment which does not fit is refused before a PRO is taken, that a range
    which is used up parks, and that the carrier's refusals are told in its words."""
    async with running(tmp_path, pro_last=500000001) as world:
        abroad = pallets(1)
        abroad.ship_to.address.country_code = "DE"
        with pytest.raises(Untranslatable, match="ship to: freight goes within"):
            await world.buy(abroad, "C" * 20)
        # It took none: the only number of the range goes to another shipment.
        await world.buy(pallets(1))
        with pytest.raises(NeedsPerson, match="used up"):
            await world.buy(pallets(1), "B" * 20)
    async with running(tmp_path, {"pro_range": [1, 2]}) as world:
        with pytest.raises(Reject, match="is not of your range") as refused:
            await world.buy(pallets(1))
        assert refused.value.code == "500"


async def test_a_password_grant_renews_its_token(tmp_path: Path) -> None:
    """Proves that a token of a password grant is fetched with user and password, and anew when the
    carrier forgot it."""
    os.environ["LTL_TEST_PASSWORD"] = "of-the-user"
    user = {"username": "dock", "password": "of-the-user"}
    async with running(
        tmp_path, user, username="dock", account_password="env:LTL_TEST_PASSWORD"
    ) as world:
        await world.buy(pallets(1))
        await world.command("expire_tokens")
        await world.buy(pallets(1), "B" * 20)
        assert len(world.sandbox.books()["bols"]) == 2
        assert [call.operation for call in world.sandbox.calls].count("token") == 2


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"freight_class": "80"}, "freight_class"),
        ({"accessorials": ["LFTD", "XYZ"]}, "XYZ"),
        ({"pro_last": 5}, "pro_first"),
        ({"pro_digits": 8}, "pro_digits"),
        ({"pro_check": "modulo_9"}, "pro_check"),
        ({"our_id": ""}, "our_id"),
        ({"our_id": "A" * 16}, "header"),
        ({"our_application_id": "DOCK\u2013"}, "header"),
        ({"delimiters": "*>"}, "delimiters"),
        ({"delimiters": "**~"}, "delimiters"),
    ],
)
async def test_a_wrong_setting_is_told_at_the_start(
    tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    """Proves that what would fail with the first shipment or file fails before it."""
    with pytest.raises(SettingsError, match=told):
        async with running(tmp_path, **changes):
            pass


async def test_freight_is_told_from_pickup_to_delivery(tmp_path: Path) -> None:
    """Proves that each status of a journey becomes a scan with its instant by the place's zone,
    that each interchange is acknowledged once, and that its file is put away."""
    async with running(tmp_path) as world:
        await world.buy(pallets(1))
        await world.command("pickup")
        await world.sandbox.tick()
        await world.look()
        scans = list(world.hub.scans.values())
        assert [scan.status_code for scan in scans] == ["X3", "AF", "P1", "X4", "AJ", "X1", "D1"]
        zoned = [scan for scan in scans if scan.event_time.HasField("instant")]
        # Nevada lies in two zones, so its local times stay without an instant.
        assert [scan.place.state for scan in zoned] == []
        assert scans[-1].milestone == shipment_pb2.MILESTONE_DELIVERED
        said = world.sandbox.books()["acknowledged"]
        assert [each["status"] for each in said] == ["A"] * 7
        assert world.names("from_carrier") == [] and len(world.names("archive")) == 7
        assert not world.hub.held


async def test_the_same_interchange_is_told_once_and_acknowledged_again(tmp_path: Path) -> None:
    """Proves that an interchange that comes again under another name makes no scan, and that its
    997 is sent again with a number of its own."""
    async with running(tmp_path) as world:
        world.put("a.edi", status(7, "AF", "0905"))
        await world.look()
        world.put("b.edi", status(7, "AF", "0905").replace(b"~", b"~\r\n"))
        await world.look()
        assert len(world.hub.scans) == 1 and not world.hub.held
        assert [each["group"] for each in world.sandbox.books()["acknowledged"]] == [7, 7]
        assert world.names("archive") == ["a.edi", "b.edi"]


async def test_other_content_under_a_known_number_is_held(tmp_path: Path) -> None:
    """Proves that a number that comes again with another content is neither told nor
    acknowledged, and held with its place."""
    async with running(tmp_path) as world:
        world.put("a.edi", status(7, "AF", "0905"))
        await world.look()
        world.put("b.edi", status(7, "D1", "0905"))
        await world.look()
        assert len(world.hub.scans) == 1
        ((_, reason),) = world.hub.held
        assert reason.startswith("segment 1 (ISA), element 13: came before")
        assert len(world.sandbox.books()["acknowledged"]) == 1


async def test_a_missing_interchange_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Proves that a number that was skipped is said once, and that what comes late is told."""
    async with running(tmp_path) as world:
        caplog.set_level(logging.WARNING)
        for number in (1, 4, 3):
            world.put(f"{number}.edi", status(number, "AF", f"090{number}"))
            await world.look()
        (warning,) = [each.getMessage() for each in caplog.records if "not before it" in each.msg]
        assert warning.endswith("000000002, 000000003")
        assert len(world.hub.scans) == 3


async def test_a_missing_interchange_is_an_alert_until_it_comes(tmp_path: Path) -> None:
    """Proves that skipped numbers sound an alert which names them and the partner, in a new process
    as well, that one which comes late is named no more, and that the last one lifts the alert."""
    async with running(tmp_path) as world:
        told = []
        for number in (1, 4, 3, 2):
            world.put(f"{number}.edi", status(number, "AF", f"090{number}"))
            await world.look()
            told.append(world.alerts.told())
            new_process = Alerts()
            await ADAPTER.polls["mailbox"].pull(world.poll(new_process), world.vendor)
            assert new_process.told() == told[-1]
        assert told[0] == told[3] == ""
        assert "EXLA" in told[1] and "000000002, 000000003; ask" in told[1]
        assert "not come: 000000002; ask" in told[2]


async def test_half_a_file_waits_until_it_is_whole(tmp_path: Path) -> None:
    """Proves that a file that breaks off is left while it is young and held when it is old, and
    that one that grows whole is told."""
    whole = status(7, "AF", "0905")
    async with running(tmp_path, incomplete_seconds=600) as world:
        world.put("a.edi", whole[:-30])
        world.put("b.edi", whole[:-30])
        long_ago = time.time() - 3600
        os.utime(world.folder("from_carrier") / "b.edi", (long_ago, long_ago))
        await world.look()
        assert world.names("from_carrier") == ["a.edi"] and len(world.hub.held) == 1
        world.put("a.edi", whole)
        await world.look()
        assert len(world.hub.scans) == 1 and world.names("from_carrier") == []


async def test_what_is_wrong_is_acknowledged_by_its_place(tmp_path: Path) -> None:
    """Proves that a set with a wrong count is rejected and one with a wrong element is accepted
    with errors that name it, that the file is held, and that the other sets are told."""
    async with running(tmp_path) as world:
        world.put("a.edi", status(1, "AF", "0905").replace(b"SE*7*", b"SE*8*"))
        world.put("b.edi", status(2, "AF", "2505"))
        world.put("c.edi", (PAYLOADS / "status_corrected.edi").read_bytes())
        await world.look()
        first, second, third = world.sandbox.books()["acknowledged"]
        assert (first["status"], first["sets"]) == ("R", {"0001": "R"})
        assert (second["status"], second["faults"]) == ("E", [["AT7", 4, 6, "9"]])
        assert third["sets"] == {"0001": "A", "0002": "A"}
        assert [reason for _, reason in world.hub.held] == [
            "segment 3 (ST): its envelope is wrong (code 4 of the 997)",
            "segment 6 (AT7), element 6: is no time (HHMM, HHMMSS or with hundredths)",
        ]
        assert len(world.hub.scans) == 2


async def test_a_header_that_cannot_be_repeated_stops_no_file(tmp_path: Path) -> None:
    """Proves that a set number with a line break in it is rejected with its group and held, and
    that the file behind it is told."""
    async with running(tmp_path) as world:
        world.put("a.edi", status(1, "AF", "0905").replace(b"*0001~", b"*00\r\n01~"))
        world.put("b.edi", status(2, "AF", "0905"))
        await world.look()
        first, second = world.sandbox.books()["acknowledged"]
        assert (first["status"], first["sets"], second["status"]) == ("R", {}, "A")
        assert len(world.hub.held) == len(world.hub.scans) == 1
        assert world.names("from_carrier") == []


async def test_a_number_without_room_leaves_its_file(tmp_path: Path) -> None:
    """Proves that a file whose number cannot be kept is neither told nor put away, that the error
    says what to do, and that it is told once there is room."""
    full = receiving.Record(seen=tuple(Seen(7 * at, "", date.max) for at in range(1, 401)))
    async with running(tmp_path) as world:
        world.put("a.edi", status(1, "AF", "0905"))
        await world.cursors.put_cursor(RECORD, receiving.encode(full), 0)
        with (
            patch.object(receiving, "MAX_RANGE_CHARACTERS", 10),
            pytest.raises(NeedsPerson, match="have no room in what the hub keeps: lower the days"),
        ):
            await world.look()
        assert world.names("from_carrier") == ["a.edi"] and not world.hub.scans
        await world.look()
        assert world.names("from_carrier") == [] and len(world.hub.scans) == 1


async def test_room_for_numbers_is_asked_for_in_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Proves that the log says how full the room for control numbers is, and what to do, while
    files are taken still, and says nothing where there is enough."""
    full = receiving.Record(seen=tuple(Seen(7 * at, "", date.max) for at in range(1, 401)))
    for room, said in ((10_000, False), (140, True)):
        caplog.clear()
        with patch.object(receiving, "MAX_RANGE_CHARACTERS", room):
            async with running(tmp_path) as world:
                world.put("a.edi", status(1, "AF", "0905"))
                await world.cursors.put_cursor(RECORD, receiving.encode(full), 0)
                await world.look()
                assert world.names("from_carrier") == [] and len(world.hub.scans) == 1
        assert ("of their room: lower the days" in caplog.text) is said


async def test_strangers_and_tests_are_held(tmp_path: Path) -> None:
    """Proves that an interchange of another sender, for another receiver, or of test usage is not
    told, not acknowledged, and held."""
    good = status(7, "AF", "0905")
    async with running(tmp_path) as world:
        world.put("a.edi", good.replace(b"*02*EXLA ", b"*02*RLCA "))
        world.put("b.edi", good.replace(b"*ZZ*NORTHWIND ", b"*ZZ*SOUTHWIND "))
        world.put("c.edi", good.replace(b"*0*P*>", b"*0*T*>"))
        world.put("d.edi", good.replace(b"*EXLA~LX", b"*RLCA~LX"))
        await world.look()
        reasons = [reason.partition(":")[0] for _, reason in world.hub.held]
        at = ["segment 1 (ISA), element 6", "segment 1 (ISA), element 8"]
        assert reasons == [*at, "segment 1 (ISA), element 15", "segment 4 (B10), element 3"]
        assert not world.hub.scans and len(world.sandbox.books()["acknowledged"]) == 1


async def test_a_held_file_is_told_when_it_can_be(tmp_path: Path) -> None:
    """Proves that a held file is translated again without a word to the carrier, and held again
    while it still cannot be."""
    async with running(tmp_path) as world:
        translate = ADAPTER.polls["mailbox"].translate_held
        assert translate is not None
        for payload, scans, held in (
            (status(1, "AF", "0905"), 1, 0),
            (status(2, "AF", "2505"), 1, 1),
            (b"no interchange", 1, 2),
        ):
            again = HeldPayload("1", "poll:mailbox", payload, "application/edi-x12", True)
            await translate(world.poll(), again, world.vendor)
            assert (len(world.hub.scans), len(world.hub.held)) == (scans, held)
        await world.sandbox.tick()
        assert world.sandbox.books()["acknowledged"] == []


async def test_a_death_before_the_file_is_put_away_tells_nothing_twice(tmp_path: Path) -> None:
    """Proves that a round that ends before the control number is kept leaves the same scans and
    the same 997 under the same number when it is repeated."""
    async with running(tmp_path) as world:
        world.put("a.edi", status(7, "AF", "0905"))
        kept = world.cursors.put_cursor

        async def dies(name: str, value: bytes, expected_version: int) -> int:
            if name == "interchanges":
                raise ConnectionError("the process is gone")
            return await kept(name, value, expected_version)

        world.cursors.put_cursor = dies  # type: ignore[method-assign]
        with pytest.raises(ConnectionError):
            await ADAPTER.polls["mailbox"].pull(world.poll(), world.vendor)
        world.cursors.put_cursor = kept  # type: ignore[method-assign]
        await world.look()
        assert len(world.hub.scans) == 1 and world.names("from_carrier") == []
        assert {each["group"] for each in world.sandbox.books()["acknowledged"]} == {7}


async def test_a_death_before_a_file_is_held_loses_nothing(tmp_path: Path) -> None:
    """Proves that what a person has to look at is held by the next round, though the number of the
    interchange was kept already."""
    async with running(tmp_path) as world:
        world.put("a.edi", status(7, "AF", "2505"))
        hold, world.hub.hold = world.hub.hold, broken
        with pytest.raises(ConnectionError):
            await ADAPTER.polls["mailbox"].pull(world.poll(), world.vendor)
        world.hub.hold = hold
        await world.look()
        assert len(world.hub.held) == 1 and world.names("from_carrier") == []


async def broken(*_: Any) -> None:
    """The hub, which does not answer."""
    raise ConnectionError("the hub is gone")


@pytest.mark.parametrize("kind", ["duplicate", "out_of_order", "half_written", "damaged_set"])
async def test_a_mailbox_that_misbehaves_costs_no_status(tmp_path: Path, kind: str) -> None:
    """Proves that with doubled, late and broken files every status that was whole once is told
    once."""
    async with running(tmp_path) as world:
        await world.buy(pallets(1))
        await world.command("misbehave", kind=kind, count=2)
        await world.command("pickup")
        await world.sandbox.tick()
        await world.look()
        told = [scan.status_code for scan in world.hub.scans.values()]
        lost = 2 if kind == "damaged_set" else 0
        assert len(told) == len(set(told)) == 7 - lost
        assert len(world.hub.held) == (2 if kind in ("half_written", "damaged_set") else 0)


async def test_no_file_is_lost_by_its_name(tmp_path: Path) -> None:
    """Proves that files that come again under a name that was put away are put beside it."""
    async with running(tmp_path) as world:
        for number in (1, 2, 2):
            world.put("a.edi", status(number, "AF", f"090{number}"))
            await world.look()
        first, *others = world.names("archive")
        assert first == "a.edi" and len(others) == 2 and len(set(others)) == 2


class Answering:
    """The carrier's API, which says one thing."""

    def __init__(self, name: str, status: int) -> None:
        self._answer = Answer(status, CIMultiDict(), (PAYLOADS / f"{name}.json").read_bytes())

    async def post(self, path: str, **options: Any) -> Answer:
        return self._answer


@pytest.mark.parametrize(
    ("name", "status", "labels"),
    [("bol_made", 201, b"%PDF-1.4 labels of 3 handling units"), ("bol_without_image", 500, b"")],
)
async def test_recorded_answers_are_read(
    tmp_path: Path, name: str, status: int, labels: bytes
) -> None:
    """Proves that a bill of lading is read with its labels, and without them where the code says
    that they could not be drawn, whatever the HTTP status is."""
    async with running(tmp_path) as world:
        bols: Any = world.vendor.bols
        bols._http, http = Answering(name, status), bols._http
        booked = await bols.book({"referenceNumbers": {"pro": FIRST_PRO}})
        assert (booked.pro, booked.labels) == (FIRST_PRO, labels)
        with pytest.raises(OutcomeUnknown, match="answers with PRO"):
            await bols.book({"referenceNumbers": {"pro": "7"}})
        bols._http = Answering("bol_pro_taken", 422)
        assert await bols.book({"referenceNumbers": {"pro": FIRST_PRO}}) is Taken.PRO
        bols._http = http
