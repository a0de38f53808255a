"""The first schema"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from crossdock_hub.store.column_types import counter, text_of

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create every table with its indexes."""
    _attempts()
    _cursors()
    _deliveries()
    _endpoints()
    _events()
    _external_references()
    _held_facts()
    _objects()
    _parcels()
    _requests()
    _scan_outbox()
    _scans()


def _attempts() -> None:
    op.create_table(
        "attempts",
        sa.Column("delivery_id", text_of(36), nullable=False),
        sa.Column("token", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("kind", text_of(16), nullable=False),
        sa.Column("attempt_id", text_of(36), nullable=False),
        sa.Column("instance", text_of(128), nullable=False),
        sa.Column("begun_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("trace_id", text_of(32), nullable=False),
        sa.Column("outcome", text_of(16), nullable=False),
        sa.Column("code", text_of(64), nullable=False),
        sa.Column("reason", text_of(), nullable=False),
        sa.Column("request_excerpt", text_of(), nullable=False),
        sa.Column("response_excerpt", text_of(), nullable=False),
        sa.PrimaryKeyConstraint("delivery_id", "token"),
    )


def _cursors() -> None:
    op.create_table(
        "cursors",
        sa.Column("endpoint", text_of(64), nullable=False),
        sa.Column("name", text_of(64), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("endpoint", "name"),
    )


def _deliveries() -> None:
    op.create_table(
        "deliveries",
        sa.Column("id", text_of(36), nullable=False),
        sa.Column("event_id", text_of(36), nullable=False),
        sa.Column("event_type", text_of(200), nullable=False),
        sa.Column("endpoint", text_of(64), nullable=False),
        sa.Column("operation", text_of(64), nullable=False),
        sa.Column("item", text_of(36), nullable=False),
        sa.Column("ordering_key", text_of(64), nullable=False),
        sa.Column("sequence", text_of(48), nullable=False),
        sa.Column("state", text_of(16), nullable=False),
        sa.Column("hold_reason", text_of(16), nullable=False),
        sa.Column("waiting_on", text_of(), nullable=False),
        sa.Column("operation_class", text_of(16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("look_ups", sa.Integer(), nullable=False),
        sa.Column("not_found", sa.Integer(), nullable=False),
        sa.Column("calls_reached", sa.Integer(), nullable=False),
        sa.Column("dispatch_number", sa.BigInteger(), nullable=False),
        sa.Column("token", sa.BigInteger(), nullable=False),
        sa.Column("attempt_id", text_of(36), nullable=False),
        sa.Column("attempt_kind", text_of(16), nullable=False),
        sa.Column("lease_until", sa.BigInteger(), nullable=True),
        sa.Column("due_at", sa.BigInteger(), nullable=True),
        sa.Column("awaits_operation", text_of(64), nullable=False),
        sa.Column("prerequisite_until", sa.BigInteger(), nullable=True),
        sa.Column("first_unknown_at", sa.BigInteger(), nullable=True),
        sa.Column("on_reject", text_of(16), nullable=False),
        sa.Column("role", text_of(16), nullable=False),
        sa.Column("requires", text_of(), nullable=False),
        sa.Column("supersedes", text_of(), nullable=False),
        sa.Column("refers_to", text_of(), nullable=False),
        sa.Column("vendor_reference", text_of(20), nullable=False),
        sa.Column("vendor_references", text_of(), nullable=False),
        sa.Column("quarantined", text_of(), nullable=False),
        sa.Column("superseded_by", text_of(36), nullable=False),
        sa.Column("kind", text_of(64), nullable=False),
        sa.Column("object_id", text_of(36), nullable=False),
        sa.Column("root_id", text_of(36), nullable=False),
        sa.Column("traceparent", text_of(64), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("pending", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    _deliveries_indexes()


def _deliveries_indexes() -> None:
    op.create_index(
        "deliveries_due",
        "deliveries",
        ["due_at"],
        unique=False,
        sqlite_where=sa.text("due_at IS NOT NULL"),
        postgresql_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_index(
        "deliveries_item",
        "deliveries",
        ["item"],
        unique=False,
        sqlite_where=sa.text("item <> ''"),
        postgresql_where=sa.text("item <> ''"),
    )
    op.create_index(
        "deliveries_pending",
        "deliveries",
        ["endpoint", "priority", "sequence"],
        unique=False,
        sqlite_where=sa.text("pending"),
        postgresql_where=sa.text("pending"),
    )
    op.create_index("deliveries_root", "deliveries", ["root_id"], unique=False)
    op.create_index(
        "deliveries_state", "deliveries", ["endpoint", "state", "sequence"], unique=False
    )
    op.create_index("deliveries_vendor_reference", "deliveries", ["vendor_reference"], unique=False)


def _endpoints() -> None:
    op.create_table(
        "endpoints",
        sa.Column("id", text_of(64), nullable=False),
        sa.Column("role", text_of(16), nullable=False),
        sa.Column("business_units", text_of(), nullable=False),
        sa.Column("location_numbers", text_of(), nullable=False),
        sa.Column("carrier_codes", text_of(), nullable=False),
        sa.Column("state", text_of(16), nullable=False),
        sa.Column("manifest", sa.LargeBinary(), nullable=False),
        sa.Column("pause_reason", text_of(), nullable=False),
        sa.Column("paused_by", text_of(64), nullable=False),
        sa.Column("heartbeat_at", sa.BigInteger(), nullable=True),
        sa.Column("progress_at", sa.BigInteger(), nullable=True),
        sa.Column("trouble", text_of(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )


def _events() -> None:
    op.create_table(
        "events",
        sa.Column(
            "sequence",
            counter(),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("id", text_of(36), nullable=False),
        sa.Column("type", text_of(200), nullable=False),
        sa.Column("stem", text_of(64), nullable=False),
        sa.Column("kind", text_of(64), nullable=False),
        sa.Column("object_id", text_of(36), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.SmallInteger(), nullable=False),
        sa.Column("root_id", text_of(36), nullable=False),
        sa.Column("partition", sa.SmallInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("producer", text_of(64), nullable=False),
        sa.Column("traceparent", text_of(64), nullable=False),
        sa.Column("trace_id", text_of(32), nullable=False),
        sa.Column("event_time", sa.BigInteger(), nullable=True),
        sa.Column("record_time", sa.BigInteger(), nullable=False),
        sa.Column("causation_id", text_of(36), nullable=False),
        sa.Column("published_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("sequence"),
        sa.UniqueConstraint("id"),
        sa.UniqueConstraint("object_id", "revision", "position"),
        sqlite_autoincrement=True,
    )
    op.create_index("events_root", "events", ["root_id"], unique=False)
    op.create_index("events_trace", "events", ["trace_id"], unique=False)
    op.create_index(
        "events_unpublished",
        "events",
        ["sequence"],
        unique=False,
        sqlite_where=sa.text("published_at IS NULL"),
        postgresql_where=sa.text("published_at IS NULL"),
    )


def _external_references() -> None:
    op.create_table(
        "external_references",
        sa.Column("system", text_of(64), nullable=False),
        sa.Column("type", text_of(64), nullable=False),
        sa.Column("value", text_of(128), nullable=False),
        sa.Column("kind", text_of(64), nullable=False),
        sa.Column("object_id", text_of(36), nullable=False),
        sa.PrimaryKeyConstraint("system", "type", "value"),
    )
    op.create_index(
        "external_references_object", "external_references", ["object_id"], unique=False
    )
    op.create_index("external_references_value", "external_references", ["value"], unique=False)


def _held_facts() -> None:
    op.create_table(
        "held_facts",
        sa.Column("id", text_of(36), nullable=False),
        sa.Column("endpoint", text_of(64), nullable=False),
        sa.Column("method", text_of(200), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("content_type", text_of(100), nullable=False),
        sa.Column("refusal", sa.LargeBinary(), nullable=False),
        sa.Column("state", text_of(16), nullable=False),
        sa.Column("awaits", text_of(256), nullable=False),
        sa.Column("request_id", text_of(36), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("applied_at", sa.BigInteger(), nullable=True),
        sa.Column("drives", sa.Integer(), nullable=False),
        sa.Column("traceparent", text_of(64), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("held_facts_awaits", "held_facts", ["state", "awaits"], unique=False)
    op.create_index("held_facts_endpoint", "held_facts", ["endpoint", "id"], unique=False)


def _objects() -> None:
    op.create_table(
        "objects",
        sa.Column("id", text_of(36), nullable=False),
        sa.Column("kind", text_of(64), nullable=False),
        sa.Column("number", text_of(200), nullable=True),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("state", text_of(64), nullable=False),
        sa.Column("root_id", text_of(36), nullable=False),
        sa.Column("partition", sa.SmallInteger(), nullable=False),
        sa.Column("message", sa.LargeBinary(), nullable=False),
        sa.Column("contract_version", text_of(64), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("objects_kind", "objects", ["kind", "id"], unique=False)
    op.create_index("objects_number", "objects", ["kind", "number"], unique=True)
    op.create_index("objects_root", "objects", ["root_id", "kind"], unique=False)


def _parcels() -> None:
    op.create_table(
        "parcels",
        sa.Column("tracking_number", text_of(64), nullable=False),
        sa.Column("carrier_code", text_of(64), nullable=False),
        sa.Column("label_id", text_of(36), nullable=False),
        sa.Column("shipment_id", text_of(36), nullable=False),
        sa.Column("package_id", text_of(36), nullable=False),
        sa.Column("order_id", text_of(36), nullable=False),
        sa.Column("partition", sa.SmallInteger(), nullable=False),
        sa.Column("milestone", text_of(32), nullable=False),
        sa.Column("milestone_time", sa.BigInteger(), nullable=True),
        sa.Column("exception_open", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("tracking_number", "carrier_code"),
    )
    op.create_index(
        "parcels_moving",
        "parcels",
        ["label_id"],
        unique=False,
        sqlite_where=sa.text("milestone NOT IN ('DELIVERED', 'RETURNED')"),
        postgresql_where=sa.text("milestone NOT IN ('DELIVERED', 'RETURNED')"),
    )
    op.create_index("parcels_package", "parcels", ["package_id"], unique=False)


def _requests() -> None:
    op.create_table(
        "requests",
        sa.Column("request_id", text_of(36), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("endpoint", text_of(64), nullable=False),
        sa.Column("method", text_of(200), nullable=False),
        sa.Column("response", sa.LargeBinary(), nullable=False),
        sa.Column("object_id", text_of(36), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("request_id"),
    )


def _scan_outbox() -> None:
    op.create_table(
        "scan_outbox",
        sa.Column(
            "sequence",
            counter(),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("id", text_of(36), nullable=False),
        sa.Column("partition", sa.SmallInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("traceparent", text_of(64), nullable=False),
        sa.Column("record_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("sequence"),
        sqlite_autoincrement=True,
    )


def _scans() -> None:
    op.create_table(
        "scans",
        sa.Column("id", text_of(36), nullable=False),
        sa.Column("dedupe_key", sa.LargeBinary(length=16), nullable=False),
        sa.Column("carrier_code", text_of(64), nullable=False),
        sa.Column("tracking_number", text_of(64), nullable=False),
        sa.Column("shipment_id", text_of(36), nullable=False),
        sa.Column("milestone", text_of(32), nullable=False),
        sa.Column("event_time", sa.BigInteger(), nullable=True),
        sa.Column("record_time", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("dedupe_key"),
    )
    op.create_index("scans_shipment", "scans", ["shipment_id"], unique=False)
    op.create_index("scans_tracking_number", "scans", ["tracking_number"], unique=False)
