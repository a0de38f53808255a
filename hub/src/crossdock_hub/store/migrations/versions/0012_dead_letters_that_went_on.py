"""Dead letters that went on, with what settled them; before, operators' words named their causes"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from crossdock_hub.store.column_types import text_of

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

HOPS_MAX = 20
SETTLING_STATES = ("CONFIRMED", "SKIPPED")


def upgrade() -> None:
    """Create the table, and fill it with what operators sent on so far."""
    op.add_column(
        "deliveries", sa.Column("mends", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    letters = op.create_table(
        "dead_letters",
        sa.Column("cause", text_of(32), nullable=False),
        sa.Column("id", text_of(36), nullable=False),
        sa.Column("object_id", text_of(36), nullable=False),
        sa.Column("inbound", sa.Boolean(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("left_at", sa.BigInteger(), nullable=False),
        sa.Column("carrier", text_of(36), nullable=False),
        sa.Column("settled_at", sa.BigInteger()),
        sa.Column("settlement", text_of(16), nullable=False),
        sa.Column("settled_by", text_of(256), nullable=False),
        sa.PrimaryKeyConstraint("cause", "id"),
    )
    op.create_index("dead_letters_settled", "dead_letters", ["settled_at", "left_at"])
    op.create_index(
        "dead_letters_carrier",
        "dead_letters",
        ["carrier"],
        sqlite_where=sa.text("settled_at IS NULL"),
        postgresql_where=sa.text("settled_at IS NULL"),
    )
    _fill(letters)
    op.drop_index("operator_words_cause", "operator_words")
    op.drop_column("operator_words", "cause")


def _fill(letters: sa.Table) -> None:
    """The newest word on each dead letter stands for when it went on."""
    connection = op.get_bind()
    words = connection.execute(
        sa.text(
            "SELECT cause, subject_id, max(said_at) AS said_at FROM operator_words "
            "WHERE cause <> '' GROUP BY cause, subject_id"
        )
    ).all()
    for word in words:
        first = _delivery(connection, word.subject_id)
        if first is None:
            continue
        carrier = first
        for _ in range(HOPS_MAX):
            following = _delivery(connection, carrier.superseded_by)
            if carrier.state != "SUPERSEDED" or following in (None, carrier):
                break
            carrier = following
        settled = carrier.state in (*SETTLING_STATES, "SUPERSEDED")
        connection.execute(
            sa.insert(letters).values(
                cause=word.cause,
                id=first.id,
                object_id=first.object_id,
                inbound=False,
                since=word.said_at,
                left_at=word.said_at,
                carrier=carrier.id,
                settled_at=max(carrier.updated_at, word.said_at) if settled else None,
                settlement=carrier.state if settled else "",
                settled_by=carrier.id if settled else "",
            )
        )
        if not settled:
            mends = sa.text("UPDATE deliveries SET mends = :yes WHERE id = :id")
            connection.execute(
                mends.bindparams(sa.bindparam("yes", True, sa.Boolean()), id=carrier.id)
            )


def _delivery(connection: sa.Connection, delivery_id: str) -> Any:
    found = sa.text(
        "SELECT id, object_id, state, superseded_by, updated_at FROM deliveries WHERE id = :id"
    )
    return connection.execute(found.bindparams(id=delivery_id)).first()
