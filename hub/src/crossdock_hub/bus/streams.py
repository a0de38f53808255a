"""Which streams, consumers and permissions the hub needs, with every value stated. Pure.

Events and scans are limits streams that refuse when full (discard new): nothing on them may vanish
unseen. Of how far the ledger is, only the newest word counts. Work of an endpoint lies on a
work-queue stream in memory: the ledger is the record, so such a stream may be lost, or dropped and
made anew, at any time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from crossdock.bus import (
    EVENT_STREAM,
    PARTITIONS,
    SCAN_STREAM,
    delivery_stream,
    delivery_subject,
)

__all__ = [
    "FORBIDDEN_PARTS",
    "HUB_USER",
    "PARTITIONS",
    "TIE_PART_SUBJECTS",
    "TIE_STREAM",
    "TIE_SUBJECT",
    "ConsumerSpec",
    "Difference",
    "EndpointPermissions",
    "Repair",
    "StreamLimits",
    "StreamSpec",
    "consumer_differences",
    "delivery_consumer_spec",
    "delivery_stream_spec",
    "endpoint_permissions",
    "event_stream_spec",
    "part_of_subject",
    "permissions_of",
    "scan_stream_spec",
    "stream_differences",
    "tie_stream_spec",
    "tie_subject",
]

UNLIMITED: Final = -1
HUB_USER: Final = "crossdock-hub"
# How far the ledger is: for the hub alone, see `tie`.
TIE_STREAM: Final = "CROSSDOCK_V1_TIE"
TIE_SUBJECT: Final = "crossdock.v1.tie"
# Of what each further hub begins, where several do, on a subject of its own.
TIE_PART_SUBJECTS: Final = f"{TIE_SUBJECT}.*"
MAX_MESSAGE_BYTES: Final = 4 * 1024 * 1024
DUPLICATE_WINDOW_SECONDS: Final = 120.0
# Of scans at most: the server keeps every id of its window in memory, hundreds of bytes each, and
# scans come by the thousand a second. What keeps them apart is the fence of the relay.
SCAN_DUPLICATE_WINDOW_SECONDS: Final = 10.0
_MIB: Final = 1024 * 1024
_PART: Final = re.compile(r"[1-9][0-9]{0,8}")
# Of each subject: of 65 of them all is far within what the stream may hold, so that no part's last
# word ever goes for another's.
_TIES_KEPT: Final = 16
_TIE_BYTES: Final = 4096
_NANOSECONDS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """An operator's settings of the streams.

    hot_window_hours: how long events and scans stay on the bus; the events table keeps them as long
    as the contract says. duplicate_window_seconds: how long the server knows a message of theirs
    again by its id; one with scans for ten seconds at most. delivery_*: per endpoint.
    delivery_max_age_seconds must exceed the time within which the ledger takes an unbegun dispatch
    back.
    """

    hot_window_hours: float = 168.0
    duplicate_window_seconds: float = DUPLICATE_WINDOW_SECONDS
    event_max_bytes: int = 4096 * _MIB
    scan_max_bytes: int = 2048 * _MIB
    replicas: int = 1
    delivery_max_bytes: int = 16 * _MIB
    delivery_max_messages: int = 100_000
    delivery_max_age_seconds: float = 3600.0
    ack_wait_seconds: float = 15.0
    max_ack_pending: int = 1_000
    max_deliver: int = 20


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """A stream as it has to be. rebuildable: the database can fill it again, so a stream of another
    kind may be deleted and made anew. discard: when full, "new" refuses and "old" forgets the
    oldest. max_messages_of_subject: of one with more the oldest go."""

    name: str
    subjects: tuple[str, ...]
    storage: str
    retention: str
    max_age_seconds: float
    max_bytes: int
    max_messages: int = UNLIMITED
    max_message_bytes: int = MAX_MESSAGE_BYTES
    duplicate_window_seconds: float = DUPLICATE_WINDOW_SECONDS
    allow_atomic_publish: bool = True
    replicas: int = 1
    rebuildable: bool = False
    discard: str = "new"
    max_messages_of_subject: int = UNLIMITED

    def configuration(self) -> dict[str, Any]:
        """The stream's configuration in the server's terms, whole."""
        return {
            "name": self.name,
            "subjects": list(self.subjects),
            "storage": self.storage,
            "retention": self.retention,
            "discard": self.discard,
            "max_age": round(self.max_age_seconds * _NANOSECONDS),
            "max_bytes": self.max_bytes,
            "max_msgs": self.max_messages,
            "max_msg_size": self.max_message_bytes,
            "max_msgs_per_subject": self.max_messages_of_subject,
            "max_consumers": UNLIMITED,
            "duplicate_window": round(self.duplicate_window_seconds * _NANOSECONDS),
            "num_replicas": self.replicas,
            "allow_atomic": self.allow_atomic_publish,
            # Reads go to the leader: the relay compares what it reads with what it wrote.
            "allow_direct": False,
        } | dict.fromkeys(_FORBIDDEN_FLAGS, False)


@dataclass(frozen=True, slots=True)
class ConsumerSpec:
    """A durable pull consumer as it has to be.

    ack_wait_seconds: a message neither acknowledged nor reported in progress for that long is sent
    again. max_deliver: a trip-wire against loops, never the dead letters.
    """

    stream: str
    name: str
    filter_subject: str
    ack_wait_seconds: float
    max_ack_pending: int
    max_deliver: int
    max_waiting_pulls: int = 512
    rebuildable: bool = False

    def configuration(self) -> dict[str, Any]:
        """The consumer's configuration in the server's terms."""
        return {
            "name": self.name,
            "durable_name": self.name,
            "filter_subject": self.filter_subject,
            "deliver_policy": "all",
            "ack_policy": "explicit",
            "replay_policy": "instant",
            "ack_wait": round(self.ack_wait_seconds * _NANOSECONDS),
            "max_ack_pending": self.max_ack_pending,
            "max_deliver": self.max_deliver,
            "max_waiting": self.max_waiting_pulls,
        }


@dataclass(frozen=True, slots=True)
class EndpointPermissions:
    """The subjects an endpoint's user may publish to and subscribe to, and no others."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


class Repair(StrEnum):
    """What may be done about a difference: change it in place, or make the thing anew."""

    UPDATE = "update"
    RECREATE = "recreate"


@dataclass(frozen=True, slots=True)
class Difference:
    """One value that is not as it has to be."""

    field: str
    expected: Any
    actual: Any
    repair: Repair

    def __str__(self) -> str:
        return f"{self.field} is {self.actual!r}, must be {self.expected!r}"


# Each of them drops, changes or re-routes messages without a word, or hides an acknowledgement.
_FORBIDDEN_FLAGS: Final = (
    "no_ack",
    "sealed",
    "deny_delete",
    "deny_purge",
    "allow_rollup_hdrs",
    "allow_msg_ttl",
    "allow_msg_counter",
    "allow_msg_schedules",
    "discard_new_per_subject",
    "mirror_direct",
)
FORBIDDEN_PARTS: Final = ("mirror", "sources", "republish", "subject_transform", "persist_mode")
_FIXED_STREAM_FIELDS: Final = frozenset(
    {"storage", "retention", "sealed", "deny_delete", "deny_purge", "mirror", "sources"}
    | {"persist_mode", "max_consumers", "allow_msg_ttl", "allow_msg_counter"}
    | {"allow_msg_schedules"}
)
_FIXED_CONSUMER_FIELDS: Final = frozenset(
    {"deliver_policy", "ack_policy", "replay_policy", "max_waiting", "durable_name", "name"}
)
_FORBIDDEN_CONSUMER_PARTS: Final = (
    "backoff",
    "deliver_subject",
    "deliver_group",
    "filter_subjects",
    "headers_only",
    "pause_until",
    "priority_groups",
    "rate_limit_bps",
    "opt_start_seq",
    "opt_start_time",
    "inactive_threshold",
)


def event_stream_spec(limits: StreamLimits) -> StreamSpec:
    """Every business event, once, for as long as the hot window."""
    return _durable(EVENT_STREAM, "crossdock.v1.event.>", limits.event_max_bytes, limits)


def scan_stream_spec(limits: StreamLimits) -> StreamSpec:
    """High-frequency scans, several per message."""
    window = min(limits.duplicate_window_seconds, SCAN_DUPLICATE_WINDOW_SECONDS)
    spec = _durable(SCAN_STREAM, "crossdock.v1.scan.>", limits.scan_max_bytes, limits)
    return replace(spec, duplicate_window_seconds=window)


def tie_stream_spec(limits: StreamLimits) -> StreamSpec:
    """How far the ledger is; each message says all that the ones before it on its subject said."""
    return StreamSpec(
        name=TIE_STREAM,
        subjects=(TIE_SUBJECT, TIE_PART_SUBJECTS),
        storage="file",
        retention="limits",
        max_age_seconds=0.0,
        max_bytes=_MIB,
        max_messages_of_subject=_TIES_KEPT,
        max_message_bytes=_TIE_BYTES,
        allow_atomic_publish=False,
        replicas=limits.replicas,
        rebuildable=True,
        discard="old",
    )


def tie_subject(part: int) -> str:
    """Where the bus is told how far a part of the ledger is; 0: the part of the hub that leads."""
    return f"{TIE_SUBJECT}.{part}" if part else TIE_SUBJECT


def part_of_subject(subject: str) -> int | None:
    """The further part that a subject of `TIE_PART_SUBJECTS` is of; None: of none."""
    word = subject.removeprefix(f"{TIE_SUBJECT}.")
    return int(word) if _PART.fullmatch(word) else None


def delivery_stream_spec(endpoint: str, limits: StreamLimits) -> StreamSpec:
    """The work of one endpoint: a queue in memory that the ledger fills again."""
    return StreamSpec(
        name=delivery_stream(endpoint),
        subjects=(delivery_subject(endpoint),),
        storage="memory",
        retention="workqueue",
        max_age_seconds=limits.delivery_max_age_seconds,
        max_bytes=limits.delivery_max_bytes,
        max_messages=limits.delivery_max_messages,
        allow_atomic_publish=False,
        replicas=limits.replicas,
        rebuildable=True,
    )


def delivery_consumer_spec(endpoint: str, limits: StreamLimits) -> ConsumerSpec:
    """The one consumer of an endpoint's work; its name is the endpoint's id."""
    return ConsumerSpec(
        stream=delivery_stream(endpoint),
        name=endpoint,
        filter_subject=delivery_subject(endpoint),
        ack_wait_seconds=limits.ack_wait_seconds,
        max_ack_pending=limits.max_ack_pending,
        max_deliver=limits.max_deliver,
        rebuildable=True,
    )


def endpoint_permissions(endpoint: str) -> EndpointPermissions:
    """What an adapter needs to consume its own work and answer its own asks; its inbox prefix is
    "_INBOX_" and the endpoint's id."""
    stream = delivery_stream(endpoint)
    return EndpointPermissions(
        publish=(
            f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{endpoint}",
            f"$JS.API.CONSUMER.INFO.{stream}.{endpoint}",
            f"$JS.ACK.{stream}.{endpoint}.>",
        ),
        subscribe=(f"_INBOX_{endpoint}.>", f"crossdock.v1.ask.{endpoint}.>"),
    )


def permissions_of(user: str) -> dict[str, Any]:
    """What a user may, in the words of the server's configuration; the hub's may everything."""
    if user == HUB_USER:
        return {}
    allowed = endpoint_permissions(user)
    return {
        "permissions": {
            "publish": {"allow": list(allowed.publish)},
            "subscribe": {"allow": list(allowed.subscribe)},
            "allow_responses": {"max": 1, "expires": "1m"},
        }
    }


def stream_differences(spec: StreamSpec, actual: Mapping[str, Any]) -> list[Difference]:
    """What of a stream's configuration, as the server tells it, is not as specified."""
    return _differences(
        spec.configuration() | dict.fromkeys(FORBIDDEN_PARTS), actual, _FIXED_STREAM_FIELDS
    )


def consumer_differences(spec: ConsumerSpec, actual: Mapping[str, Any]) -> list[Difference]:
    """The same for a consumer."""
    expected = spec.configuration() | dict.fromkeys(_FORBIDDEN_CONSUMER_PARTS)
    return _differences(expected, actual, _FIXED_CONSUMER_FIELDS)


def _differences(
    expected: Mapping[str, Any], actual: Mapping[str, Any], fixed: frozenset[str]
) -> list[Difference]:
    found = []
    for name, value in expected.items():
        # The server leaves out what is unset or false; "default" is the unset persist mode.
        there = actual.get(name)
        there = None if there in ("default", [], {}, 0, "") and not value else there
        if (there or None) != (value or None):
            repair = Repair.RECREATE if name in fixed else Repair.UPDATE
            found.append(Difference(name, value, there, repair))
    return found


def _durable(name: str, subject: str, max_bytes: int, limits: StreamLimits) -> StreamSpec:
    return StreamSpec(
        name=name,
        subjects=(subject,),
        storage="file",
        retention="limits",
        max_age_seconds=limits.hot_window_hours * 3600.0,
        max_bytes=max_bytes,
        duplicate_window_seconds=limits.duplicate_window_seconds,
        replicas=limits.replicas,
    )
