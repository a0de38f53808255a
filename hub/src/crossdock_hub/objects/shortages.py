"""What of each order line will not be shipped, by what was packed, confirmed and voided; pure.

Each ship confirm tells the part of its own shipment, so the parts add up. A warehouse may tell all
of the line with each confirm nevertheless. That shows where the parts add up to more than can be
missing; then the line is short of what one confirm says of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from crossdock.fulfillment.v1 import fulfillment_pb2
from crossdock.shipment.v1 import shipment_pb2

from crossdock_hub.objects.departures import (
    Amounts,
    amounts,
    cancelled_amounts,
    contents,
    nothing_more_to_come,
    shipped_amounts,
    still_at_dock,
)
from crossdock_hub.objects.line_units import AS_TOLD, LineUnits

NOTHING = Decimal(0)
# In which order moments of one time are looked at: what is decided in one batch has one time.
_PACKED_BEFORE, _VOIDED, _PACKED_SINCE = range(3)
_ARRIVED = frozenset({shipment_pb2.SHIPMENT_STATE_DELIVERED, shipment_pb2.SHIPMENT_STATE_RETURNED})


def short_at_docks(
    ordered: Mapping[tuple[int, str], Decimal], shipments: Sequence[shipment_pb2.Shipment]
) -> Amounts:
    """What of each line will not be shipped, by the confirms of all shipments that are not voided.

    ordered: by line and unit; a line in a unit that it lacks has no bound. shipments: all of the
    line's, voided ones too: what these had is to be packed again, and is not missing until then.
    """
    told = [cancelled_amounts(each) for each in shipments if not is_voided(each)]
    keys = {key for each in told for key in each}
    if not keys:
        return {}
    may_be = _missing(ordered, shipments, told_is_of_it=True)
    at_least = _missing(ordered, shipments, told_is_of_it=False)
    found: Amounts = defaultdict(Decimal)
    for key in keys:
        parts = [each.get(key, NOTHING) for each in told]
        found[key] = sum(parts, NOTHING)
        if key in ordered and found[key] > may_be[key]:
            found[key] = max(*parts, at_least[key])
    return found


@dataclass(frozen=True, slots=True)
class Reckoning:
    """What is said of the lines of a request by all of its shipments together.

    missing: of what has neither left, stands at a dock, nor was voided. again: of what was voided
    and is to be packed again. at_pick: what the picks were short of. never_packed: what confirms
    cancel that was in no carton. incomparable: lines that are packed in another unit than was asked
    for, of which nobody can say what is missing.
    """

    short: Amounts
    missing: Amounts
    again: Amounts
    at_pick: Amounts
    never_packed: Amounts
    incomparable: frozenset[int]


def reckoned(
    request: fulfillment_pb2.FulfillmentRequest, shipments: Sequence[shipment_pb2.Shipment]
) -> Reckoning:
    """shipments: all of the request."""
    requested = amounts(request.lines)
    packed = [contents(each.packages) for each in shipments if not is_voided(each)]
    return Reckoning(
        short_at_docks(requested, shipments),
        _missing(requested, shipments, told_is_of_it=True),
        _to_be_packed_again(shipments, told_is_of_it=True),
        short_at_pick(request),
        _never_packed(shipments),
        frozenset(key[0] for each in packed for key in each if key not in requested),
    )


def stay_for_good(shipment: shipment_pb2.Shipment, request: Reckoning) -> list[str]:
    """Ids of packages at the dock that will not leave: of each line in them nothing is missing
    without them but what is short. Of a line that nobody can compare the shipment's own confirms
    say so: they cancel all of it that has not left, beside what the picks were short of and no
    other shipment's confirms cancel.

    request: of the shipment's fulfillment request, with this shipment.
    """
    staying = still_at_dock(shipment)
    if not staying:
        return []
    # What is cancelled may be what was voided: a carton is not let go of by the same word.
    beside = _more(still_to_leave(shipment, told_is_of_it=True), request.again)
    told = cancelled_amounts(shipment)
    not_gone = _less(contents(shipment.packages), shipped_amounts(shipment))
    elsewhere = _less(request.never_packed, _never_packed([shipment]))
    to_cancel = _more(_more(not_gone, request.again), _less(request.at_pick, elsewhere))

    def is_done(key: tuple[int, str]) -> bool:
        if key[0] in request.incomparable:
            return told[key] >= to_cancel[key]
        missing = request.missing[key] + beside.get(key, NOTHING)
        return missing <= request.short.get(key, NOTHING)

    return [package.id for package in staying if all(map(is_done, contents([package])))]


def short_at_pick(
    request: fulfillment_pb2.FulfillmentRequest, units: LineUnits = AS_TOLD
) -> Amounts:
    """What of each line the picks of a request did not find, at most what is not picked: another
    pick may have found what one was short of. In a unit that was not asked for it has no bound."""
    asked, picked = units.of(amounts(request.lines)), units.of(amounts(request.picked))
    not_picked = _less(asked, picked)
    short = units.of(amounts(request.short))
    return {key: min(each, not_picked.get(key, each)) for key, each in short.items()}


def still_to_pack(
    request: fulfillment_pb2.FulfillmentRequest,
    shipments: Sequence[shipment_pb2.Shipment],
    units: LineUnits,
) -> Amounts:
    """What of each line of a fulfillment request is in no carton and nobody said is short, in the
    unit that the line is counted in.

    Nothing of a line that is packed or short in a unit that is not counted in that of the line:
    nobody says how much of it that is. shipments: of the request. units: how to count its lines.
    """
    requested = units.of(amounts(request.lines))
    accounted = _accounted(request, shipments, units)
    unknown = _in_other_units(requested, accounted)
    missing = _less(requested, accounted)
    return {key: each for key, each in missing.items() if each and key not in unknown}


def not_compared(
    request: fulfillment_pb2.FulfillmentRequest,
    shipments: Sequence[shipment_pb2.Shipment],
    units: LineUnits,
) -> dict[tuple[int, str], set[str]]:
    """In which other units goods of a line are packed or short than the one it was asked for in, by
    line and that unit: of these lines nobody says what is missing. shipments: of the request;
    units: how to count its lines."""
    requested = units.of(amounts(request.lines))
    told = _accounted(request, shipments, units)
    return {
        (line, unit): {u for (n, u), quantity in told.items() if n == line and quantity} - {unit}
        for line, unit in sorted(_in_other_units(requested, told))
    }


def _accounted(
    request: fulfillment_pb2.FulfillmentRequest,
    shipments: Sequence[shipment_pb2.Shipment],
    units: LineUnits,
) -> Amounts:
    """What of each line is packed or short."""
    packed = contents(each for mate in shipments if not is_voided(mate) for each in mate.packages)
    short = _larger(short_at_pick(request, units), _never_packed(shipments, units))
    return _more(units.of(packed), short)


def state_of_request(
    request: fulfillment_pb2.FulfillmentRequest,
    shipments: Sequence[shipment_pb2.Shipment],
    units: LineUnits,
) -> str:
    """How far a fulfillment request has come by all of its shipments; "" before all of it left.

    units: how to count its lines."""
    packed = [shipment for shipment in shipments if not is_voided(shipment)]
    gone = [each for each in packed if nothing_more_to_come(each) or each.state in _ARRIVED]
    if not packed or len(gone) < len(packed) or still_to_pack(request, packed, units):
        return ""
    states = {shipment.state for shipment in packed}
    kept = shipment_pb2.SHIPMENT_STATE_DELIVERED in states
    return "DELIVERED" if kept and states <= _ARRIVED else "SHIPPED"


def is_awaited(
    ordered: Mapping[tuple[int, str], Decimal],
    shipments: Sequence[shipment_pb2.Shipment],
    requests: Iterable[fulfillment_pb2.FulfillmentRequest],
) -> bool:
    """Whether goods of voided shipments are to be packed again: more than docks and picks call
    short, of what was ordered and has neither left nor stands at a dock."""
    again = _to_be_packed_again(shipments, told_is_of_it=True)
    if not any(again.values()):
        return False
    packed = contents(each for mate in shipments if not is_voided(mate) for each in mate.packages)
    at_pick: Amounts = {}
    for request in requests:
        at_pick = _more(at_pick, short_at_pick(request))
    # That is first of what was in no carton.
    at_pick = _less(at_pick, _less(_less(dict(ordered), packed), again))
    short = _larger(short_at_docks(ordered, shipments), at_pick)
    missing = _missing(ordered, shipments, told_is_of_it=True)
    # What _missing takes off as to be packed again is what is asked about here.
    return any(
        min(quantity, missing[key] + quantity) > short.get(key, NOTHING)
        for key, quantity in again.items()
    )


def is_voided(shipment: shipment_pb2.Shipment) -> bool:
    """Whether it was undone: what it had is to be packed again."""
    return shipment.state == shipment_pb2.SHIPMENT_STATE_VOIDED


def has_left(shipment: shipment_pb2.Shipment) -> bool:
    """Whether goods of it are gone."""
    return shipment.state not in (
        shipment_pb2.SHIPMENT_STATE_PACKED,
        shipment_pb2.SHIPMENT_STATE_VOIDED,
    )


def still_to_leave(shipment: shipment_pb2.Shipment, *, told_is_of_it: bool) -> Amounts:
    """What of each line is packed and expected to leave.

    told_is_of_it: without what the shipment's confirms cancel, which may be in its cartons.
    """
    if is_voided(shipment):
        return {}
    found = contents(still_at_dock(shipment) if has_left(shipment) else shipment.packages)
    return _less(found, cancelled_amounts(shipment)) if told_is_of_it else found


def _missing(
    ordered: Mapping[tuple[int, str], Decimal],
    shipments: Sequence[shipment_pb2.Shipment],
    *,
    told_is_of_it: bool,
) -> Amounts:
    """What was ordered of a line and has not left, is not at a dock, and is not to be packed again.

    told_is_of_it: that a confirm cancels what is in cartons at the dock or was to be packed again.
    It may, or may speak of other goods: nobody says. So what is missing is no more with True, and
    no less with False.
    """
    missing: Amounts = defaultdict(Decimal, ordered)
    accounted = [shipped_amounts(each) for each in shipments if has_left(each)]
    accounted += [still_to_leave(each, told_is_of_it=told_is_of_it) for each in shipments]
    accounted.append(_to_be_packed_again(shipments, told_is_of_it=told_is_of_it))
    for each in accounted:
        for key, quantity in each.items():
            missing[key] -= quantity
    return missing


def _to_be_packed_again(
    shipments: Sequence[shipment_pb2.Shipment], *, told_is_of_it: bool
) -> Amounts:
    """What was in voided shipments, less what was packed after each void.

    told_is_of_it: less what the shipments that were packed since cancel, too.
    """
    moments: list[tuple[int, int, Amounts]] = []
    for shipment in shipments:
        packed = contents(shipment.packages)
        packed_at, rank = shipment.create_time.ToMicroseconds(), _PACKED_SINCE
        if is_voided(shipment):
            voided_at = _voided_at(shipment)
            moments.append((voided_at, _VOIDED, packed))
            if packed_at == voided_at:
                rank = _PACKED_BEFORE
        elif told_is_of_it:
            packed = _more(packed, cancelled_amounts(shipment))
        moments.append((packed_at, rank, packed))
    found: Amounts = defaultdict(Decimal)
    for _, rank, goods in sorted(moments, key=lambda moment: moment[:2]):
        found = _more(found, goods) if rank == _VOIDED else _less(found, goods)
        if rank != _VOIDED:
            # In another unit it takes the place of all that waits: nobody says how much it is.
            found |= dict.fromkeys(_in_other_units(found, goods), NOTHING)
    return found


def _never_packed(
    shipments: Iterable[shipment_pb2.Shipment], units: LineUnits = AS_TOLD
) -> Amounts:
    """What confirms cancel beside what has not left of what was packed: it was in no carton."""
    found: Amounts = {}
    for shipment in shipments:
        if has_left(shipment):
            told = _more(units.of(shipped_amounts(shipment)), cancelled_amounts(shipment, units.of))
            packed = units.of(contents(shipment.packages))
            found = _more(found, _less(told, packed))
    return found


def _voided_at(shipment: shipment_pb2.Shipment) -> int:
    """Microseconds UTC. One that was archived before that was kept, and put back, has only its last
    change."""
    if shipment.HasField("void_time"):
        return shipment.void_time.ToMicroseconds()
    return shipment.update_time.ToMicroseconds()


def _in_other_units(keys: Iterable[tuple[int, str]], told: Amounts) -> set[tuple[int, str]]:
    """Those of keys of whose line something is told in another unit."""
    units: dict[int, set[str]] = defaultdict(set)
    for (line, unit), quantity in told.items():
        if quantity:
            units[line].add(unit)
    return {(line, unit) for line, unit in keys if units[line] - {unit}}


def _more(left: Amounts, right: Amounts) -> Amounts:
    return {key: left.get(key, NOTHING) + right.get(key, NOTHING) for key in {*left, *right}}


def _larger(left: Amounts, right: Amounts) -> Amounts:
    keys = {*left, *right}
    return {key: max(left.get(key, NOTHING), right.get(key, NOTHING)) for key in keys}


def _less(left: Amounts, right: Amounts) -> Amounts:
    """What is left of each, at least nothing."""
    return {key: max(NOTHING, value - right.get(key, NOTHING)) for key, value in left.items()}
