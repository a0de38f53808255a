"""The words for why a parcel is held up are those of the contract."""

from __future__ import annotations

import re

from crossdock.exception_reasons import EXCEPTION_REASONS
from source_files import ROOT

FIELD = "string exception_reason = 19"


def test_the_words_are_those_that_the_contract_names() -> None:
    """Proves that the set in code is the list in the comment of the contract's field."""
    text = (ROOT / "proto/crossdock/tracking/v1/tracking.proto").read_text("utf-8")
    comment = text[: text.index(FIELD)].rpartition(";\n")[2]
    listed = comment.partition("code:")[2].partition(";")[0]
    assert set(re.findall(r"[A-Z_]{3,}", listed)) == EXCEPTION_REASONS
