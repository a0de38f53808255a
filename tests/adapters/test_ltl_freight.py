"""LTL freight at its simulated carrier: one bill of lading, whatever is lost."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from crossdock_adapters.ltl_freight.client import Taken
from crossdock_adapters.sdk.http import Answer
from crossdock_adapters.sdk.outcomes import (
    NeedsPerson,
    NotTried,
    OutcomeUnknown,
    Reject,
    Untranslatable,
)
from crossdock_adapters.sdk.settings import SettingsError
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
        ({"hazard_not_said": "no"}, "hazard_not_said"),
        ({"pro_last": 5}, "pro_first"),
        ({"pro_digits": 8}, "pro_digits"),
        ({"pro_check": "modulo_9"}, "pro_check"),
        ({"pro_prefix": "071-"}, "pro_prefix '071-' has other characters"),
        ({"pro_prefix": "nw"}, "pro_prefix 'nw' has other characters"),
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
        with pytest.raises(NeedsPerson, match=f"made this under PRO {FIRST_PRO}, not under 7"):
            await bols.book({"referenceNumbers": {"pro": "7"}})
        bols._http = Answering("bol_pro_taken", 422)
        assert await bols.book({"referenceNumbers": {"pro": FIRST_PRO}}) is Taken.PRO
        bols._http = http
