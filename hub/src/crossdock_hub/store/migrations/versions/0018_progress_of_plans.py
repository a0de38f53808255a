"""How far a plan is: the events that were selected, and those that were worked through"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add both counts; plans of before do not know theirs."""
    for name in ("events", "events_planned"):
        count = sa.Column(name, sa.Integer(), nullable=False, server_default="0")
        op.add_column("replays", count)
