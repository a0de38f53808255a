"""What the conformance kit needs to know of the legacy ERP: one order's life, how to count it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from crossdock_adapters.legacy_file.adapter import ADAPTER, loaded_layouts
from crossdock_adapters.legacy_file.client import RESULTS
from crossdock_adapters.legacy_file.sandbox import DEFAULT_USER, LegacyFileSandbox
from crossdock_adapters.sdk import layout_files
from crossdock_adapters.sdk.conformance import erp_order
from crossdock_adapters.sdk.conformance.stage import until
from crossdock_adapters.sdk.conformance.subject import (
    OTHER,
    Answers,
    Delivered,
    Malformed,
    Subject,
    WayIn,
    World,
)
from crossdock_adapters.sdk.layout_files import Row
from crossdock_adapters.sdk.layout_values import Value

LOOK_SECONDS = 0.02
ANSWERS_SECONDS = 0.05
LARGE_BYTES = layout_files.MAX_FILE_BYTES + 1
FILE = "CROSSDOCK_sales-orders_MAIN_20260305T020000Z_00000001.dat"
RECEIPT = f"ACK;{FILE};1;;A;;;;1\nEND;1\n".encode()
HELD = f"ACK;{FILE};1;;H;;number 0 is missing;;2\nEND;1\n".encode()
# The code of the first record of a file of results.
RESULTS_BEGIN = b"H"


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


async def lay_down(world: World, payload: bytes) -> Delivered:
    """The ERP publishes a file among its results or receipts, and the adapter has read it."""
    place = "result" if payload.startswith(RESULTS_BEGIN) else "ack"
    folder = Path(world.sandbox.settings["folder"]) / place
    name = f"{uuid.uuid4().hex}.ack"
    seen = len(world.sandbox.calls)
    (folder / name).write_bytes(payload)
    (folder / f"{name}.done").write_bytes(b"")

    def calls(operation: str, path: str) -> list[int]:
        found = enumerate(world.sandbox.calls[seen:])
        return [at for at, each in found if each.operation == operation and path in each.path]

    def taken() -> bool:
        read = calls("read", name)
        # Once the folders are listed anew, the round that read it is over.
        return bool(read) and len([at for at in calls("list", place) if at > read[0]]) > 0

    await until(taken, "the answers are looked through")
    return Delivered()


async def silence(world: World) -> None:
    """The ERP takes no file any more, and answers nothing."""
    await world.sandbox.commands()["misbehave"]({"kind": "silence"})


async def said(world: World) -> list[bytes]:
    """What the ERP answers to the order that lies in its folder: the file is taken, and each line
    is posted, by a file of its own."""
    inbound = Path(world.sandbox.settings["folder"]) / "inbound"
    await until(lambda: any(inbound.glob("*.done")), "the order's file is out")
    (marker,) = inbound.glob("*.done")
    (delivery,) = world.hub.deliveries.values()
    receipt = f"ACK;{marker.name.removesuffix('.done')};1;;A;;;;1\nEND;1\n".encode()
    lines = [line.line_number for line in erp_order.order().lines]
    return [receipt, *(_posted(at, line, delivery.reference) for at, line in enumerate(lines, 1))]


def _posted(sequence: int, line: int, reference: str) -> bytes:
    """A file of results that says of one line that it is posted."""
    created = datetime(2026, 3, 5, 2, 5, sequence)
    result: dict[str, Value] = {
        "reference": reference, "line": line, "status": "A", "erp_document": "L700001",
    }  # fmt: skip
    rows = [Row("head", {"sequence": sequence, "created": created}), Row("result", result)]
    return layout_files.write(loaded_layouts("")[RESULTS], rows)


CONFORMANCE = Subject(
    adapter=ADAPTER,
    sandbox=LegacyFileSandbox,
    settings=settings,
    cases=erp_order.cases(erp_order.asked_in("documents", "layout", "action")),
    ways_in=[
        WayIn(
            "poll:answers",
            payloads=[RECEIPT, HELD],
            deliver=lay_down,
            media=OTHER,
            tells_facts=False,
            answers=Answers("create_sales_order", silence, said),
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
