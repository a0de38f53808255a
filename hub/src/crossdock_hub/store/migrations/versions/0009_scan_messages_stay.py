"""Scan messages stay as long as their stream keeps them, and are found by their ids"""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """What a stream holds is compared with them by id."""
    op.create_index("ix_scan_outbox_id", "scan_outbox", ["id"], unique=False)
