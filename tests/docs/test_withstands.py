"""The table at the top of README says what the tables of the other documents say."""

from __future__ import annotations

import re
from decimal import Decimal

import pytest
from fenced import document, rows, section

README = document("README.md")
SHOWN = ["G1", "G6", "G10", "G13", "G20", "G21", "G22", "A1"]
# Where the figures of a row come from that is no test of the runner.
ELSEWHERE = {"G21": (document("docs/architecture.md"), "Several hubs on one database")}
NUMBER = re.compile(r"(?<![\w.,])\d[\d,]*(?:\.\d+)?(?![\w])")


def table() -> dict[str, list[str]]:
    """Its rows, by the id of the test."""
    return {row[0]: row[1:] for row in rows(section(README, "What it withstands"))[1:]}


def source(name: str) -> str:
    """All that is told of the test where its figures are kept."""
    if name in ELSEWHERE:
        return section(*ELSEWHERE[name])
    told = rows(section(document("docs/guarantees.md"), "What was run"))[1:]
    begins = next(place for place, row in enumerate(told) if row[0] == name)
    after = told[begins + 1] if begins + 1 < len(told) else [""]
    return " | ".join([*told[begins], *([] if after[0] else after)])


def numbers(text: str) -> list[Decimal]:
    """Every number of a text, as it is written."""
    return [Decimal(found.replace(",", "")) for found in NUMBER.findall(text)]


def test_the_table_has_the_tests_that_tell_most() -> None:
    """Proves that the tests stand there which compare with what is usually built, and no other."""
    assert list(table()) == SHOWN


@pytest.mark.parametrize("name", SHOWN)
def test_its_figures_are_those_of_the_run(name: str) -> None:
    """Proves that each number of a row is one that the document with the results has of that test,
    rounded at most, so that a test which is run anew changes both."""
    known = numbers(source(name))
    text = re.sub(r"\]\([^)]*\)", "]", " | ".join(table()[name]))
    told = numbers(text)
    assert told
    for number in told:
        places = Decimal(1).scaleb(int(number.as_tuple().exponent))
        assert any(each.quantize(places) == number for each in known), f"{name}: {number}"
