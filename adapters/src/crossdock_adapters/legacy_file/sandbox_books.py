"""What the simulated legacy ERP remembers: documents, numbers, and answers that are due."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from crossdock_adapters.sdk.layout_files import Row

FIRST_DOCUMENT: Final = 700_000


@dataclass(slots=True)
class Order:
    """A sales order of the ERP. open: quantity that has not left, by line."""

    number: str
    document: str
    reference: str
    customer: str
    lines: dict[int, str]
    open: dict[int, Decimal]
    cancelled: bool = False
    versions: int = 1


@dataclass(slots=True)
class Issue:
    """A goods issue: what left with one departure, of which order, by line."""

    number: str
    document: str
    departure: int
    reference: str
    order: str
    shipped: dict[int, Decimal]
    reversed: bool = False


@dataclass(slots=True)
class Books:
    """The ERP's memory. seen: (interface, number) to the hash of the file that had it. documents:
    every document that it was asked to post, whatever became of it."""

    orders: dict[str, Order] = field(default_factory=dict)
    issues: dict[tuple[str, int], Issue] = field(default_factory=dict)
    seen: dict[tuple[str, int], str] = field(default_factory=dict)
    expected: dict[str, int] = field(default_factory=dict)
    held: list[str] = field(default_factory=list)
    receipts: list[dict[str, Any]] = field(default_factory=list)
    document_number: int = FIRST_DOCUMENT
    answer_number: int = 0
    refused: list[dict[str, Any]] = field(default_factory=list)
    documents: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a line, or the document as line 0, is not posted."""

    line: int
    code: str
    text: str


@dataclass(slots=True)
class Later:
    """An answer that is due."""

    due: datetime
    folder: str
    stem: str
    layout: str
    rows: list[Row]
