"""Between the contract and the rows of the ERP's files: pure functions, no clock, no disk.

What orders and goods issues are as documents is the same for every ERP (`sdk.erp_documents`); a
file has a first record besides. What the ERP says about them is `translate_answers`.
"""

from __future__ import annotations

from datetime import UTC, datetime

from crossdock_adapters.sdk.erp_documents import (
    BOOK,
    CHANGE,
    DOCUMENTS,
    TAKE_BACK,
    WHOLE_DOCUMENT,
    Document,
    Rules,
    issue_rows,
    order_rows,
)
from crossdock_adapters.sdk.layout_files import Row
from crossdock_adapters.sdk.layout_values import Value

__all__ = [
    "BOOK",
    "CHANGE",
    "DOCUMENTS",
    "TAKE_BACK",
    "WHOLE_DOCUMENT",
    "Document",
    "Rules",
    "head",
    "issue_rows",
    "order_rows",
]


def head(sequence: int, created: datetime, rules: Rules) -> Row:
    """The first record of a file; created: UTC, as its name says too."""
    said: dict[str, Value] = {
        "sequence": sequence,
        "created": created.astimezone(UTC).replace(tzinfo=None),
    }
    return Row("head", {**said, "sender": rules.sender, "receiver": rules.receiver})
