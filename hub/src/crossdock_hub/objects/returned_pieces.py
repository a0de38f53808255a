"""Which pieces come back, where serial numbers and lots say so; pure.

A serial number is one piece of an item, so it comes back once. Lines that name none are for any.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal

from crossdock.errors import Violation
from crossdock.returns.v1 import return_pb2

# A piece: its item's number and its serial number.
Piece = tuple[str, str]


def too_many(
    row: return_pb2.ReturnLine | return_pb2.ReceivedLine, at: str, rule: str
) -> Violation | None:
    """More serial numbers than whole units: at least one is of another piece."""
    count, pieces = len(row.serial_numbers), int(Decimal(row.quantity.value))
    if count <= pieces:
        return None
    words = (
        f"{count} of {pieces} pieces; name one for each at most, or correct the quantity, which is "
        f"{row.quantity.value} {row.quantity.unit}"
    )
    return Violation(f"{at}.serial_numbers", words, rule)


def brought(customer_return: return_pb2.Return) -> dict[Piece, str]:
    """The pieces that came back with a return, and the number of the receipt of each."""
    items = {line.line_number: line.item_number for line in customer_return.lines}
    return {
        (items[row.line_number], serial): receipt.number
        for receipt in customer_return.receipts
        for row in receipt.lines
        for serial in row.serial_numbers
    }


def spoken_for(others: Iterable[return_pb2.Return]) -> dict[Piece, str]:
    """The pieces that are in returns, and the number of the return of each.

    Of an open one those that it names and those that came, of an ended one those that came.
    """
    found: dict[Piece, str] = {}
    for other in others:
        found.update(dict.fromkeys(brought(other), other.number))
        if other.state not in (return_pb2.RETURN_STATE_CLOSED, return_pb2.RETURN_STATE_CANCELLED):
            named = ((line.item_number, s) for line in other.lines for s in line.serial_numbers)
            found.update(dict.fromkeys(named, other.number))
    return found


def taken(
    line: return_pb2.ReturnLine, pieces: dict[Piece, str], wanted: str, at: str, rule: str
) -> Iterator[Violation]:
    """The serial numbers of a line of a new return that are in a return already.

    pieces: those that are; this line's are added, for the return `wanted`.
    """
    for index, serial in enumerate(line.serial_numbers):
        piece = line.item_number, serial
        if piece in pieces:
            words = (
                f"{serial} is in return {pieces[piece]} already, and a piece comes back once; "
                "leave it out here, or cancel the other return first if nothing of it has come"
            )
            yield Violation(f"{at}.serial_numbers[{index}]", words, rule)
        pieces.setdefault(piece, wanted)


def contradictions(
    row: return_pb2.ReceivedLine,
    line: return_pb2.ReturnLine,
    came: dict[Piece, str],
    receipt_number: str,
    at: str,
    rule: str,
) -> Iterator[Violation]:
    """The lot and serial numbers of a received line that its return does not expect.

    came: the pieces that have come; this line's are added, for this receipt.
    """
    advice = (
        f"is not authorised for line {row.line_number}; read it again and report it anew, or "
        "initiate a return that names it and receive it there"
    )
    if line.lots and row.lot and row.lot not in line.lots:
        yield Violation(f"{at}.lot", f"{row.lot} {advice}", rule)
    named = frozenset(line.serial_numbers)
    for index, serial in enumerate(row.serial_numbers):
        field, piece = f"{at}.serial_numbers[{index}]", (line.item_number, serial)
        if named and serial not in named:
            yield Violation(field, f"{serial} {advice}", rule)
        elif piece in came:
            words = (
                f"{serial} came with receipt {came[piece]} already, and a piece comes back once; "
                "read it again and report it anew"
            )
            yield Violation(field, words, rule)
        came.setdefault(piece, receipt_number)
