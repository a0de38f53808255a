"""The faults a sandbox can be told to show: what, for which operation, how often, how long."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any

MAX_ACTIVE_FAULTS = 64
DEFAULT_DELAY_SECONDS = 1.0
DEFAULT_RETRY_AFTER_SECONDS = 1.0
DEFAULT_ERROR_STATUS = 500
MAX_NUMBER = 1_000_000.0
FIELDS = frozenset({
    "kind", "operation", "count", "rate", "seconds", "delay_seconds", "retry_after_seconds",
    "status",
})  # fmt: skip


class FaultKind(StrEnum):
    """Every misbehaviour, in the words of the control port."""

    DOWN = "down"  # the vendor port is closed: connection refused
    SLOW = "slow"  # waits delay_seconds, then does the work
    THROTTLE = "throttle"  # 429 with Retry-After, nothing done
    ERROR_BEFORE = "error_before"  # 5xx, nothing done
    ERROR_AFTER = "error_after"  # work done, then 5xx
    SLOW_AFTER = "slow_after"  # work done, then waits delay_seconds before it answers
    REPLY_LOST = "reply_lost"  # work done, connection closed without a reply
    DUPLICATE_WEBHOOKS = "duplicate_webhooks"  # each webhook is sent twice
    LATE_WEBHOOKS = "late_webhooks"  # held back delay_seconds, so later ones overtake it
    UNKNOWN_STATUS = "unknown_status"  # the vendor reports a code nobody documented


# These only make sense once something was done, so they pass over calls without an effect.
AFTER_EFFECT = frozenset({FaultKind.ERROR_AFTER, FaultKind.SLOW_AFTER, FaultKind.REPLY_LOST})


class FaultRefused(ValueError):
    """The description of a fault makes no sense; the text says what to correct."""


@dataclass(slots=True)
class Fault:
    """One active fault; `remaining` None means until `until` or until it is cleared."""

    id: int
    kind: FaultKind
    operation: str | None
    remaining: int | None
    rate: float
    until: float | None
    delay_seconds: float
    retry_after_seconds: float
    status: int
    random: random.Random
    used: int = 0

    def as_json(self, now: float) -> dict[str, Any]:
        return {
            "id": self.id,
            "kind": self.kind.value,
            "operation": self.operation,
            "count": self.remaining,
            "rate": self.rate,
            "seconds": None if self.until is None else round(max(0.0, self.until - now), 3),
            "delay_seconds": self.delay_seconds,
            "retry_after_seconds": self.retry_after_seconds,
            "status": self.status,
            "used": self.used,
        }


class Faults:
    """Active faults; every draw comes from the seed, so a run can be repeated.

    operations: those that a fault may be for; None: any.
    """

    def __init__(
        self,
        seed: int,
        clock: Callable[[], float] = time.monotonic,
        operations: Callable[[], Collection[str]] | None = None,
    ) -> None:
        self._seed = seed
        self._clock = clock
        self._operations = operations
        self._active: list[Fault] = []
        self._next_id = 1

    def add(self, spec: Mapping[str, Any]) -> Fault:
        """Activate what POST /faults describes; FaultRefused says what is wrong with it."""
        kind = _checked_kind(spec)
        if kind is FaultKind.DOWN and set(spec) - {"kind", "seconds"}:
            raise FaultRefused("down takes seconds only: it closes the port for everybody")
        operation = str(spec["operation"]) if spec.get("operation") else None
        if operation is not None and self._operations is not None:
            check_operation(operation, self._operations())
        self._expire()
        if len(self._active) >= MAX_ACTIVE_FAULTS:
            raise FaultRefused(f"{MAX_ACTIVE_FAULTS} faults are active already; clear some")
        seconds = _optional(spec, "seconds")
        count = _optional(spec, "count")
        if count is not None and count < 1:
            raise FaultRefused("count must be 1 or more")
        fault = Fault(
            id=self._next_id,
            kind=kind,
            operation=operation,
            remaining=None if count is None else int(count),
            rate=_number(spec, "rate", 1.0, maximum=1.0),
            until=None if seconds is None else self._clock() + seconds,
            delay_seconds=_number(spec, "delay_seconds", DEFAULT_DELAY_SECONDS),
            retry_after_seconds=_number(spec, "retry_after_seconds", DEFAULT_RETRY_AFTER_SECONDS),
            status=int(_number(spec, "status", DEFAULT_ERROR_STATUS)),
            random=random.Random(f"{self._seed}:{self._next_id}:{kind.value}"),
        )
        self._next_id += 1
        self._active.append(fault)
        return fault

    def clear(self, kind: str | None = None) -> int:
        """End all faults, or all of one kind; returns how many ended."""
        before = len(self._active)
        self._active = [f for f in self._active if kind is not None and f.kind != kind]
        return before - len(self._active)

    def active(self) -> list[Fault]:
        self._expire()
        return list(self._active)

    def as_json(self) -> list[dict[str, Any]]:
        now = self._clock()
        return [fault.as_json(now) for fault in self.active()]

    def take(self, kind: FaultKind, operation: str) -> Fault | None:
        """The fault of this kind that strikes now, if one does; uses up one of its count."""
        self._expire()
        for fault in self._active:
            if fault.kind is not kind or fault.operation not in (None, operation):
                continue
            if fault.rate < 1.0 and fault.random.random() >= fault.rate:
                continue
            fault.used += 1
            if fault.remaining is not None:
                fault.remaining -= 1
            return fault
        return None

    def down(self) -> Fault | None:
        """The outage in force, if any."""
        return next((f for f in self.active() if f.kind is FaultKind.DOWN), None)

    def down_seconds_left(self) -> float | None:
        """Seconds until the outage in force ends; infinite without an end, None without one."""
        fault = self.down()
        if fault is None:
            return None
        return math.inf if fault.until is None else fault.until - self._clock()

    def _expire(self) -> None:
        now = self._clock()
        self._active = [
            f
            for f in self._active
            if (f.until is None or f.until > now) and (f.remaining is None or f.remaining > 0)
        ]


def check_operation(operation: str, known: Collection[str]) -> None:
    """FaultRefused: nothing of that name is ever called, so nothing would ever be struck."""
    if operation not in known:
        there_are = ", ".join(sorted(known)) or "none that is known before it is called"
        raise FaultRefused(f"there is no operation {operation!r}; there are: {there_are}")


def _checked_kind(spec: Mapping[str, Any]) -> FaultKind:
    unknown = set(spec) - FIELDS
    if unknown:
        raise FaultRefused(f"unknown fields: {', '.join(sorted(unknown))}")
    try:
        return FaultKind(str(spec.get("kind", "")))
    except ValueError:
        kinds = ", ".join(kind.value for kind in FaultKind)
        raise FaultRefused(f"kind must be one of {kinds}") from None


def _optional(spec: Mapping[str, Any], name: str) -> float | None:
    return None if spec.get(name) is None else _number(spec, name, 0.0)


def _number(
    spec: Mapping[str, Any], name: str, default: float, maximum: float = MAX_NUMBER
) -> float:
    value = spec.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, (int, float, str, Decimal)):
        raise FaultRefused(f"{name} must be a number")
    try:
        number = float(value)
    except ValueError:
        raise FaultRefused(f"{name} must be a number") from None
    if not 0.0 <= number <= maximum:
        raise FaultRefused(f"{name} must be between 0 and {maximum:g}")
    return number
