"""Waivers: changes of meaning that everybody concerned was told about, kept in proto/README.md."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from crossdock.contracts.rules import Change
from crossdock.errors import ContractError

HEADING = "Waivers"
_COLUMNS = ("date", "element", "change", "reason", "teams told")
_RULE = re.compile(r":?-+:?")


@dataclass(frozen=True, slots=True)
class Waiver:
    """One row: the change of `element` called `change` ("owner_changed") is wanted."""

    since: date
    element: str
    change: str
    reason: str
    teams_told: str
    line: int


def read_waivers(text: str, file: str = "proto/README.md") -> list[Waiver]:
    """The rows of the table under the heading "Waivers".

    ContractError: a row without a date, element, change, reason or teams, with file and line.
    """
    waivers: list[Waiver] = []
    findings: list[str] = []
    inside = False
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith("#"):
            inside = line.lstrip("# ").strip() == HEADING
        if not inside or not line.startswith("|"):
            continue
        cells = [cell.strip().strip("`") for cell in line.strip().strip("|").split("|")]
        if _is_head(cells):
            continue
        try:
            waivers.append(_waiver(cells, number))
        except ValueError as error:
            findings.append(f"{file}:{number}: {error}")
    if findings:
        raise ContractError(*findings)
    return waivers


def _is_head(cells: list[str]) -> bool:
    return tuple(cell.lower() for cell in cells) == _COLUMNS or all(
        _RULE.fullmatch(cell) for cell in cells
    )


def _waiver(cells: list[str], line: int) -> Waiver:
    if len(cells) != len(_COLUMNS) or not all(cells):
        raise ValueError(f"a waiver needs {', '.join(_COLUMNS)}")
    since, element, change, reason, teams = cells
    try:
        day = date.fromisoformat(since)
    except ValueError:
        raise ValueError(f"{since!r} is no date like 2026-01-31") from None
    return Waiver(day, element, change, reason, teams, line)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Changes sorted by what has to happen. obsolete: waivers that no change needs any more."""

    refused: tuple[Change, ...]
    waived: tuple[Change, ...]
    reported: tuple[Change, ...]
    obsolete: tuple[Waiver, ...]


def judge(changes: Sequence[Change], waivers: Sequence[Waiver]) -> Verdict:
    """Which changes are refused, which are waived, and which are only reported."""
    wanted = {(waiver.element, waiver.change): waiver for waiver in waivers}
    breaking = [change for change in changes if change.breaking]
    used = {(change.element, change.kind) for change in breaking}
    return Verdict(
        refused=tuple(c for c in breaking if (c.element, c.kind) not in wanted),
        waived=tuple(c for c in breaking if (c.element, c.kind) in wanted),
        reported=tuple(c for c in changes if not c.breaking),
        obsolete=tuple(waiver for key, waiver in wanted.items() if key not in used),
    )
