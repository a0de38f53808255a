"""How much of one unit another one is: by what is said of the item, of every item, and everywhere.

What is nearer wins. A rule of the item between the two units goes before one for every item, and
both go before the standard table; so an item whose master data says that its pair is one piece has
pairs of one piece. Where no rule names both units, a way over others is looked for: a pallet of 40
cases of 12 is 40 dozen. Where two ways do not agree, nothing is guessed: the master data is wrong.
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

# A way is no longer than this: package by package from the truck to the piece, and two units more.
STEPS_MAX: Final = 8


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
    for origin in (Origin.ITEM, Origin.EVERY_ITEM):
        found = _direct(from_unit, to_unit, [rule for rule in rules if rule.origin is origin])
        if found is not None:
            return found
    told = _nearest(rules)
    redefined = {_meant(rule) for rule in told if _redefines(rule)}
    if redefined.isdisjoint((from_unit, to_unit)) and _comparable(from_unit, to_unit):
        return _SAME.then(_standard(from_unit, to_unit))
    return _way(from_unit, to_unit, [*told, *_table(redefined)])


def _direct(from_unit: str, to_unit: str, rules: Iterable[Rule]) -> Conversion | None:
    found: Conversion | None = None
    for rule in _both_ways(rules):
        if (rule.from_unit, rule.to_unit) == (from_unit, to_unit):
            one = _SAME.then(rule)
            if found is not None and found.ratio != one.ratio:
                raise Contradiction(found, one)
            found = found or one
    return found


def _nearest(rules: Iterable[Rule]) -> list[Rule]:
    """What is said of the item, and of every item where the item has nothing on both units."""
    own = [rule for rule in rules if rule.origin is Origin.ITEM]
    pairs = {frozenset((rule.from_unit, rule.to_unit)) for rule in own}
    return own + [
        rule
        for rule in rules
        if rule.origin is Origin.EVERY_ITEM
        and frozenset((rule.from_unit, rule.to_unit)) not in pairs
    ]


def _way(from_unit: str, to_unit: str, rules: Iterable[Rule]) -> Conversion:
    """The shortest way. Every other one has to agree, also to the units between."""
    leading = _by_from_unit(_both_ways(rules))
    reached = {from_unit: _SAME}
    waiting = deque([from_unit])
    while waiting:
        unit = waiting.popleft()
        way = reached[unit]
        if len(way.steps) == STEPS_MAX:
            continue
        for rule in leading.get(unit, ()):
            longer = way.then(rule)
            known = reached.get(rule.to_unit)
            if known is None:
                reached[rule.to_unit] = longer
                waiting.append(rule.to_unit)
            elif known.ratio != longer.ratio:
                raise Contradiction(known, longer)
    if to_unit not in reached:
        raise NotConvertible(f"nothing says how much {to_unit} one {from_unit} is")
    return reached[to_unit]


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
    """The standard table: each unit in the base unit of its dimension."""
    for unit in UNITS.values():
        if unit.code != unit.base and unit.code not in redefined:
            yield _standard(unit.code, unit.base)


def _comparable(one: str, other: str) -> bool:
    return one in UNITS and other in UNITS and UNITS[one].dimension == UNITS[other].dimension


def _redefines(rule: Rule) -> bool:
    """True when a rule says of two standard units what the table does not."""
    comparable = _comparable(rule.from_unit, rule.to_unit)
    return comparable and rule.ratio != _standard(rule.from_unit, rule.to_unit).ratio


def _meant(rule: Rule) -> str:
    """The unit that a rule gives another meaning: the base unit keeps its own."""
    base = UNITS[rule.from_unit].base
    return rule.to_unit if rule.from_unit == base else rule.from_unit


def _standard(from_unit: str, to_unit: str) -> Rule:
    ratio = UNITS[from_unit].in_base / UNITS[to_unit].in_base
    return Rule(from_unit, to_unit, ratio, Origin.STANDARD)


def _told(way: Conversion) -> str:
    if not way.steps:
        return "a unit is itself"
    steps = "".join(f" over {rule.to_unit}" for rule in way.steps[:-1])
    return f"one {way.steps[0].from_unit} is {way.ratio} {way.steps[-1].to_unit}{steps}"
