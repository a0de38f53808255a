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
    multiples of each other. base: the unit by which the dimension's others are told. in_base: how
    many of it are in one, exactly.
    """

    code: str
    dimension: str
    base: str
    in_base: Fraction


def units_of(table: Mapping[str, Any]) -> dict[str, Unit]:
    """The units of a table like `rec20.toml`, by code.

    Raises ValueError: a unit is defined twice, by itself, or by one that the table does not have.
    """
    units: dict[str, Unit] = {}
    for dimension, group in table.items():
        base, rows = group["base"], group["units"]
        known = {base: Fraction(1)}
        for code in rows:
            known[code] = _in_base(code, rows, base, ())
        for code, in_base in known.items():
            if code in units or (code == base and code in rows):
                raise ValueError(f"unit {code} is defined twice")
            units[code] = Unit(code, dimension, base, in_base)
    return units


def _in_base(code: str, rows: Mapping[str, str], base: str, after: tuple[str, ...]) -> Fraction:
    if code == base:
        return Fraction(1)
    if code in after:
        raise ValueError(f"unit {code} is defined by itself")
    if code not in rows:
        raise ValueError(f"unit {code} is not defined; {after[-1]} needs it")
    count, _, of = rows[code].partition(" ")
    return Fraction(count) * _in_base(of, rows, base, (*after, code))


def _load() -> Mapping[str, Unit]:
    text = resources.files(__package__).joinpath(FILE_NAME).read_text(encoding="utf-8")
    return MappingProxyType(units_of(tomllib.loads(text)))


UNITS: Final[Mapping[str, Unit]] = _load()
