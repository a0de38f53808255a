"""The units that mean the same everywhere: the rows of `rec20.toml`."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from importlib import resources
from types import MappingProxyType
from typing import Any, Final

FILE_NAME: Final = "rec20.toml"


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit of measure.

    code: of UN/ECE Recommendation 20. dimension: what it measures; units of two dimensions are no
    multiples of each other. One of it is `count` `of`, as it is defined; the unit that all others
    of its dimension are defined by is one of itself. in_base: how many of that one are in one.
    """

    code: str
    dimension: str
    count: Fraction
    of: str
    in_base: Fraction

    @property
    def is_base(self) -> bool:
        """True of the unit by which its dimension is defined."""
        return self.of == self.code


def units_of(table: Mapping[str, Any]) -> dict[str, Unit]:
    """The units of a table like `rec20.toml`, by code.

    Raises ValueError: a unit is defined twice, by itself, or by one that the table does not have.
    """
    units: dict[str, Unit] = {}
    for dimension, group in table.items():
        base, rows = group["base"], group["units"]
        if base in rows:
            raise ValueError(f"unit {base} is defined twice")
        found = [Unit(base, dimension, Fraction(1), base, Fraction(1))]
        for code in rows:
            count, of = _written(rows[code])
            found.append(Unit(code, dimension, count, of, _in_base(code, rows, base, ())))
        for unit in found:
            if unit.code in units:
                raise ValueError(f"unit {unit.code} is defined twice")
            units[unit.code] = unit
    return units


def _in_base(code: str, rows: Mapping[str, str], base: str, after: tuple[str, ...]) -> Fraction:
    if code == base:
        return Fraction(1)
    if code in after:
        raise ValueError(f"unit {code} is defined by itself")
    if code not in rows:
        raise ValueError(f"unit {code} is not defined; {after[-1]} needs it")
    count, of = _written(rows[code])
    return count * _in_base(of, rows, base, (*after, code))


def _written(row: str) -> tuple[Fraction, str]:
    count, _, of = row.partition(" ")
    return Fraction(count), of


def _load() -> Mapping[str, Unit]:
    text = resources.files(__package__).joinpath(FILE_NAME).read_text(encoding="utf-8")
    return MappingProxyType(units_of(tomllib.loads(text)))


UNITS: Final[Mapping[str, Unit]] = _load()
