"""Traces of a hub that has grown: whether those of copies are true, and how long any takes."""

from __future__ import annotations

import random
import re
import time
import uuid
from collections.abc import Callable
from typing import Any, Final

from crossdock.client import HubClient
from crossdock.errors import NotFoundError
from crossdock.lineage.v1 import lineage_pb2, lineage_service_pb2

from tests.load.growth_loading import Loader
from tests.load.growth_template import joined

# Which ids are asked for, by what they are: table, column, and the kind or method, if it matters.
KINDS: Final = {
    "order number": ("objects", "number", "order"),
    "order id": ("objects", "id", "order"),
    "shipment number": ("objects", "number", "shipment"),
    "shipment id": ("objects", "id", "shipment"),
    "label id": ("objects", "id", "label"),
    "tracking number": ("parcels", "tracking_number", ""),
    "package id": ("parcels", "package_id", ""),
    "package number": ("package_numbers", "number", ""),
    "event id": ("events", "id", ""),
    "trace id": ("events", "trace_id", ""),
    "delivery id": ("deliveries", "id", ""),
    "vendor reference": ("deliveries", "vendor_reference", ""),
    "document number": ("external_references", "value", ""),
    "request id": ("requests", "request_id", "/crossdock.order.v1.OrderService/CreateOrder"),
}
# Numbers are asked for as people type them, too: how, and which of the above.
RESPELLED: Final[dict[str, tuple[str, Callable[[str], str]]]] = {
    "order number, no dashes": ("order number", lambda text: text.replace("-", "").lower()),
    "tracking number, in lower case": ("tracking number", str.lower),
    "package number, no dashes": ("package number", lambda text: text.replace("-", "")),
}
UNKNOWN: Final[dict[str, Callable[[random.Random], str]]] = {
    "unknown number": lambda drawn: f"SO-{drawn.randrange(10**9)}-XX",
    "unknown id": lambda drawn: str(uuid.UUID(int=drawn.getrandbits(128), version=4)),
}
# What a verdict says of when something was: today without the day.
_MOMENT: Final = re.compile(r"(\d{4}-\d\d-\d\d )?\d\d:\d\d UTC")


class Questions:
    """Ids of copies, drawn from a seed."""

    def __init__(self, loader: Loader, seed: int) -> None:
        self._loader = loader
        self._drawn = random.Random(seed)

    def kinds(self) -> list[str]:
        """Everything that is asked for."""
        return [*KINDS, *RESPELLED, *UNKNOWN]

    def next(self, kind: str) -> str:
        """An id of a kind, of any copy."""
        if kind in UNKNOWN:
            return UNKNOWN[kind](self._drawn)
        if kind in RESPELLED:
            known, spell = RESPELLED[kind]
            return spell(self.next(known))
        return self.of(kind, self._drawn.randrange(self._loader.count))

    def of(self, kind: str, number: int) -> str:
        """An id of one of KINDS, of one copy."""
        table, column, wanted = KINDS[kind]
        template = self._loader.templates[self._loader.template_of(number)]
        cells = [
            row.cells[column]
            for row in template.rows
            if row.table == table and wanted in ("", row.cells.get("kind"), row.cells.get("method"))
        ]
        return joined(self._drawn.choice(cells), self._loader.values_of(number)).decode()


async def milliseconds(client: HubClient, text: str, *, known: bool) -> float:
    """How long the answer to a trace took, which has to be one, or that nobody knows it."""
    started = time.perf_counter()
    try:
        found = await _trace(client, text)
    except NotFoundError as refused:
        assert not known, f"{text}: {refused}"
    else:
        assert known and found.nodes, f"{text}: {found}"
    return (time.perf_counter() - started) * 1e3


async def differing(client: HubClient, loader: Loader, number: int) -> str:
    """How the trace of a copy differs from that of its template; "": in nothing but the slots."""
    template = loader.templates[loader.template_of(number)]
    original = await _trace(client, template.order_number)
    whole = template.parts_of(original.SerializeToString(deterministic=True))
    # Only now: an answer may have a second that no row has.
    values = loader.values_of(number)
    own = joined(template.parts_of(template.order_number), values).decode()
    copied = await _trace(client, own)
    expected = lineage_pb2.Lineage.FromString(joined(whole, values))
    for told in (expected, copied):
        told.sentence = _MOMENT.sub("then", told.sentence)
    return "" if copied == expected else f"{own}: not\n{expected}\nbut\n{copied}"


async def _trace(client: HubClient, text: str) -> Any:
    asked = lineage_service_pb2.TraceRequest(id=text)
    return (await client.lineage.Trace(asked)).lineage
