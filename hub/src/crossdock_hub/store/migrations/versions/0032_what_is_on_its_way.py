"""Find the deliveries that are on their way without reading those that are done"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the index."""
    on_the_way = sa.text("state IN ('DISPATCHED', 'IN_FLIGHT', 'RESOLVING') AND NOT pending")
    op.create_index(
        "deliveries_on_the_way",
        "deliveries",
        ["endpoint"],
        sqlite_where=on_the_way,
        postgresql_where=on_the_way,
    )
