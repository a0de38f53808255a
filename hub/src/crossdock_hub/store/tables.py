"""The tables. Times are microseconds UTC; messages are their protobuf bytes.

Lists that nobody queries by are JSON text. Every look-up the hub makes on its hot path has an index
of its own here; nothing else has.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    TextClause,
    UniqueConstraint,
    false,
    text,
)

from crossdock_hub.store.column_types import counter, text_of
from crossdock_hub.store.spelling import (
    NUMBERED,
    SQUEEZED_NUMBER,
    SQUEEZED_TRACKING_NUMBER,
    SQUEEZED_VALUE,
    TRACKING_NUMBER_SPELLED_OTHERWISE,
    VALUE_SPELLED_OTHERWISE,
)

METADATA = MetaData()

# Events on the stream that still say something; word for word in queries, or no index is used.
CARRIES_CONTENT = text("published_at IS NOT NULL AND length(body) > 0")
# Held facts that were neither applied nor discarded; the same holds.
STILL_HELD = text("state = 'HELD'")
HELD_OF_FLOW = text("state = 'HELD' AND root_id <> ''")
# Deliveries that occupy a slot, see `records.occupies`; the same holds.
ON_THE_WAY = text("state IN ('DISPATCHED', 'IN_FLIGHT', 'RESOLVING') AND NOT pending")
# Deliveries that nobody serves; the same holds.
UNROUTED = text("state = 'UNROUTED'")

Key, Word, Counter = text_of(36), text_of(64), counter()


def _partial_index(
    name: str, *columns: str | TextClause, where: str, unique: bool = False
) -> Index:
    """An index of the rows for which a condition holds, on both databases."""
    condition = text(where)
    return Index(name, *columns, unique=unique, sqlite_where=condition, postgresql_where=condition)


objects = Table(
    "objects",
    METADATA,
    Column("id", Key, primary_key=True),
    Column("kind", Word, nullable=False),
    Column("number", text_of(200)),
    Column("revision", BigInteger, nullable=False),
    Column("state", Word, nullable=False),
    Column("root_id", Key, nullable=False),
    Column("partition", SmallInteger, nullable=False),
    Column("message", LargeBinary, nullable=False),
    Column("contract_version", Word, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Index("objects_number", "kind", "number", unique=True),
    Index("objects_kind", "kind", "id"),
    Index("objects_root", "root_id", "kind"),
    _partial_index("objects_spelling", SQUEEZED_NUMBER, where=NUMBERED.text),
)

events = Table(
    "events",
    METADATA,
    # A number is never given twice, also after the rows before it are gone.
    Column("sequence", Counter, primary_key=True, autoincrement=True),
    Column("id", Key, nullable=False, unique=True),
    Column("type", text_of(200), nullable=False),
    Column("stem", Word, nullable=False),
    Column("kind", Word, nullable=False),
    Column("object_id", Key, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("position", SmallInteger, nullable=False),
    Column("root_id", Key, nullable=False),
    Column("partition", SmallInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("producer", Word, nullable=False),
    Column("traceparent", text_of(64), nullable=False),
    Column("trace_id", text_of(32), nullable=False),
    Column("event_time", BigInteger),
    Column("record_time", BigInteger, nullable=False),
    Column("causation_id", Key, nullable=False),
    Column("published_at", BigInteger),
    UniqueConstraint("object_id", "revision", "position"),
    Index("events_root", "root_id"),
    Index("events_trace", "trace_id"),
    _partial_index("events_unpublished", "sequence", where="published_at IS NULL"),
    _partial_index("events_carrying", "type", "record_time", where=CARRIES_CONTENT.text),
    sqlite_autoincrement=True,
)

deliveries = Table(
    "deliveries",
    METADATA,
    Column("id", Key, primary_key=True),
    Column("event_id", Key, nullable=False),
    Column("event_type", text_of(200), nullable=False),
    Column("endpoint", Word, nullable=False),
    Column("operation", Word, nullable=False),
    Column("item", Key, nullable=False),
    Column("ordering_key", text_of(64), nullable=False),
    Column("sequence", text_of(48), nullable=False),
    Column("state", text_of(16), nullable=False),
    Column("hold_reason", text_of(16), nullable=False),
    Column("waiting_on", text_of(), nullable=False),
    Column("operation_class", text_of(16), nullable=False),
    *(Column(name, Integer, nullable=False) for name in ("attempts", "look_ups", "not_found")),
    Column("calls_reached", Integer, nullable=False),
    Column("dispatch_number", BigInteger, nullable=False),
    Column("token", BigInteger, nullable=False),
    Column("attempt_id", Key, nullable=False),
    Column("attempt_kind", text_of(16), nullable=False),
    Column("lease_until", BigInteger),
    Column("due_at", BigInteger),
    Column("awaits_operation", Word, nullable=False),
    Column("prerequisite_until", BigInteger),
    Column("first_unknown_at", BigInteger),
    Column("on_reject", text_of(16), nullable=False),
    Column("role", text_of(16), nullable=False),
    *(Column(name, text_of(), nullable=False) for name in ("requires", "supersedes", "refers_to")),
    Column("vendor_reference", text_of(20), nullable=False),
    Column("vendor_references", text_of(), nullable=False),
    Column("quarantined", text_of(), nullable=False),
    Column("superseded_by", Key, nullable=False),
    Column("kind", Word, nullable=False),
    Column("object_id", Key, nullable=False),
    Column("root_id", Key, nullable=False),
    Column("traceparent", text_of(64), nullable=False),
    Column("priority", SmallInteger, nullable=False),
    Column("pending", Boolean, nullable=False),
    Column("resubmits", Key, nullable=False, server_default=""),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("draft", text_of(200), nullable=False, server_default=""),
    Column("duplicates", text_of(), nullable=False, server_default="[]"),
    Column("replay_id", Key, nullable=False, server_default=""),
    Column("calls_maybe_done", Integer, nullable=False, server_default="0"),
    *(Column(n, Boolean, nullable=False, server_default=false()) for n in ("mends", "released")),
    Column("awaits_word", text_of(), nullable=False, server_default=""),
    Index("deliveries_root", "root_id"),
    _partial_index("deliveries_replay", "replay_id", where="replay_id <> ''"),
    Index("deliveries_state", "endpoint", "state", "sequence"),
    Index("deliveries_vendor_reference", "vendor_reference"),
    _partial_index("deliveries_item", "item", where="item <> ''"),
    _partial_index("deliveries_pending", "endpoint", "priority", "sequence", where="pending"),
    _partial_index("deliveries_unrouted", "sequence", where=UNROUTED.text),
    _partial_index("deliveries_on_the_way", "endpoint", where=ON_THE_WAY.text),
    _partial_index("deliveries_awaits_word", "awaits_word", where="awaits_word <> ''"),
    _partial_index("deliveries_due", "due_at", where="due_at IS NOT NULL"),
    _partial_index(
        "deliveries_quarantined", "endpoint", "state", "sequence", where="quarantined <> '[]'"
    ),
)

attempts = Table(
    "attempts",
    METADATA,
    Column("delivery_id", Key, primary_key=True),
    Column("token", BigInteger, primary_key=True),
    Column("number", Integer, nullable=False),
    Column("kind", text_of(16), nullable=False),
    Column("attempt_id", Key, nullable=False),
    Column("instance", text_of(128), nullable=False),
    Column("begun_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger),
    Column("trace_id", text_of(32), nullable=False),
    Column("outcome", text_of(16), nullable=False),
    Column("code", Word, nullable=False),
    Column("reason", text_of(), nullable=False),
    Column("request_excerpt", text_of(), nullable=False),
    Column("response_excerpt", text_of(), nullable=False),
)

delivery_contents = Table(
    "delivery_contents", METADATA, Column("delivery_id", Key, primary_key=True),
    Column("body", LargeBinary, nullable=False),
)  # fmt: skip

operator_words = Table(
    "operator_words",
    METADATA,
    Column("id", Key, primary_key=True),
    Column("subject_id", Key, nullable=False),
    Column("verb", text_of(16), nullable=False),
    Column("operator", Word, nullable=False),
    Column("said_at", BigInteger, nullable=False),
    Column("reason", text_of(), nullable=False),
    *(Column(name, text_of(16), nullable=False) for name in ("state_before", "state_after")),
    Column("change", text_of(), nullable=False),
    Index("operator_words_subject", "subject_id"),
)

# Dead letters that went on: under way until they are settled, and history from then on.
dead_letters = Table(
    "dead_letters",
    METADATA,
    Column("cause", text_of(32), primary_key=True),
    Column("id", Key, primary_key=True),
    Column("object_id", Key, nullable=False),
    Column("inbound", Boolean, nullable=False),
    Column("since", BigInteger, nullable=False),
    Column("left_at", BigInteger, nullable=False),
    Column("carrier", Key, nullable=False),
    Column("settled_at", BigInteger),
    Column("settlement", text_of(16), nullable=False),
    Column("settled_by", text_of(256), nullable=False),
    Index("dead_letters_settled", "settled_at", "left_at"),
    _partial_index("dead_letters_carrier", "carrier", where="settled_at IS NULL"),
)

dead_letter_groups = Table(
    "dead_letter_groups",
    METADATA,
    Column("id", text_of(32), primary_key=True),
    Column("endpoint", Word, nullable=False),
    Column("what", text_of(200), nullable=False),
    Column("event_type", text_of(200), nullable=False),
    Column("classification", text_of(16), nullable=False),
    Column("code", Word, nullable=False),
    Column("reason", text_of(), nullable=False),
    Column("operator", Word, nullable=False),
    Column("assignee", text_of(100), nullable=False),
    Column("note", text_of(), nullable=False),
    Column("marked_at", BigInteger),
)

requests = Table(
    "requests",
    METADATA,
    Column("request_id", Key, primary_key=True),
    Column("digest", LargeBinary, nullable=False),
    Column("endpoint", Word, nullable=False),
    Column("method", text_of(200), nullable=False),
    Column("response", LargeBinary, nullable=False),
    Column("object_id", Key, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("flows", text_of(), nullable=False, server_default=""),
    Index("requests_object", "object_id", "created_at"),
)

external_references = Table(
    "external_references",
    METADATA,
    Column("system", Word, nullable=False),
    Column("type", Word, nullable=False),
    Column("value", text_of(128), nullable=False),
    Column("kind", Word, nullable=False),
    Column("object_id", Key, nullable=False),
    # The value first: this index finds it in any system, too, and many systems' values come in no
    # order, so that each index of them reads and writes one more page of a large table.
    PrimaryKeyConstraint("value", "system", "type"),
    Index("external_references_object", "object_id"),
    _partial_index(
        "external_references_spelling", SQUEEZED_VALUE, where=VALUE_SPELLED_OTHERWISE.text
    ),
)

parcels = Table(
    "parcels",
    METADATA,
    Column("tracking_number", Word, primary_key=True),
    Column("carrier_code", Word, primary_key=True),
    Column("label_id", Key, nullable=False),
    Column("shipment_id", Key, nullable=False),
    Column("package_id", Key, nullable=False),
    Column("order_id", Key, nullable=False),
    Column("partition", SmallInteger, nullable=False),
    Column("milestone", text_of(32), nullable=False),
    Column("milestone_time", BigInteger),
    Column("exception_open", Boolean, nullable=False),
    Column("heard_at", BigInteger, nullable=False, server_default="0"),
    Index("parcels_package", "package_id"),
    Index("parcels_shipment", "shipment_id"),
    # Whole rows are read of those only that are asked about, however many are silent.
    _partial_index(
        "parcels_moving",
        "label_id",
        "carrier_code",
        "heard_at",
        where="milestone NOT IN ('DELIVERED', 'RETURNED')",
    ),
    _partial_index(
        "parcels_spelling",
        SQUEEZED_TRACKING_NUMBER,
        where=TRACKING_NUMBER_SPELLED_OTHERWISE.text,
    ),
)

scans = Table(
    "scans",
    METADATA,
    Column("id", Key, primary_key=True),
    Column("dedupe_key", LargeBinary(16), nullable=False, unique=True),
    Column("carrier_code", Word, nullable=False),
    Column("tracking_number", Word, nullable=False),
    Column("shipment_id", Key, nullable=False),
    Column("milestone", text_of(32), nullable=False),
    Column("event_time", BigInteger),
    Column("record_time", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Index("scans_tracking_number", "tracking_number"),
)

scan_outbox = Table(
    "scan_outbox",
    METADATA,
    # A number is never given twice, also after the rows before it are gone.
    Column("sequence", Counter, primary_key=True, autoincrement=True),
    Column("id", Key, nullable=False, index=True),
    Column("partition", SmallInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("count", Integer, nullable=False),
    Column("traceparent", text_of(64), nullable=False),
    Column("record_time", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)

endpoints = Table(
    "endpoints",
    METADATA,
    Column("id", Word, primary_key=True),
    Column("role", text_of(16), nullable=False),
    Column("business_units", text_of(), nullable=False),
    Column("location_numbers", text_of(), nullable=False),
    Column("carrier_codes", text_of(), nullable=False),
    Column("state", text_of(16), nullable=False),
    Column("manifest", LargeBinary, nullable=False),
    Column("pause_reason", text_of(), nullable=False),
    Column("paused_by", Word, nullable=False),
    Column("heartbeat_at", BigInteger),
    Column("progress_at", BigInteger),
    Column("trouble", text_of(), nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("breaker_state", text_of(16), nullable=False, server_default="CLOSED"),
    Column("breaker_since", BigInteger),
    Column("breaker_reason", text_of(), nullable=False, server_default=""),
    Column("breaker_failing", text_of(), nullable=False, server_default="[]"),
    Column("breaker_probe_at", BigInteger),
    Column("breaker_probes", Integer, nullable=False, server_default="0"),
    Column("pace_thousandths", Integer, nullable=False, server_default="1000"),
    Column("pace_at", BigInteger),
    Column("throttled_until", BigInteger),
    Column("answered_windows", text_of(), nullable=False, server_default="[]"),
)

cursors = Table(
    "cursors", METADATA, Column("endpoint", Word, primary_key=True),
    Column("name", Word, primary_key=True), Column("value", LargeBinary, nullable=False),
    Column("version", BigInteger, nullable=False),
)  # fmt: skip

held_facts = Table(
    "held_facts",
    METADATA,
    Column("id", Key, primary_key=True),
    Column("endpoint", Word, nullable=False),
    Column("method", text_of(200), nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("content_type", text_of(100), nullable=False),
    Column("refusal", LargeBinary, nullable=False),
    Column("state", text_of(16), nullable=False),
    Column("awaits", text_of(256), nullable=False),
    Column("request_id", Key, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("applied_at", BigInteger),
    Column("drives", Integer, nullable=False),
    Column("traceparent", text_of(64), nullable=False),
    Column("identity", text_of(64), nullable=False, server_default=""),
    Column("root_id", Key, nullable=False, server_default=""),
    Index("held_facts_awaits", "state", "awaits"),
    Index("held_facts_endpoint", "endpoint", "id"),
    _partial_index("held_facts_still_held", "endpoint", "id", where=STILL_HELD.text),
    _partial_index("held_facts_of_flow", "root_id", "id", where=HELD_OF_FLOW.text),
    _partial_index(
        "held_facts_identity", "identity", where="state = 'HELD' AND identity <> ''", unique=True
    ),
)

# What the codes of vendors mean. id: endpoint kind, topic, type and code in one.
mappings = Table(
    "mappings",
    METADATA,
    Column("id", text_of(320), primary_key=True),
    Column("endpoint_kind", Word, nullable=False, index=True),
    Column("topic", text_of(32), nullable=False),
    Column("native_type", text_of(32), nullable=False),
    Column("native_code", text_of(64), nullable=False),
    Column("canonical", text_of(64), nullable=False),
    Column("exception_reason", text_of(32), nullable=False),
    Column("preferred", Boolean, nullable=False),
    Column("shipped", LargeBinary, nullable=False),
    Column("shipped_version", text_of(32), nullable=False),
    Column("deployment", LargeBinary, nullable=False),
    Column("revision", BigInteger, nullable=False),
)

# Whose codes an endpoint kind are, and the versions of its defaults, the one that holds last.
mapping_kinds = Table(
    "mapping_kinds", METADATA, Column("endpoint_kind", Word, primary_key=True),
    Column("role", Word, nullable=False), Column("versions", text_of(), nullable=False),
)  # fmt: skip

replays = Table(
    "replays",
    METADATA,
    Column("id", Key, primary_key=True),
    Column("endpoint", Word, nullable=False),
    Column("wanted_set", text_of(16), nullable=False),
    Column("selection", LargeBinary, nullable=False),
    Column("state", text_of(16), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("items", BigInteger, nullable=False),
    Column("approvals", BigInteger, nullable=False),
    Column("approved", Boolean, nullable=False),
    Column("items_per_second", Integer, nullable=False),
    Column("note", text_of(), nullable=False),
    Column("acts", text_of(), nullable=False),
    Column("traceparent", text_of(64), nullable=False),
    Column("started_at", BigInteger),
    Column("ended_at", BigInteger),
    Column("final_counts", text_of(), nullable=False, server_default=""),
    *(Column(n, Integer, nullable=False, server_default="0") for n in ("events", "events_planned")),
    Index("replays_state", "state"),
    _partial_index("replays_running", "id", where="state = 'RUNNING'"),
)

replay_items = Table(
    "replay_items",
    METADATA,
    Column("replay_id", Key, primary_key=True),
    Column("number", BigInteger, primary_key=True),
    Column("flow", BigInteger, nullable=False),
    Column("event_id", Key, nullable=False),
    Column("event_type", text_of(200), nullable=False),
    Column("object_id", Key, nullable=False),
    Column("root_id", Key, nullable=False),
    Column("operation", Word, nullable=False),
    Column("item", Key, nullable=False),
    Column("earlier", Key, nullable=False),
    Column("verdict", text_of(24), nullable=False),
    Column("why", text_of(), nullable=False),
    Column("approved_verdict", text_of(24), nullable=False),
    Column("approved_why", text_of(), nullable=False),
    Column("found_verdict", text_of(24), nullable=False),
    Column("found_why", text_of(), nullable=False),
    Column("delivery_id", Key, nullable=False),
    Column("decided_at", BigInteger),
    _partial_index("replay_items_waiting", "replay_id", "number", where="decided_at IS NULL"),
)

# How often hubs have taken a database over that several can reach, and which was the last.
claims = Table(
    "claims", METADATA, Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("number", BigInteger, nullable=False), Column("holder", Word, nullable=False),
)  # fmt: skip

# When a hub last took up what one does for all of them.
starts = Table(
    "starts", METADATA, Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("started_at", BigInteger, nullable=False),
)  # fmt: skip
