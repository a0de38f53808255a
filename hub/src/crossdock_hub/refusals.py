"""The hub's refusals in words: each names the field or object, the rule and what to do."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import structlog
from crossdock.contracts import Contract
from crossdock.errors import Refusal, Violation

from crossdock_hub.config import Limits
from crossdock_hub.unit import Refused

log = structlog.get_logger("crossdock.refusals")

NO_LEADER = Refusal(
    "HUB_UNAVAILABLE",
    "no hub leads what the call is about just now, or it was stopped amid it; repeat the call as "
    "it is",
    {"cause": "no hub leads"},
    retry_after_seconds=0.5,
)


def fault(method: str, error: Exception) -> Refusal:
    """A fault of ours: an incident id for the caller, the exception for the log only."""
    incident = uuid.uuid4().hex[:12]
    log.error("fault in a call", method=method, incident=incident, exc_info=error)
    return Refusal(
        "INTERNAL_FAULT",
        f"a fault of the hub (incident {incident}); repeating with the same request_id is safe",
        {"incident": incident},
    )


def store_refused(cause: str, *, full: bool, uncertain: bool) -> Refusal:
    """The store took nothing of a batch, or did not say whether it did."""
    written = "it may have been written" if uncertain else "nothing was written"
    return Refusal(
        "STORE_FULL" if full else "HUB_UNAVAILABLE",
        f"{cause}; {written}; repeat with the same request_id",
        {"cause": cause},
        retry_after_seconds=1.0,
    )


def fault_in_batch(incident: str) -> Refusal:
    """A fault of ours amid a batch; the exception is in the log under the incident's id."""
    return Refusal(
        "INTERNAL_FAULT",
        f"a fault of the hub (incident {incident}); nothing was written; "
        "repeating with the same request_id is safe",
        {"incident": incident},
    )


def not_found(kind: str, value: str) -> Refused:
    """There is no such object, or none the caller may see."""
    return Refused(
        Refusal(
            "OBJECT_NOT_FOUND",
            f"no {kind.replace('_', ' ')} {value!r} is known here; check it, or create it first",
            {"kind": kind, "id": value},
        )
    )


def unknown_reference(field: str, kind: str, value: str) -> Refusal:
    """A field names something that does not exist."""
    return Refusal(
        "UNKNOWN_REFERENCE",
        f"{field}: no {kind.replace('_', ' ')} {value!r} is known; create it, then repeat",
        {"field": field, "kind": kind, "value": value},
        (Violation(field, f"names an unknown {kind.replace('_', ' ')}", "refers_to"),),
    )


def stale(kind: str, expected: int, actual: int, present: str = "") -> Refused:
    """The object changed since the caller read it. present: what is there now, where that is
    short enough to say."""
    now = f": {present}" if present else ""
    return Refused(
        Refusal(
            "STALE_REVISION",
            f"expected_revision {expected} is not the {kind}'s revision {actual}{now}; "
            "read it again and decide again",
            {"expected": str(expected), "actual": str(actual)},
        )
    )


def transition(kind: str, state: str, verb: str, allowed: Sequence[str]) -> Refused:
    """The object's state does not allow the verb."""
    states = ", ".join(allowed)
    return Refused(
        Refusal(
            "STATE_TRANSITION",
            f"{verb} needs the {kind.replace('_', ' ')} in state {states}; it is {state}",
            {"state": state, "verb": verb, "allowed": states},
        )
    )


def taken(
    kind: str, field: str, value: str, object_id: str, advice: str = "use that one"
) -> Refused:
    """A number or reference already names another object."""
    return Refused(
        Refusal(
            "REFERENCE_TAKEN",
            f"{field} {value!r} already names {kind.replace('_', ' ')} {object_id}; {advice}",
            {"system": kind, "value": value, "object_id": object_id},
        )
    )


def archived(what: str, part: str | int) -> Refused:
    """What is asked for or named was finished long ago and is in a part of the archive.

    part: its number or its name.
    """
    return Refused(
        Refusal(
            "ARCHIVED",
            f"{what} is archived in part {part}; it can be read there and not be changed any more: "
            "crossdock hub find-archived",
            {"part": str(part)},
        )
    )


def out_of_scope(dimension: str, value: str) -> Refused:
    """The message is about a part of the company that the caller does not work for."""
    name = dimension.lower().replace("_", " ")
    return Refused(
        Refusal(
            "OUT_OF_SCOPE",
            f"{name} {value!r} is outside the caller's scope; the endpoint of that {name} sends it",
            {"scope": dimension},
        )
    )


def invalid(violations: Sequence[Violation]) -> Refused:
    """One or more fields break a rule of the contract."""
    first = violations[0]
    more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
    return Refused(
        Refusal(
            "INVALID_FIELD",
            f"{first.field or 'message'}: {first.description}{more}",
            {"rules": ",".join(sorted({v.rule for v in violations}))},
            tuple(violations),
        )
    )


def mask_invalid(problem: str) -> Refused:
    """update_mask can't be used."""
    return Refused(
        Refusal(
            "MASK_INVALID",
            f"update_mask: {problem}",
            {"field": "update_mask"},
            (Violation("update_mask", problem, "update_mask"),),
        )
    )


def too_large(stem: str, size: int, most: int) -> Refused:
    """The event that a write would cause is larger than the bus carries."""
    return Refused(
        Refusal(
            "LIMIT_EXCEEDED",
            f"the event {stem} would have {size} bytes, {most} are allowed; "
            "send less at once, or split the object",
            {"limit": str(most), "value": str(size)},
        )
    )


def too_much(contract: Contract, message_name: str, raw: bytes, limits: Limits) -> Refusal | None:
    """Why an encoded request is too large to be parsed; None: it is not."""
    most = limits.request_bytes_max
    if len(raw) > most:
        return Refusal(
            "LIMIT_EXCEEDED",
            f"the request has {len(raw)} bytes, {most} are allowed; send less at once",
            {"limit": str(most), "value": str(len(raw))},
        )
    most = limits.request_elements_max
    if contract.holds_more(message_name, raw, most):
        return Refusal(
            "LIMIT_EXCEEDED",
            f"the request has more than {most} items at all depths; send less at once",
            {"limit": str(most), "value": f"more than {most}"},
        )
    return None
