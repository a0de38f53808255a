"""How much of one unit another one is: by what is said of the item, of every item, and everywhere.

What is nearer wins. What the item's own rules say, over as many units as it takes, goes before a
rule for every item, and both go before the standard table; so an item whose master data says that
its pair is one piece has pairs of one piece, and a dozen of them is twelve pieces. Where no rule
names both units, a way over others is looked for: a pallet of 40 cases of 12 is 40 dozen. Where two
ways do not agree, nothing is guessed: the master data is wrong.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from typing import Final

from crossdock.quantities.units import UNITS

# A way is no longer than this: package by package from the truck to the piece, and from there
# definition by definition.
STEPS_MAX: Final = 12
# Of one item, and as many for every item; packages and units of one item are a handful.
CONVERSIONS_MAX: Final = 100


class Origin(Enum):
    """Who says that a rule holds."""

    ITEM = "ITEM"
    EVERY_ITEM = "EVERY_ITEM"
    STANDARD = "STANDARD"


@dataclass(frozen=True, slots=True)
class Rule:
    """One `from_unit` is `ratio` `to_unit`. number: of the unit conversion that says so."""

    from_unit: str
    to_unit: str
    ratio: Fraction
    origin: Origin
    number: str = ""

    def __post_init__(self) -> None:
        if self.ratio <= 0:
            raise ValueError(f"{self.from_unit} to {self.to_unit}: a ratio is greater than zero")

    def turned(self) -> Rule:
        """The same, read from the other side."""
        return Rule(self.to_unit, self.from_unit, 1 / self.ratio, self.origin, self.number)


@dataclass(frozen=True, slots=True)
class Conversion:
    """From one unit to another. ratio: exact. steps: the rules that say so, in the order of use."""

    ratio: Fraction
    steps: tuple[Rule, ...] = ()

    def of(self, value: Decimal) -> Fraction:
        """So much of the first unit in the second, exactly."""
        return Fraction(value) * self.ratio

    def then(self, rule: Rule) -> Conversion:
        """This way, and a step more."""
        return Conversion(self.ratio * rule.ratio, (*self.steps, rule))


_SAME: Final = Conversion(Fraction(1))


class NotConvertible(Exception):
    """Nothing says how much of one unit another one is."""


class Contradiction(Exception):
    """Two ways to the same unit do not agree. `ways`: both of them."""

    def __init__(self, one: Conversion, other: Conversion) -> None:
        super().__init__(f"{_told(one)}, but {_told(other)}")
        self.ways = (one, other)


def conversion(from_unit: str, to_unit: str, said: Iterable[Rule] = ()) -> Conversion:
    """How to convert. said: of the item and of every item.

    Raises NotConvertible, and Contradiction where what is said does not agree with itself.
    """
    if from_unit == to_unit:
        return _SAME
    rules = [*said]
    own = [rule for rule in rules if rule.origin is Origin.ITEM]
    told = [*own, *_not_said_of_the_item(rules, own)]
    table = [*_table({unit for rule in told if (unit := _redefined(rule))})]
    found = _named(from_unit, to_unit, own, table)
    if found is not None:
        return found
    if _comparable(from_unit, to_unit) and not any(map(_differs, told)):
        return _SAME.then(_standard(from_unit, to_unit))
    by_item = _way(from_unit, to_unit, [*own, *table]) if own else None
    if by_item is not None and any(step.origin is Origin.ITEM for step in by_item.steps):
        return by_item
    found = _named(from_unit, to_unit, told, table) or _way(from_unit, to_unit, [*told, *table])
    if found is None:
        raise NotConvertible(_not_found(from_unit, to_unit, [*told, *table]))
    return found


def disagreement(rule: Rule, said: Iterable[Rule]) -> Contradiction | None:
    """Why a rule does not agree with what is said beside it; None: it does.

    said: the rules of its item, or those for every item. It has to come to the same as the others
    do, over however many units, and as the standard table: that it may only say anew of a unit by
    what defines it.
    """
    rules = [rule, *said]
    table = _table({unit for each in rules if (unit := _redefined(each))})
    try:
        _direct(rule.from_unit, rule.to_unit, rules)
        around = [*rules, *table]
        _way(rule.from_unit, rule.to_unit, around, elsewhere=False, steps_max=len(around))
    except Contradiction as found:
        return found
    return None


def _not_found(from_unit: str, to_unit: str, rules: list[Rule]) -> str:
    """Why there is no way: none at all, or none that is short enough."""
    longer = _way(from_unit, to_unit, rules, elsewhere=False, steps_max=len(rules))
    if longer is None:
        return f"nothing says how much {to_unit} one {from_unit} is"
    return (
        f"how much {to_unit} one {from_unit} is takes {len(longer.steps)} conversions, and at most "
        f"{STEPS_MAX} are followed"
    )


def _named(
    from_unit: str, to_unit: str, rules: Iterable[Rule], table: Iterable[Rule]
) -> Conversion | None:
    """By a rule that names both units; None: there is none.

    Ways around it have to agree, unless it says a standard unit anew: then it stands against the
    table, which is what it is for.
    """
    rules = [*rules]
    found = _direct(from_unit, to_unit, rules)
    if found is not None and not _comparable(from_unit, to_unit):
        _way(from_unit, to_unit, [*rules, *table], elsewhere=False)
    return found


def _direct(from_unit: str, to_unit: str, rules: Iterable[Rule]) -> Conversion | None:
    found: Conversion | None = None
    for rule in _both_ways(rules):
        if (rule.from_unit, rule.to_unit) == (from_unit, to_unit):
            one = _SAME.then(rule)
            if found is not None and found.ratio != one.ratio:
                raise Contradiction(found, one)
            found = found or one
    return found


def _not_said_of_the_item(rules: Iterable[Rule], own: Iterable[Rule]) -> Iterator[Rule]:
    """The rules for every item whose two units no rule of the item names together."""
    pairs = {frozenset((rule.from_unit, rule.to_unit)) for rule in own}
    for rule in rules:
        is_common = rule.origin is Origin.EVERY_ITEM
        if is_common and frozenset((rule.from_unit, rule.to_unit)) not in pairs:
            yield rule


def _way(
    from_unit: str,
    to_unit: str,
    rules: Iterable[Rule],
    *,
    elsewhere: bool = True,
    steps_max: int = STEPS_MAX,
) -> Conversion | None:
    """The shortest way; None: there is none of so many steps.

    All that is reached has to be reached alike; elsewhere=False: only the unit that is asked for.
    """
    leading = _by_from_unit(_both_ways(rules))
    reached = {from_unit: _SAME}
    waiting = deque([from_unit])
    while waiting:
        unit = waiting.popleft()
        way = reached[unit]
        # Through the unit that is asked for goes no way to it.
        if len(way.steps) >= steps_max or (unit == to_unit and not elsewhere):
            continue
        for rule in leading.get(unit, ()):
            longer = way.then(rule)
            known = reached.get(rule.to_unit)
            if known is None:
                reached[rule.to_unit] = longer
                waiting.append(rule.to_unit)
            elif known.ratio != longer.ratio and (elsewhere or rule.to_unit == to_unit):
                raise Contradiction(known, longer)
    return reached.get(to_unit)


def _both_ways(rules: Iterable[Rule]) -> Iterator[Rule]:
    for rule in rules:
        yield rule
        yield rule.turned()


def _by_from_unit(rules: Iterable[Rule]) -> Mapping[str, list[Rule]]:
    found: dict[str, list[Rule]] = {}
    for rule in rules:
        found.setdefault(rule.from_unit, []).append(rule)
    return found


def _table(redefined: set[str]) -> Iterator[Rule]:
    """The standard table as it is written, without the rows of what is said otherwise: what is
    defined by such a unit follows it."""
    for unit in UNITS.values():
        if not unit.is_base and unit.code not in redefined:
            yield Rule(unit.code, unit.of, unit.count, Origin.STANDARD)


def _comparable(one: str, other: str) -> bool:
    return one in UNITS and other in UNITS and UNITS[one].dimension == UNITS[other].dimension


def _differs(rule: Rule) -> bool:
    """True when a rule says of two standard units what the table does not."""
    comparable = _comparable(rule.from_unit, rule.to_unit)
    return comparable and rule.ratio != _standard(rule.from_unit, rule.to_unit).ratio


def _redefined(rule: Rule) -> str:
    """The unit that a rule gives another meaning: it says it by what the table defines it by, or by
    the base. "": none. Of two others nobody knows which one is meant, and the table contradicts."""
    if not _differs(rule):
        return ""
    one, other = UNITS[rule.from_unit], UNITS[rule.to_unit]
    if other.is_base or one.of == other.code:
        return one.code
    return other.code if one.is_base or other.of == one.code else ""


def _standard(from_unit: str, to_unit: str) -> Rule:
    ratio = UNITS[from_unit].in_base / UNITS[to_unit].in_base
    return Rule(from_unit, to_unit, ratio, Origin.STANDARD)


def _told(way: Conversion) -> str:
    if not way.steps:
        return "a unit is itself"
    steps = "".join(f" over {rule.to_unit}" for rule in way.steps[:-1])
    return f"one {way.steps[0].from_unit} is {way.ratio} {way.steps[-1].to_unit}{steps}"
