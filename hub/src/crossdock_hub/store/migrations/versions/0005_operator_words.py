"""What operators said about deliveries and held facts, and what a resubmitted delivery carries"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from crossdock_hub.store.column_types import text_of

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables of words and contents; no delivery so far was resubmitted."""
    op.add_column(
        "deliveries",
        sa.Column("resubmits", text_of(36), nullable=False, server_default=""),
    )
    op.create_table(
        "delivery_contents",
        sa.Column("delivery_id", text_of(36), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("delivery_id"),
    )
    op.create_table(
        "operator_words",
        sa.Column("id", text_of(36), nullable=False),
        sa.Column("subject_id", text_of(36), nullable=False),
        sa.Column("verb", text_of(16), nullable=False),
        sa.Column("operator", text_of(64), nullable=False),
        sa.Column("said_at", sa.BigInteger(), nullable=False),
        sa.Column("reason", text_of(), nullable=False),
        sa.Column("state_before", text_of(16), nullable=False),
        sa.Column("state_after", text_of(16), nullable=False),
        sa.Column("change", text_of(), nullable=False),
        sa.Column("cause", text_of(32), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("operator_words_subject", "operator_words", ["subject_id"], unique=False)
    op.create_index("operator_words_cause", "operator_words", ["cause"], unique=False)
