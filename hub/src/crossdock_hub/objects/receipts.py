"""What has come back of a return: what receipts add up to, and what contradicts it; pure."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from crossdock.errors import Refusal, Violation
from crossdock.quantities import plain
from crossdock.returns.v1 import return_pb2

from crossdock_hub.objects import received_units, returned_pieces
from crossdock_hub.objects.departures import Amounts, amounts
from crossdock_hub.refusals import invalid, taken
from crossdock_hub.replacing import replace
from crossdock_hub.unit import NotYet

# The event of a receipt: about the last one that its return tells.
RECEIPT = "crossdock.returns.v1.ReturnReceived"
RULE = "authorised"
# What to do about a full return, by the field of the request that finds no room in it.
_ROOM_ADVICE = {
    "return_receipt": (
        "report a long receipt as several; of a full return have the OMS close it and authorise "
        "another for the rest, receive the goods there, then discard this one"
    ),
    "parcels": (
        "have the OMS close it, or cancel it if nothing came, and authorise another for what they "
        "bring; then report them there"
    ),
}


def authorised(customer_return: return_pb2.Return) -> Amounts:
    """What may come back, by line."""
    return amounts(customer_return.lines)


def received(customer_return: return_pb2.Return) -> Amounts:
    """What has come back, by line."""
    return amounts(line for receipt in customer_return.receipts for line in receipt.lines)


def numbered(customer_return: return_pb2.Return, number: str) -> return_pb2.ReturnReceipt | None:
    """The receipt of a number; None: the return has none."""
    return next((each for each in customer_return.receipts if each.number == number), None)


def check_same(
    customer_return: return_pb2.Return,
    known: return_pb2.ReturnReceipt,
    receipt: return_pb2.ReturnReceipt,
) -> None:
    """Hold a receipt whose number has other lines: the first was posted as it was told.

    Raises NotYet.
    """
    if [_exact(line) for line in known.lines] == [_exact(line) for line in receipt.lines]:
        return
    advice = (
        "it has other lines there, and is posted so; report what differs under a number of its "
        "own, then discard this one"
    )
    refusal = taken(
        "customer_return", "return_receipt.number", receipt.number, customer_return.id, advice
    ).refusal
    raise NotYet(refusal, awaited_correction(customer_return.id))


def _exact(line: return_pb2.ReceivedLine) -> return_pb2.ReceivedLine:
    """A line as it was told, with its quantity as numbers are compared: 2.0 is 2."""
    copy = received_units.as_reported(line)
    copy.quantity.value = plain(Decimal(copy.quantity.value))
    return copy


def check_receipt(
    customer_return: return_pb2.Return,
    receipt: return_pb2.ReturnReceipt,
    conversions: Iterable[Any],
    *,
    accept_excess: bool,
) -> return_pb2.ReturnReceipt:
    """The receipt as it counts, in the units of the return; what contradicts that is held.

    conversions: of units, by which a line counts that came in another one. accept_excess: more than
    was authorised is right. Raises NotYet: a line, lot or piece that may not come back, a piece
    that came before, a unit that is not converted exactly, or too much. Raises Refused: a quantity
    that is none, or is less than its serial numbers.
    """
    _check_told(receipt)
    counted = received_units.counted(customer_return, receipt, conversions)
    _check_pieces(receipt, counted)
    found = _contradictions(customer_return, counted, accept_excess=accept_excess)
    if found:
        only_units = len(found) == len(counted.problems)
        correction = awaited_correction(customer_return.id)
        raise NotYet(invalid(found).refusal, (only_units and counted.awaits) or correction)
    return counted.receipt


def _contradictions(
    customer_return: return_pb2.Return, counted: received_units.Counted, *, accept_excess: bool
) -> list[Violation]:
    lines = {line.line_number: line for line in customer_return.lines}
    came, pieces = received(customer_return), returned_pieces.brought(customer_return)
    found: list[Violation] = []
    for index, row in enumerate(counted.receipt.lines):
        at = f"return_receipt.lines[{index}]"
        line = lines.get(row.line_number)
        if line is None:
            words = (
                f"line {row.line_number} is not authorised to come back; initiate a return of it, "
                "and receive it there"
            )
            found.append(Violation(f"{at}.line_number", words, RULE))
            continue
        number = counted.receipt.number
        found += returned_pieces.contradictions(row, line, pieces, number, at, RULE)
        if index in counted.problems:
            found.append(Violation(f"{at}.quantity", counted.problems[index], RULE))
            continue
        key = row.line_number, row.quantity.unit
        came[key] += Decimal(row.quantity.value)
        if came[key] > Decimal(line.quantity.value) and not accept_excess:
            words = (
                f"{plain(came[key])} of line {row.line_number} came in all, and "
                f"{line.quantity.value} may; count again, then report it anew, with accept_excess "
                "if more came"
            )
            found.append(Violation(f"{at}.quantity", words, RULE))
    return found


def _check_told(receipt: return_pb2.ReturnReceipt) -> None:
    """Refuse what no count can have been, whatever was authorised. Raises Refused."""
    found: list[Violation] = []
    for index, row in enumerate(receipt.lines):
        at = f"return_receipt.lines[{index}]"
        if Decimal(row.quantity.value) <= 0:
            found.append(Violation(f"{at}.quantity", "has to be above zero", RULE))
        if row.HasField("reported_quantity"):
            words = "is set by the hub; tell what came in quantity, in the unit it was counted in"
            found.append(Violation(f"{at}.reported_quantity", words, RULE))
    if found:
        raise invalid(found)


def _check_pieces(receipt: return_pb2.ReturnReceipt, counted: received_units.Counted) -> None:
    """Refuse more serial numbers than pieces, in neither unit so many. Raises Refused."""
    found: list[Violation] = []
    for index, (row, after) in enumerate(zip(receipt.lines, counted.receipt.lines, strict=True)):
        excess = returned_pieces.too_many(row, f"return_receipt.lines[{index}]", RULE)
        if excess and index not in counted.problems and returned_pieces.too_many(after, "", RULE):
            found.append(excess)
    if found:
        raise invalid(found)


def refuse_ended(customer_return: return_pb2.Return, state: str) -> None:
    """Goods that came for a return which nobody expects: a person has to look. Raises NotYet."""
    if state in ("CANCELLED", "CLOSED"):
        words = (
            f"return {customer_return.number} was {state.lower()} before this receipt; initiate "
            "another return and receive the goods there, then discard this one"
        )
        refusal = invalid([Violation("return_receipt", words, "not_ended")]).refusal
        raise NotYet(refusal, awaited_correction(customer_return.id))


def no_room(customer_return: return_pb2.Return, field: str, refusal: Refusal) -> Refusal:
    """Why a return takes no more, in words of the request whose field asked for it.

    refusal: of the return that it would have become, or of the event that would have told it.
    """
    if refusal.violations:
        broken = refusal.violations[0]
        why, rule = f"{broken.field} {broken.description}", broken.rule
    else:
        sizes = refusal.metadata
        why = f"it would be told with {sizes['value']} bytes, and {sizes['limit']} are allowed"
        rule = "event_bytes_max"
    words = f"return {customer_return.number} has no room for more: {why}; {_ROOM_ADVICE[field]}"
    return replace(
        refusal, message=f"{field}: {words}", violations=(Violation(field, words, rule),)
    )


def awaited_correction(customer_return_id: str) -> str:
    """What a contradicting receipt waits for: that the warehouse reports another one."""
    return f"return_receipt:{customer_return_id}"


def progress_of(customer_return: return_pb2.Return) -> list[return_pb2.ReturnLineProgress]:
    """What has come of each line, in the order of the lines."""
    came = received(customer_return)
    rows = []
    for line in customer_return.lines:
        row = return_pb2.ReturnLineProgress(line_number=line.line_number)
        unit = line.quantity.unit
        row.received.unit, row.received.value = unit, plain(came[line.line_number, unit])
        rows.append(row)
    return rows


def state_of(customer_return: return_pb2.Return) -> str:
    """RECEIVED when all of each line has come, else PARTIALLY_RECEIVED."""
    came = received(customer_return)
    complete = all(came[key] >= quantity for key, quantity in authorised(customer_return).items())
    return "RECEIVED" if complete else "PARTIALLY_RECEIVED"


def as_of(customer_return: return_pb2.Return, part: str) -> None:
    """Leave out what came after receipt `part`: empty for the first, then "2", "3".

    An event of a receipt is about the last one that its return tells; so it has to be about the
    same one when the return is taken as it is today.
    """
    del customer_return.receipts[int(part or 1) :]


def unknown_parcels(
    customer_return: return_pb2.Return, parcels: Iterable[return_pb2.ReturnParcel]
) -> list[return_pb2.ReturnParcel]:
    """The parcels that the return does not name yet, each once."""
    seen = {(each.carrier_code, each.tracking_number) for each in customer_return.parcels}
    fresh = []
    for parcel in parcels:
        key = parcel.carrier_code, parcel.tracking_number
        if key not in seen:
            seen.add(key)
            fresh.append(parcel)
    return fresh
