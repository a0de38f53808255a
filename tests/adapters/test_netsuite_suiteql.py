"""SuiteQL of the simulated account: its grammar, and why paging needs a unique order."""

from __future__ import annotations

import contextlib
from datetime import datetime
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from crossdock_adapters.netsuite.sandbox_suiteql import QueryRefused, Row, parse, run
from hypothesis import given
from hypothesis import strategies as st

TABLES = {"item": frozenset({"id", "itemid", "weight", "isinactive", "lastmodifieddate"})}
ROWS: list[dict[str, Any]] = [
    {
        "id": number,
        "itemid": f"SKU-{number}",
        "weight": Decimal(number) / 4 if number % 3 else None,
        "isinactive": number % 5 == 0,
        "lastmodifieddate": datetime(2026, 3, 1 + number % 4, 8, 0, number),
    }
    for number in range(1, 31)
]


def select(text: str, rows: list[dict[str, Any]] | None = None, seed: int = 1) -> list[Any]:
    held: list[Row] = [*(ROWS if rows is None else rows)]
    return [list(row.values()) for row in run(parse(text, TABLES), held, Random(seed))]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("id = 7", [7]),
        ("id = '7'", [7]),
        ("id >= 29", [29, 30]),
        ("id IN (3, 1, 2)", [1, 2, 3]),
        ("itemid = 'SKU-9'", [9]),
        ("weight IS NULL AND id < 10", [3, 6, 9]),
        ("NOT weight IS NOT NULL AND id < 5", [3]),
        ("isinactive = 'T' AND id <= 10", [5, 10]),
        ("(id = 1 OR id = 2) AND itemid <> 'SKU-1'", [2]),
        ("id = 1 OR id = 2 AND itemid = 'nothing'", [1]),
        (
            "lastmodifieddate >= TO_DATE('2026-03-04 08:00:27', 'YYYY-MM-DD HH24:MI:SS')",
            [27],
        ),
        ("BUILTIN.DF(item.id) = 4", [4]),
    ],
)
def test_conditions_select_the_right_rows(where: str, expected: list[int]) -> None:
    """Comparison, IN, NULL, AND before OR, NOT, parentheses and dates mean what SQL means."""
    assert select(f"SELECT id FROM item WHERE {where} ORDER BY id") == [[n] for n in expected]


def test_columns_can_be_renamed_and_formatted() -> None:
    """AS names a column in lower case; TO_CHAR writes a date with an Oracle format."""
    text = (
        "SELECT i.id AS Number, TO_CHAR(lastmodifieddate, 'YYYY-MM-DD HH24:MI:SS') AS at FROM item"
    )
    (row,) = run(parse(text, TABLES), [ROWS[0]], Random(1))
    assert row == {"number": 1, "at": "2026-03-02 08:00:01"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "SELECT",
        "SELECT id",
        "SELECT nothing FROM item",
        "SELECT id FROM nothing",
        "SELECT id FROM item WHERE",
        "SELECT id FROM item WHERE id",
        "SELECT id FROM item WHERE id = 'x'",
        "SELECT id FROM item WHERE lastmodifieddate = '2026-03-01'",
        "SELECT id FROM item ORDER id",
        "SELECT id FROM item; DROP TABLE item",
        "SELECT SLEEP(1) FROM item",
        "SELECT id FROM item WHERE " + "(" * 40 + "id = 1" + ")" * 40,
        "SELECT id FROM item WHERE id = 1" + " AND id = 1" * 2000,
    ],
)
def test_what_is_outside_the_grammar_is_refused(text: str) -> None:
    """A wrong query is one clear refusal, never another error and never a guess."""
    with pytest.raises(QueryRefused):
        select(text)


@given(st.text(max_size=200))
def test_no_text_breaks_the_parser(text: str) -> None:
    """Whatever is sent as a query is parsed or refused."""
    with contextlib.suppress(QueryRefused):
        parse(text, TABLES)


def pages(order: str, size: int) -> list[int]:
    """All ids that offset paging sees, one evaluation per page as the vendor does."""
    seen: list[int] = []
    for page in range(0, len(ROWS), size):
        found = select(f"SELECT id FROM item {order}", seed=page)
        seen += [row[0] for row in found[page : page + size]]
    return seen


@given(st.integers(min_value=1, max_value=30))
def test_paging_with_a_unique_order_sees_every_row_once(size: int) -> None:
    """ORDER BY id makes pages of any size partition the rows."""
    assert sorted(pages("ORDER BY id", size)) == [row["id"] for row in ROWS]


def test_paging_without_a_unique_order_repeats_and_drops_rows() -> None:
    """No order, or one with ties, loses rows between pages: the vendor's documented trap."""
    everything = sorted(row["id"] for row in ROWS)
    assert sorted(pages("", 7)) != everything
    assert sorted(pages("ORDER BY isinactive", 7)) != everything


@given(st.integers(min_value=1, max_value=40), st.integers(min_value=0, max_value=30))
def test_keyset_paging_sees_every_row_once(size: int, after: int) -> None:
    """`id > last ORDER BY id` partitions the rows, from any starting key."""
    seen: list[int] = []
    last = after
    while True:
        page = select(f"SELECT id FROM item WHERE id > {last} ORDER BY id")[:size]
        seen += [row[0] for row in page]
        if len(page) < size:
            break
        last = seen[-1]
    assert seen == [row["id"] for row in ROWS if row["id"] > after]
