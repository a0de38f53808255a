"""The books of a simulated ERP: sales orders and goods issues, and why one is not posted.

How it is asked, by file or by service, is the sandbox's own; the rules are the same. They are names
of their own: what an adapter has wrong must not pass because both have it from the same place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Any, Final

ORDER, ISSUE = "sales_orders", "goods_issues"
NAMES: Final = {ORDER: "order", ISSUE: "goods issue"}
INSERT, DELETE = "I", "D"
ITEMS: Final = tuple(f"SKU-{number}" for number in range(1001, 1025))
CUSTOMERS: Final = tuple(f"CUST-{number}" for number in range(1001, 1013))
FIRST_DOCUMENT: Final = 700_000
# What stands where a line's number would, of the document as a whole.
WHOLE: Final = 0


class Refusal(Exception):
    """Why a line, or the document as line 0, is not posted."""

    def __init__(self, code: str, text: str, line: int = WHOLE) -> None:
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
    """One document that somebody asked to post, under a reference of his own.

    key: the order's number, or the shipment's with its departure behind a slash.
    """

    kind: str
    action: str
    reference: str
    key: str
    order: str
    customer: str
    lines: Sequence[Line]


@dataclass
class Document:
    """What the ERP posted under a number. versions: of an order, one for each change of it."""

    number: str
    kind: str
    key: str
    order: str
    reference: str
    lines: dict[int, Line]
    taken_back: bool = False
    versions: int = 1


@dataclass
class Books:
    """Everything that the ERP has posted. items, customers: its master data; prefix: of its
    documents' numbers; by_line: it posts the good lines of a document that has wrong ones."""

    items: frozenset[str] = frozenset(ITEMS)
    customers: frozenset[str] = frozenset(CUSTOMERS)
    prefix: str = ""
    by_line: bool = False
    documents: list[Document] = field(default_factory=list)

    def post(self, asked: Asked, *, twice: bool = False) -> tuple[str, list[Refusal]]:
        """(the number of the document that came of it, or that stood in its way; why not).

        twice: no guard by the document's own key, which many an ERP does not have.
        """
        known = self.of(asked.kind, asked.key)
        if asked.action == INSERT and known and not twice:
            there = f"{NAMES[asked.kind]} {asked.key} exists already"
            return known[0].number, [Refusal("E110", there)]
        try:
            if asked.action == DELETE:
                return self._taken_back(asked), []
            post = self._order if asked.kind == ORDER else self._issue
            return post(asked)
        except Refusal as refusal:
            return "", [refusal]

    def of(self, kind: str, key: str = "") -> list[Document]:
        """The documents of a kind, all or those of a key."""
        return [each for each in self.documents if each.kind == kind and key in ("", each.key)]

    def open(self, order: str) -> dict[int, Decimal]:
        """What of an order has not left, by line."""
        (first, *_) = self.of(ORDER, order)
        left = {number: line.quantity for number, line in first.lines.items()}
        for issue in self._left(order):
            for number, line in issue.lines.items():
                left[number] = left.get(number, Decimal(0)) - line.quantity
        return left

    def orders(self) -> list[dict[str, Any]]:
        """For people: the orders, each with what has not left."""
        return [{**asdict(each), "open": self.open(each.key)} for each in self.of(ORDER)]

    def _taken_back(self, asked: Asked) -> str:
        """An order that nothing has left of, or every departure of a shipment. Refusal."""
        if asked.kind == ORDER:
            found = [self._known_order(asked.key)]
            if self._left(asked.key):
                raise Refusal("E125", "goods have left")
        else:
            found = [each for each in self.of(ISSUE) if each.key.rpartition("/")[0] == asked.key]
            if not found:
                raise Refusal("E123", f"shipment {asked.key} is not known")
        for each in found:
            each.taken_back = True
        return found[0].number

    def _order(self, asked: Asked) -> tuple[str, list[Refusal]]:
        known = None if asked.action == INSERT else self._open_order(asked.key)
        wrong = [refusal for line in asked.lines if (refusal := self._wrong(line))]
        if asked.customer not in self.customers:
            wrong.insert(0, Refusal("E101", "the customer is not known"))
        lines = self._good(asked.lines, wrong)
        if not lines:
            return "", wrong
        if known is None:
            return self._booked(asked, lines), wrong
        known.lines, known.versions = lines, known.versions + 1
        return known.number, wrong

    def _issue(self, asked: Asked) -> tuple[str, list[Refusal]]:
        left = self.open(self._open_order(asked.order).key)
        wrong = [
            Refusal("E122", "more than the open quantity", line.number)
            for line in asked.lines
            if line.quantity > left.get(line.number, Decimal(0))
        ]
        lines = self._good(asked.lines, wrong)
        return (self._booked(asked, lines) if lines else ""), wrong

    def _good(self, lines: Sequence[Line], wrong: Sequence[Refusal]) -> dict[int, Line]:
        """The lines that are posted; none where one that is wrong stops all. Refusal: there are
        none to begin with."""
        if not lines:
            raise Refusal("E199", "lines are missing")
        at = {each.line for each in wrong}
        if at and (not self.by_line or WHOLE in at):
            return {}
        return {line.number: line for line in lines if line.number not in at}

    def _wrong(self, line: Line) -> Refusal | None:
        if line.item not in self.items:
            return Refusal("E102", "the item is not known", line.number)
        if line.quantity <= 0:
            return Refusal("E104", "the quantity must be above zero", line.number)
        return None

    def _known_order(self, key: str) -> Document:
        known = self.of(ORDER, key)
        if not known:
            raise Refusal("E120", f"order {key} is not known")
        return known[0]

    def _open_order(self, key: str) -> Document:
        known = self._known_order(key)
        if known.taken_back:
            raise Refusal("E121", f"order {key} is cancelled")
        return known

    def _left(self, order: str) -> list[Document]:
        """The goods issues of an order that nobody took back."""
        return [each for each in self.of(ISSUE) if each.order == order and not each.taken_back]

    def _booked(self, asked: Asked, lines: dict[int, Line]) -> str:
        number = f"{self.prefix}{FIRST_DOCUMENT + len(self.documents) + 1}"
        made = Document(number, asked.kind, asked.key, asked.order, asked.reference, lines)
        self.documents.append(made)
        return number
