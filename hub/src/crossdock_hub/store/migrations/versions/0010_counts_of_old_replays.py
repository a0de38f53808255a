"""Replays whose items are deleted keep their counts"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from crossdock_hub.store.column_types import text_of

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """So far every replay has its items."""
    kept = sa.Column("final_counts", text_of(), nullable=False, server_default="")
    op.add_column("replays", kept)
