"""What the codes of vendors mean"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from crossdock_hub.store.column_types import text_of

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table; adapters fill it when they register."""
    op.create_table(
        "mappings",
        sa.Column("id", text_of(320), nullable=False),
        sa.Column("endpoint_kind", text_of(64), nullable=False),
        sa.Column("topic", text_of(32), nullable=False),
        sa.Column("native_type", text_of(32), nullable=False),
        sa.Column("native_code", text_of(64), nullable=False),
        sa.Column("canonical", text_of(64), nullable=False),
        sa.Column("exception_reason", text_of(32), nullable=False),
        sa.Column("preferred", sa.Boolean(), nullable=False),
        sa.Column("shipped", sa.LargeBinary(), nullable=False),
        sa.Column("shipped_version", text_of(32), nullable=False),
        sa.Column("deployment", sa.LargeBinary(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_mappings_endpoint_kind", "mappings", ["endpoint_kind"])
