"""The simulated ERP's own books: what it was asked to post, what it posted, and by which rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

FIRST_DOCUMENT: Final = 700_000
ORDER, ISSUE = "sales_orders", "goods_issues"


class Refusal(Exception):
    """Why a line, or the document as line 0, is not posted."""

    def __init__(self, code: str, text: str, line: int = 0) -> None:
        super().__init__(code)
        self.code, self.text, self.line = code, text, line


@dataclass
class Line:
    """A line as it was asked for, or left."""

    number: int
    item: str
    quantity: Decimal


@dataclass
class Asked:
    """One document that somebody asked to post, under a reference of his own, and its end."""

    kind: str
    action: str
    reference: str
    key: str
    order: str
    customer: str
    lines: Sequence[Line]
    received: datetime
    due: datetime
    status: str = "QUEUED"
    number: str = ""
    messages: list[Mapping[str, Any]] = field(default_factory=list)


@dataclass
class Document:
    """What the ERP posted under a number."""

    number: str
    kind: str
    key: str
    order: str
    lines: dict[int, Decimal]
    taken_back: bool = False


@dataclass
class Books:
    """Everything that the ERP remembers. is_item, is_customer: its master data."""

    is_item: Callable[[str], bool]
    is_customer: Callable[[str], bool]
    asked: list[Asked] = field(default_factory=list)
    documents: list[Document] = field(default_factory=list)

    def post(self, asked: Asked, *, twice: bool = False) -> str:
        """The number of the document that came of it. Refusal says why there is none. twice: no
        guard by the document's own key, which many an ERP does not have."""
        if asked.action != "D" and not asked.lines:
            raise Refusal("E199", "lines are missing")
        return self._order(asked, twice) if asked.kind == ORDER else self._issue(asked, twice)

    def _order(self, asked: Asked, twice: bool) -> str:
        known = self._of(ORDER, asked.order)
        if asked.action == "I" and known and not twice:
            raise Refusal("E110", f"order {asked.order} exists already")
        if asked.action != "I" and not known:
            raise Refusal("E120", f"order {asked.order} is not known")
        if asked.action == "D":
            if any(each.order == asked.order and not each.taken_back for each in self._issues()):
                raise Refusal("E125", "goods have left")
            known[0].taken_back = True
            return known[0].number
        if known and known[0].taken_back:
            raise Refusal("E121", f"order {asked.order} is cancelled")
        if not self.is_customer(asked.customer):
            raise Refusal("E101", "the customer is not known")
        for line in asked.lines:
            if not self.is_item(line.item):
                raise Refusal("E102", "the item is not known", line.number)
            if line.quantity <= 0:
                raise Refusal("E104", "the quantity must be above zero", line.number)
        lines = {line.number: line.quantity for line in asked.lines}
        if known and asked.action != "I":
            known[0].lines = lines
            return known[0].number
        return self._book(ORDER, asked.order, asked.order, lines)

    def _issue(self, asked: Asked, twice: bool) -> str:
        if asked.action == "D":
            left = [each for each in self._issues() if each.key.rpartition("/")[0] == asked.key]
            if not left:
                raise Refusal("E123", f"shipment {asked.key} is not known")
            for each in left:
                each.taken_back = True
            return left[0].number
        if self._of(ISSUE, asked.key) and not twice:
            raise Refusal("E110", f"goods issue {asked.key} exists already")
        known = self._of(ORDER, asked.order)
        if not known or known[0].taken_back:
            raise Refusal("E121" if known else "E120", f"order {asked.order} is not open")
        for line in asked.lines:
            gone = sum(
                each.lines.get(line.number, Decimal(0))
                for each in self._issues()
                if each.order == asked.order and not each.taken_back
            )
            if line.quantity > known[0].lines.get(line.number, Decimal(0)) - gone:
                raise Refusal("E122", "more than the open quantity", line.number)
        left_now = {line.number: line.quantity for line in asked.lines}
        return self._book(ISSUE, asked.key, asked.order, left_now)

    def _issues(self) -> list[Document]:
        return [each for each in self.documents if each.kind == ISSUE]

    def _of(self, kind: str, key: str) -> list[Document]:
        return [each for each in self.documents if (each.kind, each.key) == (kind, key)]

    def _book(self, kind: str, key: str, order: str, lines: dict[int, Decimal]) -> str:
        number = str(FIRST_DOCUMENT + len(self.documents) + 1)
        self.documents.append(Document(number, kind, key, order, lines))
        return number
