"""The table of a vendor's errors: which row counts, which word it becomes, what is refused."""

from __future__ import annotations

import pytest
from crossdock_adapters.sdk.error_table import ErrorTable, parse
from crossdock_adapters.sdk.manifest import ManifestError
from crossdock_adapters.sdk.outcomes import (
    KnownAlready,
    NeedsPerson,
    OutcomeUnknown,
    Reject,
    Retry,
    Throttled,
    VendorOutcome,
)

ROWS = """
[sources]
guide = "a guide"
[[error]]
status = 422
means = "rejected"
source = "guide"
[[error]]
status = 422
code = "BUSY"
means = "retry"
pause_seconds = 7
source = "guide"
[[error]]
status = 429
means = "throttled"
pause_seconds = 2
source = "guide"
[[error]]
code = "E110"
means = "person"
source = "guide"
[[error]]
code = "TWICE"
means = "known"
source = "guide"
"""


@pytest.fixture
def table() -> ErrorTable:
    return parse(ROWS, "errors.toml")


@pytest.mark.parametrize(
    ("status", "code", "wish", "word", "seconds"),
    [
        (422, "WRONG", None, Reject, None),
        (422, "", None, Reject, None),
        (422, "BUSY", None, Retry, 7),
        (422, "BUSY", 60, Retry, 60),
        (422, "BUSY", 3, Retry, 3),
        (429, "", None, Throttled, 2),
        (429, "", 0, Throttled, 0),
        (0, "E110", None, NeedsPerson, None),
        (0, "E111", None, OutcomeUnknown, 0),
        (0, "TWICE", None, KnownAlready, 0),
        (503, "", 20, OutcomeUnknown, 20),
    ],
)
def test_the_row_that_says_more_counts(
    table: ErrorTable,
    status: int,
    code: str,
    wish: float | None,
    word: type[VendorOutcome],
    seconds: float | None,
) -> None:
    """Proves that a code goes before its status, that the rest which the vendor asks for is kept,
    a shorter one too, and the row's where it asks for none, and that what no row names is unknown
    after a call with an effect."""
    found = table.meaning(status, code, "its words", effect=True, wish_seconds=wish)
    assert type(found) is word
    assert "its words" in found.reason
    assert getattr(found, "after_seconds", None) == seconds
    if isinstance(found, Reject):
        assert found.code == (code or str(status))


def test_a_refused_question_refuses_no_work(table: ErrorTable) -> None:
    """Proves that a look-up that is refused is never taken for a refusal of what it asks about,
    and that an unclear one is asked again."""
    assert type(table.meaning(422, "", "no", effect=False)) is OutcomeUnknown
    assert type(table.meaning(500, "", "no", effect=False)) is Retry


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[error]]\nstatus = 1\nmeans = "no"\nsource = "guide"', "means must be one of"),
        ('[[error]]\nstatus = 1\nmeans = "retry"\nsource = "me"', "source must be one of"),
        ('[[error]]\nstatus = 422\nmeans = "retry"\nsource = "guide"', "422 * has a row already"),
        ('[[error]]\nstate = 1\nmeans = "retry"\nsource = "guide"', "state is no key"),
        ('[[error]]\nstatus = "1"\nmeans = "retry"\nsource = "guide"', "status is a number"),
        ('[[error]]\npause_seconds = -1\nmeans = "retry"\nsource = "guide"', "0 or more"),
        ("[[answer]]", "answer is not known"),
        ("][", "not TOML"),
    ],
)
def test_a_wrong_row_is_told(text: str, said: str) -> None:
    """Proves that a table with a wrong row is refused at the start, with the row and the rule."""
    with pytest.raises(ManifestError) as refused:
        parse(ROWS + text, "errors.toml")
    assert said in str(refused.value)
