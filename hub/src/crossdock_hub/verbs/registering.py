"""The table of decisions, and how a module adds to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from crossdock.types.v1 import types_pb2

from crossdock_hub.unit import Key, Unit

Decide = Callable[[Unit, Any], Any]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A decision that only lacks its unit, and what it will certainly read."""

    decide: Callable[[Unit], Any]
    keys: frozenset[Key]


DECISIONS: dict[str, Decide] = {}
# Method -> what of its request can be worked out before, and once: see `prepares`.
PREPARATIONS: dict[str, Callable[[Any], Prepared]] = {}

APPLIED = types_pb2.FactReceipt(outcome=types_pb2.FACT_OUTCOME_APPLIED)
ALREADY_KNOWN = types_pb2.FactReceipt(outcome=types_pb2.FACT_OUTCOME_ALREADY_KNOWN)


def decides(method: str) -> Callable[[Decide], Decide]:
    """Register a function for "order.v1.OrderService/CreateOrder"."""

    def register(function: Decide) -> Decide:
        DECISIONS[f"/crossdock.{method}"] = function
        return function

    return register


def prepares(
    method: str,
) -> Callable[[Callable[[Any], Prepared]], Callable[[Any], Prepared]]:
    """Register what is worked out of a large request before its batch, not in each round of it."""

    def register(function: Callable[[Any], Prepared]) -> Callable[[Any], Prepared]:
        PREPARATIONS[f"/crossdock.{method}"] = function
        return function

    return register


def expected(request: Any) -> int | None:
    """expected_revision of a request; None when the caller did not give one."""
    return request.expected_revision if request.HasField("expected_revision") else None
