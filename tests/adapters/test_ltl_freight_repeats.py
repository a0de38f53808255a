"""LTL freight when a call is repeated: what an earlier one made is adopted, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from crossdock_adapters.sdk.http import Answer
from crossdock_adapters.sdk.outcomes import NeedsPerson, OutcomeUnknown
from ltl_freight_world import REFERENCE, World, pallets, running
from multidict import CIMultiDict

FIRST_PRO = "500000001"
SECOND = "B" * 20


async def lost_once(world: World) -> None:
    """An attempt whose answer is lost, behind the carrier's back door."""
    world.sandbox.faults.add({"kind": "reply_lost", "operation": "create", "count": 1})
    with pytest.raises(OutcomeUnknown):
        await world.buy(pallets(1))


@pytest.mark.parametrize("verified", [True, False])
async def test_a_purchase_order_that_is_taken_confirms_nothing(
    tmp_path: Path, verified: bool
) -> None:
    """Proves that the second shipment of an order, of whose purchase order the carrier minds a
    second bill of lading, parks and tells no label, whether PROs are verified or not."""
    async with running(tmp_path, {"unique_po": True}, verify_duplicates=verified) as world:
        await world.buy(pallets(1))
        with pytest.raises(NeedsPerson, match="has purchase order SO-2001 already"):
            await world.buy(pallets(1), SECOND)
        assert [each["shipment_id"] for each in world.sandbox.books()["bols"]] == [REFERENCE]
        assert len(world.hub.stored) == 1


async def test_a_lost_answer_is_found_by_a_carrier_that_minds_the_purchase_order(
    tmp_path: Path,
) -> None:
    """Proves that where the carrier answers a repeat with the purchase order, the bill of lading is
    adopted once its events show our reference under our PRO."""
    async with running(tmp_path, {"unique_po": True}) as world:
        await lost_once(world)
        done = await world.buy(pallets(1))
        assert done.references[0].value == FIRST_PRO and "already" in done.note
        assert len(world.sandbox.books()["bols"]) == 1
    async with running(tmp_path, {"unique_po": True}, verify_duplicates=False) as world:
        await lost_once(world)
        with pytest.raises(NeedsPerson, match="has purchase order SO-2001 already"):
            await world.buy(pallets(1))


class Answering:
    """The carrier's API, which says one thing."""

    def __init__(self, status: int, body: bytes) -> None:
        self._answer = Answer(status, CIMultiDict(), body)

    async def request(self, method: str, path: str, **options: Any) -> Answer:
        return self._answer


@pytest.mark.parametrize(
    ("status", "body", "cancelled"),
    [
        (204, b"", True),
        (200, b"", True),
        (200, b'{"messageStatus": {"status": "PASS", "code": 100}}', True),
        (200, b'{"messageStatus": {"status": "WARNING", "code": "200"}}', True),
        (200, b"<html>Please sign in</html>", False),
        (200, b"{}", False),
        (200, b'{"messageStatus": {"status": "PASS"}}', False),
        (302, b"", False),
    ],
)
async def test_only_a_carriers_word_cancels(
    tmp_path: Path, status: int, body: bytes, cancelled: bool
) -> None:
    """Proves that a cancellation is done where the carrier says so by its code, or has nothing to
    say, and that the page of something in between leaves it unknown."""
    async with running(tmp_path) as world:
        bols: Any = world.vendor.bols
        bols._http, http = Answering(status, body), bols._http
        try:
            if cancelled:
                assert await bols.cancel(FIRST_PRO)
            else:
                with pytest.raises(OutcomeUnknown):
                    await bols.cancel(FIRST_PRO)
        finally:
            bols._http = http
