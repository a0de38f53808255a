"""The table of decisions, and how a module adds to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from crossdock.types.v1 import types_pb2

from crossdock_hub.unit import Unit

Decide = Callable[[Unit, Any], Any]

DECISIONS: dict[str, Decide] = {}

APPLIED = types_pb2.FactReceipt(outcome=types_pb2.FACT_OUTCOME_APPLIED)
ALREADY_KNOWN = types_pb2.FactReceipt(outcome=types_pb2.FACT_OUTCOME_ALREADY_KNOWN)


def decides(method: str) -> Callable[[Decide], Decide]:
    """Register a function for "order.v1.OrderService/CreateOrder"."""

    def register(function: Decide) -> Decide:
        DECISIONS[f"/crossdock.{method}"] = function
        return function

    return register


def expected(request: Any) -> int | None:
    """expected_revision of a request; None when the caller did not give one."""
    return request.expected_revision if request.HasField("expected_revision") else None
