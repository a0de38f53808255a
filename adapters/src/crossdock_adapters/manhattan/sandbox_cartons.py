"""Cartonisation of the simulated warehouse: which units go into which carton, at which weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

FILL_SHARE = Decimal("0.85")
OVERSIZE = "OVERSIZE"
MAX_CARTONS = 2000

POUNDS_PER = {
    "LB": Decimal(1),
    "OZ": Decimal("0.0625"),
    "KG": Decimal("2.20462262"),
    "G": Decimal("0.00220462262"),
}
INCHES_PER = {
    "IN": Decimal(1),
    "FT": Decimal(12),
    "CM": Decimal("0.393700787"),
    "MM": Decimal("0.0393700787"),
    "M": Decimal("39.3700787"),
}


@dataclass(frozen=True, slots=True)
class ItemSize:
    """One unit of an item: pounds and inches."""

    weight: Decimal
    length: Decimal
    width: Decimal
    height: Decimal

    @property
    def volume(self) -> Decimal:
        return self.length * self.width * self.height


DEFAULT_SIZE = ItemSize(Decimal("1.0"), Decimal(6), Decimal(4), Decimal(2))


@dataclass(frozen=True, slots=True)
class CartonType:
    """A kind of carton: inches, and the most pounds it may hold; `tare` is its own weight."""

    id: str
    length: Decimal
    width: Decimal
    height: Decimal
    max_weight: Decimal
    tare: Decimal

    @property
    def usable_volume(self) -> Decimal:
        return self.length * self.width * self.height * FILL_SHARE


# Smallest first.
CARTON_TYPES = (
    CartonType("CTN-S", Decimal(12), Decimal(9), Decimal(4), Decimal(10), Decimal("0.4")),
    CartonType("CTN-M", Decimal(16), Decimal(12), Decimal(8), Decimal(30), Decimal("0.9")),
    CartonType("CTN-L", Decimal(24), Decimal(16), Decimal(16), Decimal(50), Decimal("1.8")),
)


@dataclass(frozen=True, slots=True)
class Units:
    """Units of one order line that were picked."""

    line_id: str
    item_id: str
    quantity: Decimal


@dataclass(slots=True)
class Carton:
    """A filled carton: net weight in pounds, outer size in inches, what is in it."""

    type_id: str
    length: Decimal
    width: Decimal
    height: Decimal
    tare: Decimal
    net_weight: Decimal
    contents: list[Units] = field(default_factory=list)


@dataclass(slots=True)
class _Open:
    weight: Decimal = Decimal(0)
    volume: Decimal = Decimal(0)
    contents: list[Units] = field(default_factory=list)


def cartonise(
    picked: Sequence[Units],
    sizes: Mapping[str, ItemSize],
    types: Sequence[CartonType] = CARTON_TYPES,
) -> list[Carton]:
    """Fill the largest carton type line by line, then shrink each to the smallest that holds it.

    Every picked unit is in exactly one carton. A unit that fits no carton travels alone.
    """
    largest = types[-1]
    done: list[Carton] = []
    current = _Open()
    for units in picked:
        size = sizes.get(units.item_id, DEFAULT_SIZE)
        left = units.quantity
        if _oversize(size, largest):
            while left > 0:
                piece = min(left, Decimal(1))
                done.append(_oversize_carton(units, piece, size))
                left -= piece
            continue
        while left > 0:
            room = _room(current, size, largest)
            piece = min(left, room)
            if piece <= 0:
                done.append(_closed(current, types))
                current = _Open()
                continue
            current.weight += size.weight * piece
            current.volume += size.volume * piece
            current.contents.append(Units(units.line_id, units.item_id, piece))
            left -= piece
        if len(done) > MAX_CARTONS:
            raise ValueError(f"more than {MAX_CARTONS} cartons for one order")
    if current.contents:
        done.append(_closed(current, types))
    return done


def _oversize(size: ItemSize, largest: CartonType) -> bool:
    sides = sorted((size.length, size.width, size.height))
    inner = sorted((largest.length, largest.width, largest.height))
    too_long = any(side > limit for side, limit in zip(sides, inner, strict=True))
    return too_long or size.weight > largest.max_weight or size.volume > largest.usable_volume


def _room(current: _Open, size: ItemSize, largest: CartonType) -> Decimal:
    """How many more units fit; a started fraction of a unit takes the room of a whole one."""
    by_weight = _whole(largest.max_weight - current.weight, size.weight)
    by_volume = _whole(largest.usable_volume - current.volume, size.volume)
    return min(by_weight, by_volume)


def _whole(room: Decimal, each: Decimal) -> Decimal:
    if each <= 0:
        return Decimal(1_000_000)
    return max(Decimal(0), room) // each


def _closed(current: _Open, types: Sequence[CartonType]) -> Carton:
    fitting = next(
        t
        for t in types
        if t is types[-1] or (current.weight <= t.max_weight and current.volume <= t.usable_volume)
    )
    return Carton(
        fitting.id,
        fitting.length,
        fitting.width,
        fitting.height,
        fitting.tare,
        current.weight,
        current.contents,
    )


def _oversize_carton(units: Units, piece: Decimal, size: ItemSize) -> Carton:
    return Carton(
        OVERSIZE,
        size.length + 1,
        size.width + 1,
        size.height + 1,
        Decimal(2),
        size.weight * piece,
        [Units(units.line_id, units.item_id, piece)],
    )
