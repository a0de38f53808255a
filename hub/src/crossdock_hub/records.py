"""What the hub stores, as plain records: the pure middle decides with them, the store writes them.

Times are microseconds since the epoch, UTC, as integers: both databases compare them alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

# The word for a database that was put back from a back-up, among the differences that are kept.
DATABASE_OLDER: Final = "DATABASE_OLDER"
# A kind of master data that is found by what its numbers begin with, and what those begin with that
# hold for every item.
UNIT_CONVERSION: Final = "unit_conversion"
EVERY_ITEM: Final = "*"
# States in which nothing more happens by itself.
SETTLED_STATES = frozenset({"CONFIRMED", "REJECTED", "SUPERSEDED", "SKIPPED"})
# States in which a delivery uses up a slot of its system's budget.
OCCUPYING_STATES = frozenset({"DISPATCHED", "IN_FLIGHT", "RESOLVING"})


def item_in(conversion_number: str) -> str:
    """The item in the number of a unit conversion (SKU-1:CS:EA), or `EVERY_ITEM`. An item's own
    number may have colons, units have none."""
    return conversion_number.rsplit(":", 2)[0]


def occupies(record: DeliveryRecord) -> bool:
    """True while the delivery is on its way to the vendor: dispatched, in flight or looked up."""
    return record.state in OCCUPYING_STATES and not record.pending


@dataclass(frozen=True, slots=True)
class OnItsWay:
    """A delivery that occupies a slot of its endpoint. begun: an attempt holds it."""

    endpoint: str
    delivery_id: str
    begun: bool


@dataclass(slots=True)
class ObjectRecord:
    """A canonical object: its message, and the columns that queries need.

    root_id: the order it belongs to, else its own id. partition: fixed at creation.
    """

    kind: str
    id: str
    # The kind decides the message's type, which no annotation can say.
    message: Any
    revision: int
    state: str
    number: str | None
    root_id: str
    partition: int
    created_at: int
    updated_at: int


@dataclass(slots=True)
class EventRecord:
    """An event as stored and as published. `body` is the encoded event message."""

    id: str
    type: str
    stem: str
    kind: str
    object_id: str
    revision: int
    position: int
    root_id: str
    partition: int
    body: bytes
    producer: str
    traceparent: str
    event_time: int | None
    record_time: int
    causation_id: str
    sequence: int = 0


@dataclass(slots=True)
class VendorReferenceRecord:
    """A document or number that the vendor gave."""

    type: str
    value: str


@dataclass(slots=True)
class QuarantineRecord:
    """A fact of a completion that was refused: method, encoded request, encoded types.Refusal."""

    method: str
    request: bytes
    refusal: bytes


@dataclass(slots=True)
class DeliveryRecord:
    """One row of the ledger. States and words are those of crossdock.delivery.v1.

    due_at: when a timer has to look again (retry, settle, lease, dispatch or prerequisite limit,
    whichever the state means); None: nothing is timed. pending: waits to be dispatched.
    awaits_operation: the first unmet prerequisite. calls_reached: calls that may have reached the
    vendor; those that are proven unprocessed do not count. calls_maybe_done: those of them that it
    may have done, neither refused nor parked, also of deliveries that it replaces, where each may
    have bought. not_found: look-ups that found nothing since the latest call; ledger.UNSETTLED: the
    next one may be too early to count. draft: of a TWO_STEP operation, to be confirmed. duplicates:
    what the vendor holds beside the one that was adopted. resubmits: the delivery it replaces; it
    is sent with a DeliveryContentRecord, not with its event. mends: dead letters are settled with
    it. released: a person let it go from the spending guard, which does not look at it until its
    next call begins. awaits_word: what it is PARKED for, as unsent_words.py has it; "" where it is
    for something else.
    """

    id: str
    event_id: str
    event_type: str
    endpoint: str
    operation: str
    item: str
    ordering_key: str
    state: str
    created_at: int
    updated_at: int
    kind: str
    object_id: str
    root_id: str
    vendor_reference: str
    sequence: str = ""
    hold_reason: str = ""
    waiting_on: str = ""
    operation_class: str = ""
    attempts: int = 0
    look_ups: int = 0
    not_found: int = 0
    dispatch_number: int = 0
    token: int = 0
    attempt_id: str = ""
    attempt_kind: str = ""
    lease_until: int | None = None
    due_at: int | None = None
    awaits_operation: str = ""
    prerequisite_until: int | None = None
    first_unknown_at: int | None = None
    on_reject: str = "BLOCK"
    role: str = ""
    requires: tuple[str, ...] = ()
    supersedes: tuple[str, ...] = ()
    refers_to: tuple[str, ...] = ()
    vendor_references: list[VendorReferenceRecord] = field(default_factory=list)
    quarantined: list[QuarantineRecord] = field(default_factory=list)
    superseded_by: str = ""
    traceparent: str = ""
    priority: int = 0
    calls_reached: int = 0
    pending: bool = False
    draft: str = ""
    duplicates: list[VendorReferenceRecord] = field(default_factory=list)
    replay_id: str = ""
    resubmits: str = ""
    mends: bool = False
    calls_maybe_done: int = 0
    released: bool = False
    awaits_word: str = ""


@dataclass(slots=True)
class AttemptRecord:
    """One attempt at a delivery; look-ups are attempts of their own kind."""

    delivery_id: str
    number: int
    kind: str
    token: int
    attempt_id: str
    instance: str
    begun_at: int
    trace_id: str
    outcome: str = ""
    code: str = ""
    reason: str = ""
    ended_at: int | None = None
    request_excerpt: str = ""
    response_excerpt: str = ""


@dataclass(slots=True)
class DeliveryContentRecord:
    """What a resubmitted delivery is sent with: its event with the object as it was then."""

    delivery_id: str
    body: bytes


@dataclass(frozen=True, slots=True)
class MappingRecord:
    """What one code of an endpoint kind means. id: see objects/mappings.row_id.

    shipped: the adapter's DefaultMapping, deployment: the DeploymentMapping, encoded; empty where
    there is none. canonical, exception_reason, preferred: what follows from both; "": no meaning.
    """

    id: str
    endpoint_kind: str
    topic: str
    native_type: str
    native_code: str
    canonical: str
    exception_reason: str
    preferred: bool
    shipped: bytes
    shipped_version: str
    deployment: bytes
    revision: int


@dataclass(frozen=True, slots=True)
class UnmappedCount:
    """How many held facts of an endpoint wait for the same codes, and since when, microseconds."""

    endpoint: str
    awaits: str
    facts: int
    first_at: int
    last_at: int


@dataclass(slots=True)
class OperatorWordRecord:
    """What a person decided about a delivery or a held fact."""

    id: str
    subject_id: str
    verb: str
    operator: str
    said_at: int
    reason: str
    state_before: str
    state_after: str
    change: str


@dataclass(slots=True)
class RequestRecord:
    """The answer to a request id, in the same transaction as the change.

    object_id: root of the one flow that it changed, with which it is archived; "" for others, which
    go by their age. Once archived, the part ("part:7"), and the response is gone.
    flows: where object_id does not say it, the roots of the first flows that it was about, with
    spaces between them.
    """

    request_id: str
    digest: bytes
    endpoint: str
    method: str
    response: bytes
    object_id: str
    created_at: int
    flows: str = ""


@dataclass(slots=True)
class ReferenceRecord:
    """A key in another system and the object it names."""

    system: str
    type: str
    value: str
    kind: str
    object_id: str


@dataclass(slots=True)
class PackageNumberRecord:
    """The warehouse's number of a package, by which its shipment is found."""

    shipment_id: str
    number: str


@dataclass(slots=True)
class ParcelRecord:
    """A tracking number and how far its parcel has come: what a scan needs, and no more.

    Of a label for the way back shipment_id is its return; label_id and package_id are empty.
    heard_at: when the hub last heard of it, as objects.parcel_news says. Microseconds UTC.
    """

    carrier_code: str
    tracking_number: str
    label_id: str
    shipment_id: str
    package_id: str
    order_id: str
    partition: int
    milestone: str
    milestone_time: int | None
    exception_open: bool
    heard_at: int

    @property
    def comes_back(self) -> bool:
        """Whether it is the parcel of a return."""
        return not self.package_id


@dataclass(slots=True)
class ScanRecord:
    """One scan as stored. dedupe_key: sixteen bytes over what makes it the same scan."""

    id: str
    dedupe_key: bytes
    carrier_code: str
    tracking_number: str
    shipment_id: str
    milestone: str
    event_time: int | None
    record_time: int
    body: bytes


@dataclass(slots=True)
class ScanOutboxRecord:
    """Several scans in one message of the scan stream."""

    id: str
    partition: int
    body: bytes
    count: int
    traceparent: str
    record_time: int
    sequence: int = 0


@dataclass(slots=True)
class EndpointRecord:
    """An endpoint as configured, registered and steered. `manifest` is encoded.

    breaker_failing: the deliveries of the failures in a row, the newest last. pace_thousandths:
    what throttling left of its budget at pace_at; it recovers with time. breaking.py, pacing.py.
    answered_windows: the times before the breaker opened in which its system answered long enough
    for doubt to show, oldest first, each from when until when, microseconds UTC.
    """

    id: str
    role: str
    business_units: tuple[str, ...]
    location_numbers: tuple[str, ...]
    carrier_codes: tuple[str, ...]
    state: str
    manifest: bytes
    pause_reason: str = ""
    paused_by: str = ""
    heartbeat_at: int | None = None
    progress_at: int | None = None
    trouble: str = ""
    revision: int = 0
    breaker_state: str = "CLOSED"
    breaker_since: int | None = None
    breaker_reason: str = ""
    breaker_failing: tuple[str, ...] = ()
    breaker_probe_at: int | None = None
    breaker_probes: int = 0
    pace_thousandths: int = 1000
    pace_at: int | None = None
    throttled_until: int | None = None
    answered_windows: tuple[tuple[int, int], ...] = ()

    @property
    def scope(self) -> tuple[tuple[str, ...], ...]:
        """Business units, locations, carriers."""
        return self.business_units, self.location_numbers, self.carrier_codes


@dataclass(slots=True)
class CursorRecord:
    """A position that the hub keeps for an endpoint."""

    endpoint: str
    name: str
    value: bytes
    version: int


@dataclass(slots=True)
class HeldFactRecord:
    """A fact that could not be written yet. awaits: "kind:value" whose arrival drives it again.

    identity: what it is known by while it is held: a raw payload, or a scan whose code has no
    row; empty for other facts. root_id: the flow that it names, as far as was known when it was
    decided last; of one that was written, the flow it was written in; "" for facts of none.
    """

    id: str
    endpoint: str
    method: str
    payload: bytes
    content_type: str
    refusal: bytes
    state: str
    awaits: str
    request_id: str
    created_at: int
    applied_at: int | None = None
    drives: int = 0
    traceparent: str = ""
    identity: str = ""
    root_id: str = ""


@dataclass(frozen=True, slots=True)
class BusPosition:
    """How far a stream has come.

    stream_sequence: of its newest message that is certainly stored. record_sequence: of the row
    (event, scan message) that it is. complete_since: every row recorded since then, up to that one,
    is in the stream.
    """

    stream: str
    stream_sequence: int
    record_sequence: int
    complete_since: int = 0


@dataclass(frozen=True, slots=True)
class BusConsumer:
    """A durable consumer that somebody else made on a stream of the hub.

    configuration: JSON, as the server told it. stream_sequence: it has acknowledged everything up
    to there.
    """

    stream: str
    name: str
    configuration: str
    stream_sequence: int


@dataclass(frozen=True, slots=True)
class Tie:
    """A database, and a generation of its ledger: it grows with each batch of calls that begin.

    generation: of a database that was put back, -1 less it, until a hub has started on it.
    told: the generation that the bus is known to have been told.
    """

    database: str
    generation: int
    told: int = 0


@dataclass(frozen=True, slots=True)
class Difference:
    """What database and bus do not have in common. kind: a word of `tie`. count: of what.

    seen_at: the last_at that an operator has acknowledged; None: nobody has yet.
    """

    kind: str
    sentence: str
    count: int
    first_at: int
    last_at: int
    seen_at: int | None = None

    @property
    def acknowledged(self) -> bool:
        """Whether somebody has looked, and it was not found again since."""
        return self.seen_at is not None and self.seen_at >= self.last_at


@dataclass(frozen=True, slots=True)
class Mark:
    """What is known of the bus, to be remembered with the next commit.

    events: sequences of rows that it has stored. positions: of streams. scans_before, scans_upto:
    scan messages that were recorded before this time may go up to this number; 0: none. consumers:
    of others. forgotten: (stream, name) of consumers that their owners deleted. generation, told:
    of a part of the ledger, see Tie; 0: as it was. differences: found now; counts of a kind add up.
    """

    events: Sequence[int] = ()
    positions: Sequence[BusPosition] = ()
    scans_before: int = 0
    scans_upto: int = 0
    consumers: Sequence[BusConsumer] = ()
    forgotten: Sequence[tuple[str, str]] = ()
    generation: int = 0
    told: int = 0
    part: int = 0
    differences: Sequence[Difference] = ()
