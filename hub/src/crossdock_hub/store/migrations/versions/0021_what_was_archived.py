"""Know what was archived, where it is, and which requests belong to a flow that goes"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from crossdock_hub.store.column_types import text_of

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the parts and the ids in them. Requests are found by their flow, others by their age."""
    op.create_table(
        "archive_parts",
        sa.Column("number", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("name", text_of(64), nullable=False),
        sa.Column("state", text_of(16), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("flows", sa.Integer(), nullable=False),
        sa.Column("flows_gone", sa.Integer(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", text_of(64), nullable=False),
    )
    op.create_table(
        "archived_ids",
        sa.Column("key", sa.LargeBinary(16), primary_key=True),
        sa.Column("part", sa.Integer(), primary_key=True, autoincrement=False),
    )
    op.create_index("archived_ids_part", "archived_ids", ["part"])
    op.create_index("requests_object", "requests", ["object_id", "created_at"])
