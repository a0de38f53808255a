"""Find what nobody serves in its order, whoever it was for"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0035"
down_revision = "0034"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Index the deliveries that nobody serves by their sequence."""
    unrouted = sa.text("state = 'UNROUTED'")
    op.create_index(
        "deliveries_unrouted",
        "deliveries",
        ["sequence"],
        sqlite_where=unrouted,
        postgresql_where=unrouted,
    )
