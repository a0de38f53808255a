"""What one package waits for, where the work of a shipment is one ordering key and has items."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from crossdock_hub.delivery import ledger
from crossdock_hub.delivery.ordering import blocker_of
from crossdock_hub.delivery.registry import OperationSpec
from crossdock_hub.records import DeliveryRecord
from replayed_flows import NOW, delivery

SPEC = OperationSpec("void_label", "NATURAL", 5.0, 60.0, 10, 3_600.0, 1_800.0, 0.5, 30.0)


def bought(item: str, state: str, **details: Any) -> DeliveryRecord:
    """The purchase of a package's label, by the first event."""
    made = delivery(1, "buy_label", state, id=f"buy-{item}", pending=False, due_at=None, **details)
    return replace(made, item=item)


def void(item: str) -> DeliveryRecord:
    """The void of a package, by a later event."""
    made = delivery(2, "void_label", "READY", id=f"void-{item}", supersedes=("buy_label",))
    return replace(made, item=item)


@pytest.mark.parametrize("state", ["REJECTED", "UNROUTED"])
def test_a_void_passes_what_it_takes_back_and_nothing_else(state: str) -> None:
    """Proves that a void passes the purchase of its own package and of the whole, which were
    refused or never served, and waits for that of another package, which it doesn't take back."""
    own, other, whole = (bought(item, state, on_reject="BLOCK") for item in ("p-1", "p-2", ""))
    assert blocker_of(void("p-1"), [own, whole, void("p-1")]) is None
    assert blocker_of(void("p-1"), [own, other, void("p-1")]) == other
    assert blocker_of(void(""), [own, other, void("")]) is None


def test_a_package_that_waits_for_another_says_for_which() -> None:
    """Proves that an operator is told of which package the work is that goes first, where it is not
    that of the delivery itself."""
    parked = bought("p-2", "PARKED")
    held = ledger.place(void("p-1"), [bought("p-1", "CONFIRMED"), parked], SPEC, NOW)
    assert (held.state, held.hold_reason) == ("HELD", "ORDER")
    assert held.waiting_on == f"buy_label of p-2 before it is PARKED ({parked.id})"
    own = ledger.place(void("p-2"), [parked], SPEC, NOW)
    assert own.waiting_on == f"buy_label before it is PARKED ({parked.id})"
