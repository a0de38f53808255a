"""How many calls of a delivery the vendor may have done, for the spending guard"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column. Of repeated calls nobody noted how each ended: all count. A delivery that was
    called once counts without it."""
    op.add_column(
        "deliveries",
        sa.Column("calls_maybe_done", sa.Integer(), nullable=False, server_default="0"),
    )
    op.execute(
        "UPDATE deliveries SET calls_maybe_done = calls_reached WHERE calls_reached > 1 "
        "AND state NOT IN ('SUPERSEDED', 'REJECTED', 'UNROUTED')"
    )
