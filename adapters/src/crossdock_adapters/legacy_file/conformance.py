"""What the conformance kit needs to know of the legacy ERP: one order's life, how to count it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from crossdock_adapters.legacy_file.adapter import ADAPTER
from crossdock_adapters.legacy_file.sandbox import DEFAULT_USER, LegacyFileSandbox
from crossdock_adapters.sdk import layout_files
from crossdock_adapters.sdk.conformance import erp_order
from crossdock_adapters.sdk.conformance.stage import Stage, until
from crossdock_adapters.sdk.conformance.subject import (
    OTHER,
    Delivered,
    Malformed,
    Subject,
    WayIn,
)

LOOK_SECONDS = 0.02
ANSWERS_SECONDS = 0.05
LARGE_BYTES = layout_files.MAX_FILE_BYTES + 1
FILE = "CROSSDOCK_sales-orders_MAIN_20260305T020000Z_00000001.dat"
RECEIPT = f"ACK;{FILE};1;;A;;;;1\nEND;1\n".encode()
HELD = f"ACK;{FILE};1;;H;;number 0 is missing;;2\nEND;1\n".encode()
DOCUMENTS = "documents"


def settings(sandbox: LegacyFileSandbox, folder: Path) -> Mapping[str, Any]:
    """Of the endpoint: the sandbox's server, its key pinned, its password in a file."""
    password = folder / "legacy-file-password"
    password.write_text(str(sandbox.settings["password"]))
    place = sandbox.vendor_url.removeprefix("sftp://")
    return {
        "location": f"sftp://{DEFAULT_USER}@{place}/",
        "host_key": sandbox.host_key_line(),
        "password": f"file:{password}",
        "look_seconds": LOOK_SECONDS,
        "answers_interval_seconds": ANSWERS_SECONDS,
    }


def asked(layout: str, action: str) -> Callable[[Mapping[str, Any]], int]:
    """How often the ERP was asked to post something.

    Its books are kept by business key, so a second document would not show there; it was asked all
    the same, and only its guard stood between.
    """

    def made(books: Mapping[str, Any]) -> int:
        return sum(
            (each["layout"], each["action"]) == (layout, action) for each in books[DOCUMENTS]
        )

    return made


async def lay_down(stage: Stage, payload: bytes) -> Delivered:
    """The ERP publishes a file among its receipts, and the adapter has read it."""
    folder = Path(stage.sandbox.settings["folder"]) / "ack"
    name = f"{uuid.uuid4().hex}.ack"
    seen = len(stage.sandbox.calls)
    (folder / name).write_bytes(payload)
    (folder / f"{name}.done").write_bytes(b"")

    def calls(operation: str, path: str) -> list[int]:
        found = enumerate(stage.sandbox.calls[seen:])
        return [at for at, each in found if each.operation == operation and path in each.path]

    def taken() -> bool:
        read = calls("read", name)
        # Once the folders are listed anew, the round that read it is over.
        return bool(read) and len([at for at in calls("list", "ack") if at > read[0]]) > 0

    await until(taken, "the answers are looked through")
    return Delivered()


CONFORMANCE = Subject(
    adapter=ADAPTER,
    sandbox=LegacyFileSandbox,
    settings=settings,
    cases=erp_order.cases(asked),
    ways_in=[
        WayIn(
            "poll:answers",
            payloads=[RECEIPT, HELD],
            deliver=lay_down,
            media=OTHER,
            tells_facts=False,
            malformed=[
                Malformed(RECEIPT[:-5], "line 2"),
                Malformed(RECEIPT.replace(b"END;1", b"END;2"), "line 2, receipts"),
                Malformed(RECEIPT.replace(b";1;;A", b";x;;A"), "line 1, cell 3"),
                Malformed(RECEIPT.replace(b"ACK", b"NAK"), "line 1"),
                Malformed(RECEIPT.replace(b";1;;A", b";1;\xff;A"), "line 1"),
            ],
            oversize=b"x" * LARGE_BYTES,
            bombs=[
                b"ACK;" + b"9" * 4_000_000 + b"\n",
                b";" * 4_000_000 + b"\n",
                b"ACK\n" * 1_000_000,
                b'"' * 3_999_999 + b"\n",
            ],
        ),
    ],
)
