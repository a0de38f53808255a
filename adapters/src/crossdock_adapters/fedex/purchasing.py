"""How FedEx sells labels once: an open shipment under an index of ours, confirmed when it is known.

The same for the way out and the way back. The draft is the index; what follows a lost answer is in
the README.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from crossdock_adapters.fedex import translate, translate_scans
from crossdock_adapters.fedex.client import Booking, FedexClient, Piece
from crossdock_adapters.fedex.translate import ShipRules
from crossdock_adapters.sdk import carrier_labels
from crossdock_adapters.sdk.mappings import Mappings
from crossdock_adapters.sdk.outcomes import OutcomeUnknown
from crossdock_adapters.sdk.work import Work

LOOK_BACK_DAYS = 6


async def open_shipment(
    work: Work, vendor: FedexClient, account: str, requested: Mapping[str, Any]
) -> str:
    """Makes the open shipment under our reference; it buys nothing, and ends by itself.

    What a second one of the same index would do is not documented, so FedEx is asked first.
    """
    if await vendor.find(work.reference, account) is None:
        await vendor.open(work.reference, account, requested)
        vendor.unconfirmed.add(work.reference, work.attempt)
    return work.reference


async def confirm(
    work: Work, vendor: FedexClient, account: str, rules: ShipRules, mappings: Mappings
) -> tuple[Booking, str]:
    """Confirms the open shipment, which buys its labels; never twice without asking first.

    The booking, and how it was found where it was bought before.
    """
    again = not vendor.unconfirmed.take(work.draft, work.attempt)
    if again:
        found = await vendor.find(work.draft, account)
        if found is not None and found.booking is not None:
            return found.booking, f"found by index {work.draft}"
        # It looks open. That a confirmed one never does is not published, so tracking is asked too.
        tracked = await _tracked(work, vendor, account, rules, mappings)
        if tracked is not None:
            return tracked, f"found by reference {work.reference}"
        if found is None:
            # The index is gone: confirmed, or purged after 5 days. Nothing found proves nothing.
            raise OutcomeUnknown(
                f"open shipment {work.draft} is gone: confirmed, or purged after five days; "
                "tracking does not know its reference yet"
            )
    label = translate.label_specification(rules)
    booking = await vendor.confirm(work.draft, account, label, again=again)
    if booking is not None:
        return booking, ""
    found = await vendor.find(work.draft, account)
    if found is None or found.booking is None:
        raise OutcomeUnknown(f"FedEx says that {work.draft} is confirmed, and shows no label")
    return found.booking, f"found by index {work.draft}"


async def _tracked(
    work: Work, vendor: FedexClient, account: str, rules: ShipRules, mappings: Mappings
) -> Booking | None:
    """The labels that tracking shows under our reference, late and without images, if any."""
    today = datetime.now(UTC).date()
    results = await vendor.track_by_reference(
        {
            "type": "CUSTOMER_REFERENCE",
            "value": work.reference,
            "accountNumber": account,
            "shipDateBegin": (today - timedelta(days=LOOK_BACK_DAYS)).isoformat(),
            "shipDateEndDate": (today + timedelta(days=1)).isoformat(),
        }
    )
    found = translate_scans.pieces_with(results, work.reference, mappings)
    if not found:
        return None
    image_type = rules.kind.image_type
    pieces = tuple(
        Piece(sequence, carrier_labels.LabelImage(number, image_type, b""), None, "")
        for sequence, number in found
    )
    return Booking(found[0][1], pieces, ())
