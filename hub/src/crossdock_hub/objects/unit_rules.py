"""What the master data says of the units of an item: its conversions as rules; pure.

Whoever converts in the hub does it by these, and so in the same way: `ConvertQuantity`, the lines
of a request, and what comes back of a return.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any, Final

from crossdock.errors import Refusal, Violation
from crossdock.quantities import (
    CONVERSIONS_MAX,
    Contradiction,
    NotConvertible,
    Origin,
    Rule,
    disagreement,
)
from crossdock.unit.v1 import unit_pb2

from crossdock_hub.objects import resources
from crossdock_hub.records import EVERY_ITEM, item_in
from crossdock_hub.refusals import invalid
from crossdock_hub.unit import Key, Refused, Unit, conversions_key

RULE: Final = "unit_conversion.agrees"


class TooManyConversions(NotConvertible):
    """An item has more unit conversions than anybody follows, or every item has."""


def keys_of(items: Iterable[str]) -> set[Key]:
    """What is read to convert quantities of these items."""
    wanted = set(items)
    return {conversions_key(item) for item in (*wanted, EVERY_ITEM)} if wanted else set()


def said_of(unit: Unit, items: Iterable[str]) -> list[Any]:
    """The unit conversions of these items, and those for every item."""
    wanted = set(items)
    found = unit.conversions([*sorted(wanted), EVERY_ITEM]) if wanted else []
    return [record.message for record in found]


def rules(conversions: Iterable[Any], item: str) -> list[Rule]:
    """What conversions say of an item and of every item; item "": only of every item.

    conversions: those of the item, those for every item, and maybe others: a number may begin like
    another item's, whose number has a colon, and the field decides. Raises TooManyConversions.
    """
    of_item: list[Rule] = []
    of_every: list[Rule] = []
    for each in conversions:
        if not each.item_number:
            of_every.append(_rule(each, Origin.EVERY_ITEM))
        elif each.item_number == item:
            of_item.append(_rule(each, Origin.ITEM))
    for whose, of_one in ((f"item {item!r} has", of_item), ("every item has", of_every)):
        if len(of_one) > CONVERSIONS_MAX:
            raise TooManyConversions(
                f"{whose} {len(of_one)} unit conversions, and at most {CONVERSIONS_MAX} are "
                "followed: leave out those that others say already"
            )
    return of_item + of_every


def by_item(entries: Iterable[Any]) -> Mapping[str, Sequence[Any]]:
    """Entries of a request that writes unit conversions, by item."""
    found: dict[str, list[Any]] = defaultdict(list)
    for entry in entries:
        found[item_in(entry.unit_conversion.number)].append(entry)
    return found


def check_agrees(
    unit: Unit, before: Any, written: Any, beside: Mapping[str, Sequence[Any]]
) -> None:
    """Refuse a unit conversion that contradicts what is said of its item, or is one too many.

    before, written: as it was and as it is stored now; before None: it is new. beside: by item, the
    entries that are written with it: where several have to change to agree again, they may. What
    one item says is not held against what every item does: it goes before that. Raises Refused.
    """
    if before is not None and _amount(before) == _amount(written):
        return
    item = item_in(written.number)
    stored = [record.message for record in unit.conversions([item])]
    known = {each.number: each for each in stored if each.item_number == written.item_number}
    if before is None and len(known) > CONVERSIONS_MAX:
        raise _one_too_many(item, len(known))
    will_be = {**known, **_as_they_will_be(known, beside.get(item, ())), written.number: written}
    origin = Origin.ITEM if written.item_number else Origin.EVERY_ITEM
    said = [_rule(each, origin) for each in will_be.values()]
    found = disagreement(_rule(written, origin), said)
    if found is not None:
        words = f"does not agree with what is said beside it: {found}; {_remedy(found)}"
        raise invalid([Violation("unit_conversion.numerator", words, RULE)])


def _remedy(found: Contradiction) -> str:
    """What to do of two ways that do not agree. A rounded rate between two standard units has often
    no other spelling at who tells it, and is not needed."""
    by_standard = [all(s.origin is Origin.STANDARD for s in way.steps) for way in found.ways]
    if any(by_standard):
        return "leave it out: UN/ECE Rec 20 says it, exactly"
    return "correct it, or write those that are wrong with it in one request"


def _as_they_will_be(known: Mapping[str, Any], entries: Iterable[Any]) -> dict[str, Any]:
    """The unit conversions of entries over those that are known, by number; without those that
    will be refused, for they are no numbers."""
    found: dict[str, Any] = {}
    for entry in entries:
        number = entry.unit_conversion.number
        after = unit_pb2.UnitConversion()
        if number in known:
            after.CopyFrom(known[number])
        resources.apply_mask(after, entry.unit_conversion, entry.update_mask.paths)
        try:
            _rule(after, Origin.ITEM)
        except (ValueError, ArithmeticError):
            continue
        found[number] = after
    return found


def _one_too_many(item: str, count: int) -> Refused:
    whose = "every item" if item == EVERY_ITEM else f"item {item!r}"
    words = (
        f"{whose} would have {count} unit conversions, and at most {CONVERSIONS_MAX} are followed: "
        "leave out those that others say already"
    )
    limits = {"limit": str(CONVERSIONS_MAX), "value": str(count)}
    return Refused(Refusal("LIMIT_EXCEEDED", words, limits))


def _rule(each: Any, origin: Origin) -> Rule:
    return Rule(each.from_unit, each.to_unit, _amount(each), origin, each.number)


def _amount(each: Any) -> Fraction:
    return Fraction(each.numerator) / Fraction(each.denominator)
