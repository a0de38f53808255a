"""The simulated carrier's dispatcher: load tenders taken, acknowledged and answered; invoices."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from crossdock_adapters.sdk.x12 import acknowledgments, envelopes
from crossdock_adapters.sdk.x12.envelopes import Envelope, Group, TransactionSet
from crossdock_adapters.sdk.x12.segments import Segment, segment

from .sandbox_bols import BOOKED, CANCELLED, Bol, Bols
from .sandbox_mailbox import Mailbox

# What the dispatcher may do once, when told to.
MISBEHAVIOURS: Final = frozenset(
    {"decline", "no_answer", "unreadable", "conditional", "decline_after_accept", "no_997"}
)
CENTS: Final = 100


class Dispatcher:
    """Takes 204s; every tender is remembered by the shipper's reference."""

    def __init__(self, bols: Bols, mailbox: Mailbox) -> None:
        self.tenders: list[dict[str, Any]] = []
        self.repeated = 0
        # Offers of what was offered before, under another control number: a second truck.
        self.doubled = 0
        self.misbehaves: dict[str, int] = {}
        self._bols = bols
        self._mailbox = mailbox
        self._seen: set[int] = set()

    def take(self, group: Group, now: datetime) -> None:
        """A group of tenders; one with a known number is the same again, and is ignored."""
        if group.control_number in self._seen:
            self.repeated += 1
            return
        self._seen.add(group.control_number)
        unreadable = self._used("unreadable") or any(map(_is_misplaced, group.sets))
        if not self._used("no_997"):
            self._acknowledge(group, unreadable, now)
        if unreadable:
            return
        for found in group.sets:
            self._take_tender(found, now)

    def invoice(
        self,
        bol: Bol,
        net: Decimal,
        lines: Mapping[str, Decimal],
        now: datetime,
        correction: str = "",
    ) -> None:
        """Send a 210. correction: B3-08 of one that corrects another under the same number."""

        def cents(amount: Decimal) -> str:
            return str(int(amount * CENTS))

        def sets(how: Envelope) -> list[TransactionSet]:
            marks = how.delimiters
            head = ("", f"INV{bol.pro}", bol.bol, "PP", "", f"{now:%Y%m%d}", cents(net))
            body = [
                segment(marks, "B3", *head, correction, "", "", self._mailbox.scac),
                segment(marks, "C3", "USD"),
                segment(marks, "N9", "CN", bol.pro),
            ]
            for at, (code, amount) in enumerate(lines.items(), start=1):
                body.append(segment(marks, "LX", str(at)))
                body.append(segment(marks, "L1", str(at), "", "", cents(amount), *[""] * 3, code))
            body.append(segment(marks, "L3", str(bol.weight), "G", "", "", cents(net)))
            return [envelopes.transaction_set(marks, "210", "0001", body)]

        self._mailbox.say("IM", sets, now)

    def _take_tender(self, found: TransactionSet, now: datetime) -> None:
        parts: dict[str, Segment] = {each.id: each for each in reversed(found.body)}
        reference, purpose = parts["B2"].need(4), parts["B2A"].need(1)
        pros = [each.text(1) for each in found.body if each.id == "L11" and each.text(2) == "CN"]
        bols = [each.text(1) for each in found.body if each.id == "L11" and each.text(2) == "BM"]
        if purpose == "00" and any(
            each["reference"] == reference and each["purpose"] == purpose for each in self.tenders
        ):
            self.doubled += 1
        self.tenders.append({"reference": reference, "purpose": purpose, "pro": "".join(pros)})
        if purpose == "01":
            for bol in self._bols.by_pro.values():
                if bol.shipment_id == reference:
                    bol.state = CANCELLED
            return
        if self._used("no_answer"):
            return
        if self._used("conditional"):
            self.answer(reference, "C", "", now)
            return
        declined = self._used("decline")
        if not declined:
            stops = [each for each in found.body if each.id == "N4"]
            self._bols.by_pro[pros[0]] = Bol(
                pro=pros[0], shipment_id=reference, bol="".join(bols), po="",
                units=parts["S5"].count(5), weight=parts["S5"].count(3), accessorials=[],
                origin=(stops[0].text(1).upper(), stops[0].text(2)),
                destination=(stops[-1].text(1).upper(), stops[-1].text(2)),
                made_at=now, confirmation="", state=BOOKED,
            )  # fmt: skip
        self.answer(reference, "D" if declined else "A", "NO TRUCK" if declined else "", now)
        if not declined and self._used("decline_after_accept"):
            self.answer(reference, "D", "TRUCK BROKE DOWN", now)

    def answer(self, reference: str, code: str, reason: str, now: datetime, pro: str = "") -> None:
        """Send a 990. pro: the carrier's own number, where it has one."""

        def sets(how: Envelope) -> list[TransactionSet]:
            marks = how.delimiters
            day = f"{now:%Y%m%d}"
            body = [segment(marks, "B1", self._mailbox.scac, reference, day, code)]
            if pro:
                body.append(segment(marks, "N9", "CN", pro))
            if reason:
                body.append(segment(marks, "K1", reason))
            return [envelopes.transaction_set(marks, "990", "0001", body)]

        self._mailbox.say("GF", sets, now)

    def _acknowledge(self, group: Group, unreadable: bool, now: datetime) -> None:
        codes = ("5",) if unreadable else ()
        answers = [acknowledgments.judged(each, (), *codes) for each in group.sets]
        said = acknowledgments.answer(group, answers)
        self._mailbox.say(
            "FA", lambda how: [acknowledgments.build(said, "0001", how.delimiters)], now
        )

    def _used(self, kind: str) -> bool:
        left = self.misbehaves.get(kind, 0)
        if left <= 0:
            return False
        self.misbehaves[kind] = left - 1
        return True


def _is_misplaced(found: TransactionSet) -> bool:
    """Whether a 204 breaks the standard's rules of a stop (release 004010): there is one, units
    have a unit (S5, P0506), and dates stand before the parties."""
    if not any(each.id == "S5" for each in found.body):
        return True
    inside = ""
    for each in found.body:
        if each.id == "S5" and bool(each.text(5)) is not bool(each.text(6)):
            return True
        if each.id == "G62" and inside == "N1":
            return True
        inside = each.id if each.id in ("S5", "N1") else inside
    return False
