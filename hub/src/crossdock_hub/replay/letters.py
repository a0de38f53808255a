"""Which groups of dead letters a replay may be about, and what to do about the others; pure."""

from __future__ import annotations

from collections.abc import Mapping

from crossdock.errors import Refusal, Violation

from crossdock_hub.delivery.causes import Cause
from crossdock_hub.delivery.sightings import Sighting
from crossdock_hub.refusals import invalid
from crossdock_hub.replay.judging import FAILED_STATES
from crossdock_hub.unit import Refused

FIELD = "selection.group_id"
_CAME_IN = (
    "its letters came in, and nothing is to be sent; write or end each of them: crossdock "
    "dead-letters drive ID --reason …, or discard ID --reason …"
)
# What to do about a group that no replay takes.
_INSTEAD: Mapping[str, str] = {
    "UNKNOWN": (
        "nobody knows whether {endpoint} did them already, so they are not sent again; the hub "
        "asks the vendor where it can be asked, and each ends by hand: crossdock resolve ID "
        "--reference TYPE=VALUE --reason …, or delivery retry ID --reason … once you looked there"
    ),
    "UNROUTED": (
        "no endpoint serves {what}; they are routed by themselves once one offers it, and end "
        "without it by crossdock delivery skip ID --reason …"
    ),
    "HELD_FACT": _CAME_IN,
    "HELD_PAYLOAD": _CAME_IN,
}


def check_group(group_id: str, endpoint: str, sighting: Sighting | None) -> None:
    """Raises Refused when the letters of a group are not to be sent to an endpoint again.

    sighting: the group; None: nobody knows it.
    """
    if sighting is None:
        raise _unknown(group_id)
    cause = sighting.cause
    if cause.classification not in FAILED_STATES:
        raise invalid([Violation(FIELD, _why_not(cause), "group_id.kind")])
    if cause.endpoint != endpoint:
        what = f"group {group_id} is of {cause.endpoint}: name that endpoint"
        raise invalid([Violation("endpoint", what, "group_id.endpoint")])


def _why_not(cause: Cause) -> str:
    instead = _INSTEAD[cause.classification].format(endpoint=cause.endpoint, what=cause.what)
    return f"the group is {cause.classification}: {instead}"


def _unknown(group_id: str) -> Refused:
    return Refused(
        Refusal(
            "OBJECT_NOT_FOUND",
            f"{FIELD}: no dead letter group {group_id!r} is known here; crossdock dead-letters "
            "list shows those that there are",
            {"kind": "dead letter group", "id": group_id},
            (Violation(FIELD, "names an unknown dead letter group", "group_id.known"),),
        )
    )
