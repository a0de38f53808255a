"""Material documents of a delivery: which of its postings stands, and what took back which.

SAP answers a goods issue and its reversal with messages. Their documents show a moment later, in
the material document service or in the document flow of the delivery, and those of a delivery that
was let go and taken again are all there: each reversal is told beside the posting that it reverses.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from crossdock_adapters.sap import odata
from crossdock_adapters.sap.client import RecordMissing, SapClient, Stale
from crossdock_adapters.sap.delivery import Delivery, Kind
from crossdock_adapters.sdk.outcomes import (
    AnswerLater,
    NeedsPerson,
    OutcomeUnknown,
    Reject,
    Retry,
)

SERVICE: Final = "API_MATERIAL_DOCUMENT_SRV"
ITEM: Final = "A_MaterialDocumentItem"
FLOW: Final = "to_DocumentFlow"
# The category of a goods movement in a document flow.
GOODS_MOVEMENT: Final = "R"
BY_DELIVERY, BY_FLOW = "delivery", "document_flow"
SOURCES: Final = (BY_DELIVERY, BY_FLOW)
LOOK_PAUSE_SECONDS: Final = 0.2
NOT_VISIBLE_PAUSE_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class DocumentRules:
    """by: "delivery" (the material document service) or "document_flow". seconds: how long a
    document may take to show. reversal_movements: movement types that reverse another.
    reversal_category: what a reversal is in a document flow."""

    by: str
    seconds: float
    reversal_movements: frozenset[str]
    reversal_category: str


@dataclass(frozen=True, slots=True)
class Movement:
    """An item of a material document, as year/number or as the number alone. reverses: the document
    that it says to reverse; "" where it says none."""

    document: str
    is_reversal: bool
    reverses: str = ""


@dataclass(frozen=True, slots=True)
class Posting:
    """A posting of a delivery, and what reversed it; "" as long as nothing shows that did."""

    document: str
    reversal: str = ""


# Which of a delivery's postings is asked about; None: it does not show yet.
Choose = Callable[[Sequence[Posting]], Posting | None]


def paired(movements: Iterable[Movement]) -> list[Posting]:
    """Postings, oldest first, each with its reversal: what says what it reverses with that, others
    in their order, because a delivery is posted again only once it is reversed. One item says it
    for the whole document: SAP reverses a delivery in one."""
    rows = sorted(movements, key=lambda each: order(each.document))
    reversals: dict[str, str] = {}
    for each in rows:
        if each.is_reversal:
            reversals[each.document] = reversals.get(each.document) or each.reverses
    issues = dict.fromkeys(each.document for each in rows if each.document not in reversals)
    others = iter([document for document, reverses in reversals.items() if not reverses])
    found = []
    for issue in issues:
        naming = (each for each, reverses in reversals.items() if _is_same(issue, reverses))
        found.append(Posting(issue, next(naming, "") or next(others, "")))
    return found


def _is_same(document: str, named: str) -> bool:
    """Whether a document is the one that is named, with or without zeros and the year."""
    years = [each.rpartition("/")[0].strip("0") for each in (document, named)]
    return (
        bool(named) and bare(document) == bare(named) and (not all(years) or years[0] == years[1])
    )


def order(document: str) -> tuple[str, tuple[int, str]]:
    """What documents are sorted by: the year, if it is known, then the number."""
    year, _, number = document.rpartition("/")
    return year, odata.by_number(number)


def bare(document: str) -> str:
    """The number without the year, which a document flow does not say."""
    return odata.bare(document.rpartition("/")[2])


class MaterialDocuments:
    """Those of deliveries of one kind, read where the deployment may read them."""

    def __init__(self, vendor: SapClient, service: str, rules: DocumentRules, kind: Kind) -> None:
        self._vendor = vendor
        self._service = service
        self._rules = rules
        self._kind = kind

    async def postings(self, delivery: Delivery) -> list[Posting]:
        """All postings of a delivery that show by now, oldest first."""
        if self._rules.by == BY_FLOW:
            return paired(await self._in_flow(delivery))
        rows = await self._vendor.query(
            SERVICE,
            ITEM,
            {
                "$filter": odata.equals("Delivery", delivery.number),
                "$orderby": "MaterialDocumentYear,MaterialDocument,MaterialDocumentItem",
            },
        )
        return paired(self._movement(row) for row in rows)

    async def posted(self, delivery: Delivery) -> str:
        """The document of the posting that stands. AnswerLater: it does not show yet."""
        until = time.monotonic() + self._rules.seconds
        while (found := standing(await self.postings(delivery))) is None:
            if time.monotonic() >= until:
                raise AnswerLater(f"delivery {delivery.number} is posted, its document not visible")
            await asyncio.sleep(LOOK_PAUSE_SECONDS)
        return found.document

    async def reversible(self, delivery: Delivery) -> str:
        """The same before it is reversed. Retry: it does not show yet; without it nobody could say
        afterwards which reversal is its own."""
        try:
            return await self.posted(delivery)
        except AnswerLater as later:
            said = f"{later.reason}; it is reversed once it is"
            raise Retry(NOT_VISIBLE_PAUSE_SECONDS, said) from later

    async def reversed_(self, delivery: Delivery, choose: Choose) -> Posting:
        """The chosen posting with the document that reversed it. OutcomeUnknown: the reversal is a
        fact by now, and its document cannot be read; AnswerLater: it does not show yet."""
        until = time.monotonic() + self._rules.seconds
        try:
            while True:
                chosen = choose(await self.postings(delivery))
                if chosen is not None and chosen.reversal:
                    return chosen
                if time.monotonic() >= until:
                    break
                await asyncio.sleep(LOOK_PAUSE_SECONDS)
        except (Retry, NeedsPerson, Reject, RecordMissing, Stale) as error:
            said = f"delivery {delivery.number} is reversed, its document cannot be read: {error}"
            raise OutcomeUnknown(said) from None
        raise AnswerLater(
            f"delivery {delivery.number} is reversed, and no document of that is visible "
            "(reversal_movements and reversal_category say what one is)"
        )

    def _movement(self, row: Mapping[str, Any]) -> Movement:
        reverses = odata.said(row, "ReversedMaterialDocument")
        named = bool(odata.bare(reverses))
        moved = odata.said(row, "GoodsMovementType")
        return Movement(
            f"{row.get('MaterialDocumentYear')}/{row.get('MaterialDocument')}",
            named or moved in self._rules.reversal_movements,
            f"{odata.said(row, 'ReversedMaterialDocumentYear')}/{reverses}" if named else "",
        )

    async def _in_flow(self, delivery: Delivery) -> list[Movement]:
        """Of every item; one that stayed at zero has none."""
        found: list[Movement] = []
        for item in delivery.items:
            if not item.quantity:
                continue
            place = odata.key(DeliveryDocument=delivery.number, DeliveryDocumentItem=item.number)
            # The flow is neither paged nor sorted by SAP: its properties are not sortable.
            path = f"{self._kind.item}{place}/{FLOW}"
            for row in await self._vendor.query(self._service, path, {}):
                category = odata.said(row, "SubsequentDocumentCategory")
                is_reversal = category == self._rules.reversal_category
                if is_reversal or category == GOODS_MOVEMENT:
                    found.append(Movement(odata.said(row, "Subsequentdocument"), is_reversal))
        return found


def standing(postings: Sequence[Posting]) -> Posting | None:
    """The last posting that nothing reversed; None: none shows."""
    return next((each for each in reversed(postings) if not each.reversal), None)
