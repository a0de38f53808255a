"""How far the bus was told of the ledger"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """So far the bus lagged by one generation at most."""
    op.add_column("bus_tie", sa.Column("told", sa.BigInteger(), nullable=False, server_default="0"))
    op.execute("UPDATE bus_tie SET told = generation - 1 WHERE generation > 1")
