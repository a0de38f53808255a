"""What to type when the state of a delivery, replay or held fact does not allow what was asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

_LOOK: Final = "crossdock delivery show DELIVERY"
_SENT_AGAIN: Final = ("RETRY", "RESUBMIT")
_ANY: Final = (*_SENT_AGAIN, "SKIP", "RESOLVE")
_BY_THE_VENDOR: Final = (
    "it is there: crossdock resolve DELIVERY --reference TYPE=VALUE --reason …; it is not: the "
    "same again with --not-found-at-vendor"
)
_REPLAY: Final = "crossdock replay show REPLAY"
_PLAN_ANEW: Final = "plan it again: crossdock replay plan ENDPOINT …"
_STEERED: Final = ("PauseReplay", "ResumeReplay")
_HELD_FACT: Final = ("DriveHeldFact", "DiscardHeldFact")


def _each(verbs: Iterable[str], states: Iterable[str], step: str) -> dict[tuple[str, str], str]:
    return {(verb, state): step for verb in verbs for state in states}


# The verb that was refused and the state that is in its way, as the hub names both.
STEPS: Final[Mapping[tuple[str, str], str]] = {
    **_each(
        _SENT_AGAIN,
        ("UNKNOWN",),
        f"look at the vendor under the reference that {_LOOK} tells; {_BY_THE_VENDOR}",
    ),
    **_each(
        _SENT_AGAIN,
        ("RESOLVING",),
        f"wait until the look-up has ended: {_LOOK}; if it stays in doubt, look at the vendor "
        f"yourself; {_BY_THE_VENDOR}",
    ),
    **_each(
        _SENT_AGAIN,
        ("HELD", "READY", "DISPATCHED"),
        f"nothing: it goes by itself; what it waits for: {_LOOK}",
    ),
    **_each(
        (*_SENT_AGAIN, "RESOLVE"),
        ("UNROUTED",),
        "have an endpoint offer it; or crossdock delivery skip DELIVERY --reason …",
    ),
    **_each(_ANY, ("IN_FLIGHT",), f"see when the call has ended: {_LOOK}"),
    **_each(("SKIP", "RESOLVE"), ("RESOLVING",), f"see when the look-up has ended: {_LOOK}"),
    **_each(
        _ANY,
        ("CONFIRMED", "SKIPPED", "SUPERSEDED"),
        f"it has ended; how: {_LOOK}; what the vendor got: crossdock posted OBJECT",
    ),
    **_each(
        ("StartReplay", "ApproveReplay"),
        ("PLANNING",),
        f"wait until it is planned: {_REPLAY} --follow",
    ),
    **_each(
        ("StartReplay", "ApproveReplay"),
        ("FAILED",),
        f"why it can't be planned: {_REPLAY}; plan less: crossdock replay plan ENDPOINT …",
    ),
    **_each(("StartReplay", "ApproveReplay", "start"), ("ABORTED", "EXPIRED"), _PLAN_ANEW),
    **_each(
        ("ApproveReplay",),
        ("RUNNING", "PAUSED", "DONE"),
        f"nothing: it was started already; how far it is: {_REPLAY}",
    ),
    **_each(
        _STEERED,
        ("PLANNING", "PLANNED"),
        "it does not run; crossdock replay start REPLAY --reason …, once it is planned, or "
        "crossdock replay abort REPLAY --reason …",
    ),
    **_each(_STEERED, ("ABORTED", "EXPIRED"), f"nothing: it has ended; how: {_REPLAY}"),
    **_each(
        (*_STEERED, "AbortReplay"), ("DONE", "FAILED"), f"nothing: it has ended; how: {_REPLAY}"
    ),
    **_each(
        _HELD_FACT,
        ("APPLIED", "DISCARDED"),
        "nothing: it has ended; how: crossdock dead-letters list --closed, then show GROUP",
    ),
}


def after_transition(metadata: Mapping[str, str]) -> str:
    """The next step after STATE_TRANSITION; "" where its message says it, or nobody knows one."""
    if any(each in _ANY for each in metadata.get("allowed", "").split(", ")):
        # Not the state is in the way, but something else: the message says what, and what to do.
        return ""
    return STEPS.get((metadata.get("verb", ""), metadata.get("state", "")), "")
