"""Find what is still held of an endpoint without reading all that it ever held"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the index."""
    held = sa.text("state = 'HELD'")
    op.create_index(
        "held_facts_still_held",
        "held_facts",
        ["endpoint", "id"],
        sqlite_where=held,
        postgresql_where=held,
    )
