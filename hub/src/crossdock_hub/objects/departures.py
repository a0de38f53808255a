"""What left a dock: a ship confirm against what was packed, and what of it is still there; pure.

Only what was packed can leave, and only once. A confirm that says otherwise is held: it is the
warehouse's word, and so is the pack; one of the two has to be corrected.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any

from crossdock.errors import Violation
from crossdock.shipment.v1 import shipment_pb2, shipment_service_pb2

from crossdock_hub.objects.resources import is_same_time
from crossdock_hub.refusals import invalid
from crossdock_hub.unit import NotYet

# Quantities by line number and unit.
Amounts = dict[tuple[int, str], Decimal]


def next_departure(
    shipment: shipment_pb2.Shipment, report: shipment_service_pb2.ManifestShipmentRequest
) -> shipment_pb2.Departure | None:
    """What a ship confirm adds; None when nothing more left. NotYet when it contradicts the pack.

    Without package numbers it speaks of all that was packed and is still there; it says nothing new
    when it names only packages that have left, or names none and says again what has left.
    """
    left, named = _left(shipment), list(report.package_numbers)
    if named and left.issuperset(named):
        _check_gone(shipment, report)
        return None
    if not named and (_is_repeated(shipment, report) or _only_cancels(shipment, report)):
        return None
    numbers = named or still_to_leave(shipment)
    if not numbers and shipment.packages:
        raise _contradiction(
            shipment,
            "package_numbers",
            "all that was packed left with earlier confirms, and this one tells another time, bill "
            "of lading or quantity",
        )
    _check_packages(shipment, numbers, left)
    packed = contents(package for package in shipment.packages if package.number in numbers)
    shipped = _shipped(report, packed)
    if shipment.departures and report.cancelled and not any(shipped.values()):
        # It names what stays behind for good, beside what has left.
        return None
    _check_quantities(shipment, shipped, packed)
    departure = shipment_pb2.Departure(
        bill_of_lading=report.bill_of_lading,
        package_numbers=numbers,
        shipped=_lines(shipped),
        cancelled=_lines(amounts(report.cancelled)),
    )
    departure.manifest_time.CopyFrom(report.manifest_time)
    return departure


def cancelled_since(
    shipment: shipment_pb2.Shipment, report: shipment_service_pb2.ManifestShipmentRequest
) -> list[shipment_pb2.LineQuantity] | None:
    """What a confirm cancels after goods have left, all of it; None when it says nothing new."""
    if not shipment.departures:
        return None
    known, found = cancelled_amounts(shipment), cancelled_amounts(shipment)
    for key, quantity in amounts(report.cancelled).items():
        found[key] = max(found[key], quantity)
    return _lines(found) if _lines(found) != _lines(known) else None


def as_of(shipment: shipment_pb2.Shipment, part: str) -> None:
    """Leave out what left after departure `part`: empty for the first, then "2", "3".

    An event of a departure is about the last one that its shipment tells; so it has to be about the
    same one when the shipment is taken as it is today.
    """
    del shipment.departures[int(part or 1) :]


def still_to_leave(shipment: shipment_pb2.Shipment) -> list[str]:
    """Numbers of the packages that no confirm has told as gone."""
    left = _left(shipment)
    return [package.number for package in shipment.packages if package.number not in left]


def still_at_dock(shipment: shipment_pb2.Shipment) -> list[shipment_pb2.Package]:
    """Packages of a shipment that has left in part which are expected to leave later."""
    left = _left(shipment)
    withdrawn = {row.package_id for row in shipment.progress if row.withdrawn}
    return [
        package
        for package in shipment.packages
        if left and package.number not in left and package.id not in withdrawn
    ]


def nothing_more_to_come(shipment: shipment_pb2.Shipment) -> bool:
    """True when every package has left or stays behind for good."""
    left = _left(shipment)
    return bool(left) and not still_at_dock(shipment)


def mark_withdrawn(shipment: shipment_pb2.Shipment, package_ids: Iterable[str]) -> None:
    """Say in each package's progress whether it stays behind for good: these do, and those that
    were said to before and have not left."""
    left, stay = _left(shipment), set(package_ids)
    numbers = {package.id: package.number for package in shipment.packages}
    for row in shipment.progress:
        gone = numbers.get(row.package_id) in left
        row.withdrawn = not gone and (row.withdrawn or row.package_id in stay)


def shipped_amounts(shipment: shipment_pb2.Shipment) -> Amounts:
    """What has left of each line; all that was packed where no departure was written down."""
    if not shipment.departures:
        return contents(shipment.packages)
    return amounts(row for departure in shipment.departures for row in departure.shipped)


def cancelled_amounts(
    shipment: shipment_pb2.Shipment, counted: Callable[[Amounts], Amounts] = lambda told: told
) -> Amounts:
    """What of each line will not be shipped: each confirm tells the whole, the largest counts.

    counted: what each confirm tells, in the units to compare it in.
    """
    found: Amounts = defaultdict(Decimal)
    for departure in shipment.departures:
        for key, quantity in counted(amounts(departure.cancelled)).items():
            found[key] = max(found[key], quantity)
    return found


def contents(packages: Iterable[shipment_pb2.Package]) -> Amounts:
    """What packages hold, by line."""
    return amounts(content for package in packages for content in package.contents)


def amounts(rows: Iterable[Any]) -> Amounts:
    """The sum of rows that have a line number and a quantity."""
    found: Amounts = defaultdict(Decimal)
    for row in rows:
        found[row.line_number, row.quantity.unit] += Decimal(row.quantity.value)
    return found


def _left(shipment: shipment_pb2.Shipment) -> set[str]:
    if shipment.HasField("manifest_time") and not shipment.departures:
        return {package.number for package in shipment.packages}
    return {number for departure in shipment.departures for number in departure.package_numbers}


def _is_repeated(
    shipment: shipment_pb2.Shipment, report: shipment_service_pb2.ManifestShipmentRequest
) -> bool:
    """Whether a confirm without packages says once more what has left.

    It does when it repeats the last departure in time, bill of lading and quantities, and when it
    says only that all has left, of which nothing is missing, with no other bill of lading.
    """
    if shipment.HasField("manifest_time") and not shipment.departures:
        # It left before departures were written down: there is nothing to compare with.
        return True
    if not shipment.departures or still_to_leave(shipment):
        return False
    bills = {departure.bill_of_lading for departure in shipment.departures}
    complete = _nonzero(shipped_amounts(shipment)) == _nonzero(contents(shipment.packages))
    if complete and not report.shipped and report.bill_of_lading in {"", *bills}:
        return True
    last = shipment.departures[-1]
    gone = [p for p in shipment.packages if p.number in last.package_numbers]
    same = is_same_time(last.manifest_time, report.manifest_time)
    same = same and last.bill_of_lading == report.bill_of_lading
    return same and _nonzero(_shipped(report, contents(gone))) == _nonzero(amounts(last.shipped))


def _only_cancels(
    shipment: shipment_pb2.Shipment, report: shipment_service_pb2.ManifestShipmentRequest
) -> bool:
    """Whether a confirm after goods have left says that all the rest stays behind for good."""
    if not shipment.departures or report.shipped or not report.cancelled:
        return False
    rest = set(still_to_leave(shipment))
    stays = contents(package for package in shipment.packages if package.number in rest)
    cancelled = amounts(report.cancelled)
    return all(cancelled[key] >= quantity for key, quantity in stays.items())


def _nonzero(found: Mapping[tuple[int, str], Decimal]) -> Amounts:
    return {key: quantity for key, quantity in found.items() if quantity}


def _agrees(known: Mapping[tuple[int, str], Decimal], told: Amounts) -> bool:
    """Whether what left has each quantity that a confirm names; what that leaves out is free."""
    return all(known.get(key, Decimal(0)) == quantity for key, quantity in told.items())


def _check_gone(
    shipment: shipment_pb2.Shipment, report: shipment_service_pb2.ManifestShipmentRequest
) -> None:
    """Packages leave once: a confirm that names them again must not tell anything else of them."""
    named = set(report.package_numbers)
    told_before = [d for d in shipment.departures if named.intersection(d.package_numbers)]
    if not told_before:
        # They left before departures were written down: there is nothing to compare with.
        return
    if report.bill_of_lading not in {"", *(d.bill_of_lading for d in told_before)}:
        raise _contradiction(
            shipment, "bill_of_lading", "these packages left already, with another bill of lading"
        )
    if not _agrees(_gone_with(shipment, named, told_before), amounts(report.shipped)):
        raise _contradiction(
            shipment, "shipped", "these packages left already, with other quantities"
        )


def _gone_with(
    shipment: shipment_pb2.Shipment, named: set[str], told_before: list[shipment_pb2.Departure]
) -> Amounts:
    """What of each line left in the named packages.

    Departures are told as a whole: of one that was named in part, only what its packages held is
    known, and that only counts where all of it left.
    """
    found: Amounts = defaultdict(Decimal)
    for departure in told_before:
        shipped = amounts(departure.shipped)
        mine = named.intersection(departure.package_numbers)
        if mine != set(departure.package_numbers):
            all_of_it = contents(p for p in shipment.packages if p.number in mine)
            gone = contents(p for p in shipment.packages if p.number in departure.package_numbers)
            shipped = {key: q for key, q in all_of_it.items() if shipped.get(key) == gone[key]}
        for key, quantity in shipped.items():
            found[key] += quantity
    return found


def _shipped(
    report: shipment_service_pb2.ManifestShipmentRequest, packed: Amounts
) -> dict[tuple[int, str], Decimal]:
    """What a confirm says has left: the lines that it tells, and all that was packed of others."""
    told = amounts(report.shipped)
    lines_told = {line for line, _ in told}
    return {**told, **{key: q for key, q in packed.items() if key[0] not in lines_told}}


def _check_packages(shipment: shipment_pb2.Shipment, numbers: list[str], left: set[str]) -> None:
    packed = {package.number for package in shipment.packages}
    for index, number in enumerate(numbers):
        if number not in packed:
            raise _contradiction(
                shipment, f"package_numbers[{index}]", f"package {number} was never packed"
            )
        if number in left:
            raise _contradiction(
                shipment,
                f"package_numbers[{index}]",
                f"package {number} left with an earlier confirm, others named here did not",
            )


def _check_quantities(shipment: shipment_pb2.Shipment, shipped: Amounts, packed: Amounts) -> None:
    for (line, unit), quantity in shipped.items():
        holds = packed.get((line, unit), Decimal(0))
        if quantity > holds or quantity < 0:
            raise _contradiction(
                shipment,
                "shipped",
                f"line {line}: {quantity:f} {unit} left in packages that hold {holds:f}",
            )
    if not any(shipped.values()):
        advice = "if none of it will, void the shipment with VoidShipment; else confirm again"
        raise _contradiction(shipment, "shipped", "nothing of any line left", advice)


def _contradiction(
    shipment: shipment_pb2.Shipment,
    field: str,
    problem: str,
    advice: str = "correct the packages with UpdateShipment, or confirm again",
) -> NotYet:
    """Held until the warehouse corrects the packages; a further confirm may settle it too."""
    words = f"{problem}; {advice}"
    refusal = invalid([Violation(field, words, "packed")]).refusal
    return NotYet(refusal, awaited_correction(shipment.id))


def voided(shipment: shipment_pb2.Shipment) -> NotYet:
    """Goods left under a shipment that the warehouse had voided: a person has to look."""
    words = (
        f"shipment {shipment.number} was voided before this confirm: its label and postings are "
        "taken back; if the goods did leave, pack and confirm them anew, then discard this one"
    )
    refusal = invalid([Violation("shipment_number", words, "not_voided")]).refusal
    return NotYet(refusal, awaited_correction(shipment.id))


def awaited_correction(shipment_id: str) -> str:
    """What a contradicting confirm waits for: that the packages of the shipment are corrected."""
    return f"packages:{shipment_id}"


def _lines(found: Amounts) -> list[shipment_pb2.LineQuantity]:
    lines = []
    for (number, unit), quantity in sorted(found.items()):
        if quantity:
            line = shipment_pb2.LineQuantity(line_number=number)
            line.quantity.value, line.quantity.unit = f"{quantity.normalize():f}", unit
            lines.append(line)
    return lines
