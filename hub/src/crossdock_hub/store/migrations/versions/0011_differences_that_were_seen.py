"""Differences between database and bus that an operator has acknowledged"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """So far nobody could say so."""
    op.add_column("bus_differences", sa.Column("seen_at", sa.BigInteger(), nullable=True))
