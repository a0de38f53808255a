"""LTL freight's mailbox: each interchange told and acknowledged once, none missed in silence."""

from __future__ import annotations

import json
import logging
import os
import time
import zlib
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from crossdock.shipment.v1 import shipment_pb2
from crossdock_adapters.ltl_freight.adapter import ADAPTER
from crossdock_adapters.ltl_freight.conformance import status
from crossdock_adapters.sdk.alerts import Alerts
from crossdock_adapters.sdk.edi_mailbox import RECORD
from crossdock_adapters.sdk.edi_progress import CURSOR, STEP
from crossdock_adapters.sdk.outcomes import NeedsPerson
from crossdock_adapters.sdk.work import HeldPayload
from crossdock_adapters.sdk.x12 import receiving
from crossdock_adapters.sdk.x12.receiving import Seen
from ltl_freight_world import pallets, running

PAYLOADS = Path(__file__).parent / "payloads" / "ltl-freight"


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


async def test_an_alert_for_missing_interchanges_ends_by_itself(tmp_path: Path) -> None:
    """Proves that a gap is told until the days that numbers are awaited by default are over, that
    nobody is told where they are not awaited, and that the record of an older version is told and
    dated once."""
    async with running(tmp_path) as world:
        await world.cursors.put_cursor(RECORD, undated(5, 8), 0)
        await world.look()
        assert "not come: 000000006, 000000007; ask" in world.alerts.told()
        kept, version = await world.cursors.get_cursor(RECORD)
        assert receiving.is_dated(kept) and version == 2
        await world.look()
        assert await world.cursors.get_cursor(RECORD) == (kept, version)
        silent = Alerts("ltl-freight")
        (tmp_path / "never").mkdir()
        async with running(tmp_path / "never", numbers_awaited_days=0) as never:
            never.cursors = world.cursors
            await ADAPTER.polls["mailbox"].pull(never.poll(silent), never.vendor)
        assert silent.told() == ""
        record = receiving.decode(kept, date.min)
        days_ago = datetime.now(UTC).date() - timedelta(days=3)
        skipped = tuple(replace(each, day=days_ago) for each in record.skipped)
        old = receiving.encode(replace(record, skipped=skipped))
        await world.cursors.put_cursor(RECORD, old, version)
        await world.look()
        assert world.alerts.told() == ""


def undated(*numbers: int) -> bytes:
    """What was kept of these before the days of skipped numbers were."""
    record = receiving.Record()
    for number in numbers:
        record = receiving.decide(record, number, "x", datetime.now(UTC).date(), 90).record
    told = json.loads(zlib.decompress(receiving.encode(record)))
    told["missing"] = [number for number, _ in told.pop("skipped")]
    return json.dumps(told).encode()


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


async def test_a_long_file_is_gone_on_with_where_it_was_left(tmp_path: Path) -> None:
    """Proves of a file with more interchanges than there are digests of numbers that a round which
    is ended in its middle costs nothing: the next one goes on, holds no interchange as one that
    came before, and holds the file for what the first one found wrong in it. Put back, the file is
    told anew."""
    first, last = 2, 460
    wrong = status(1, "AF", "2505")
    whole = wrong + b"".join(status(number, "AF", "0905") for number in range(first, last + 1))
    async with running(tmp_path) as world:
        world.put("day.edi", whole)
        kept = world.cursors.put_cursor

        async def ends(name: str, value: bytes, expected_version: int) -> int:
            version = await kept(name, value, expected_version)
            if name == RECORD and version == last - 1:
                raise ConnectionError("the round is over")
            return version

        world.cursors.put_cursor = ends  # type: ignore[method-assign]
        with pytest.raises(ConnectionError):
            await ADAPTER.polls["mailbox"].pull(world.poll(), world.vendor)
        assert world.names("from_carrier") == ["day.edi"] and not world.hub.held
        world.cursors.put_cursor = kept  # type: ignore[method-assign]
        await ADAPTER.polls["mailbox"].pull(world.poll(), world.vendor)
        ((_, reason),) = world.hub.held
        assert "no time" in reason and "came before" not in reason
        assert world.names("archive") == ["day.edi"]
        world.put("day.edi", whole)
        await ADAPTER.polls["mailbox"].pull(world.poll(), world.vendor)
        assert "came before" in world.hub.held[-1][1]


async def test_a_long_file_that_cannot_be_put_away_is_not_begun_anew(tmp_path: Path) -> None:
    """Proves that a long file which is taken and stays, because the mailbox is away just then, is
    put away by the next round: it holds nothing of it as come before, and acknowledges again but
    what follows the last note."""
    count = 460
    whole = b"".join(status(number, "AF", "0905") for number in range(1, count + 1))
    async with running(tmp_path) as world:
        mailbox = world.vendor.mailbox
        assert mailbox is not None
        world.put("day.edi", whole)
        with (
            patch.object(mailbox, "_put_away", side_effect=ConnectionError("away")),
            pytest.raises(ConnectionError),
        ):
            await ADAPTER.polls["mailbox"].pull(world.poll(), world.vendor)
        assert world.names("from_carrier") == ["day.edi"]
        await ADAPTER.polls["mailbox"].pull(world.poll(), world.vendor)
        assert world.names("archive") == ["day.edi"] and not world.hub.held
        assert len(world.names("to_carrier")) == count + count % STEP
        # It is ended now: put back it is told anew.
        assert world.cursors.values[CURSOR][0] == b""


async def test_a_round_lists_the_folder_of_what_is_out_once(tmp_path: Path) -> None:
    """Proves that a round which answers many interchanges looks once for the highest number that is
    out: the folder fills with its answers, and listing it for each would take their square."""
    async with running(tmp_path) as world:
        mailbox = world.vendor.mailbox
        assert mailbox is not None
        world.put("day.edi", b"".join(status(number, "AF", "0905") for number in range(1, 21)))
        with patch.object(mailbox, "_highest", wraps=mailbox._highest) as asked:
            await ADAPTER.polls["mailbox"].pull(world.poll(), world.vendor)
        assert asked.await_count == 1 and len(world.names("to_carrier")) == 20
