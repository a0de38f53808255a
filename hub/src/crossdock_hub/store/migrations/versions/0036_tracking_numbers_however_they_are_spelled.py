"""Find tracking numbers without case, spaces and dashes without reading all of them"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0036"
down_revision = "0035"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Index those that have another spelling than the one they are compared in."""
    squeezed = "upper(replace(replace(tracking_number, '-', ''), ' ', ''))"
    otherwise = sa.text(f"tracking_number <> {squeezed}")
    op.create_index(
        "parcels_spelling",
        "parcels",
        [sa.text(squeezed)],
        sqlite_where=otherwise,
        postgresql_where=otherwise,
    )
