"""What the carrier has of a delivery already: adopted where it is shown to be ours, never else."""

from __future__ import annotations

from typing import Final

from crossdock_adapters.ltl_freight.client import BolClient, Booked, History, Taken
from crossdock_adapters.sdk.outcomes import AnswerLater, NeedsPerson
from crossdock_adapters.sdk.work import Work

NOTE: Final = "the carrier had this PRO already: made by an earlier call"


async def made(work: Work, bols: BolClient, taken: Taken) -> Booked:
    """The bill of lading that an earlier call made, where the carrier says that this is taken.

    NeedsPerson: it is somebody else's, or cancelled; AnswerLater: an earlier call may have made
    it, and no event shows whose it is.
    """
    verified = work.settings.flag("verify_duplicates")
    if taken is Taken.PRO and not verified:
        return _adopted(work)
    if not verified:
        raise _purchase_order_taken(work)
    history = await bols.history(work.draft)
    if work.reference in history.references:
        return _shown(work, history)
    if taken is Taken.PURCHASE_ORDER and (history.references or not work.in_doubt):
        raise _purchase_order_taken(work)
    if history.references:
        raise NeedsPerson(
            f"PRO {work.draft} belongs to another shipment: set pro_first above the numbers that "
            "are used, then resubmit this delivery"
        )
    what = "its purchase order" if taken is Taken.PURCHASE_ORDER else "it"
    raise AnswerLater(f"PRO {work.draft}: {what} is taken, and no event shows whose it is")


async def behind(work: Work, bols: BolClient, reason: str) -> Booked:
    """The bill of lading of an earlier call, where the carrier refuses the repeat of it.

    NeedsPerson: it is cancelled, or the carrier has no events; AnswerLater: none shows it yet.
    """
    why = f"the carrier refuses the repeat ({reason})"
    if not work.settings.flag("verify_duplicates"):
        raise NeedsPerson(f"{why}: ask it whether an earlier call made PRO {work.draft}")
    history = await bols.history(work.draft)
    if work.reference in history.references:
        return _shown(work, history)
    raise AnswerLater(f"{why}, and no event shows whether an earlier call made PRO {work.draft}")


def _shown(work: Work, history: History) -> Booked:
    """The one that the events show with our reference."""
    if history.cancelled:
        raise NeedsPerson(
            f"the carrier shows that PRO {work.draft} was made and cancelled: reject this "
            "delivery, or ask the carrier to open it again"
        )
    return _adopted(work)


def _adopted(work: Work) -> Booked:
    return Booked(work.draft, "", b"", NOTE, fresh=False)


def _purchase_order_taken(work: Work) -> NeedsPerson:
    first = f"whether an earlier call made PRO {work.draft}; if not, " if work.in_doubt else ""
    return NeedsPerson(
        f"the carrier has purchase order {work.event.shipment.order_number} already, and does not "
        f"show that PRO {work.draft} is ours: ask it {first}for a second bill of lading of this "
        "order"
    )
