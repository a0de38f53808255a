"""Find the deliveries with quarantined facts without reading the others"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the index."""
    refused = sa.text("quarantined <> '[]'")
    op.create_index(
        "deliveries_quarantined",
        "deliveries",
        ["endpoint", "state", "sequence"],
        sqlite_where=refused,
        postgresql_where=refused,
    )
