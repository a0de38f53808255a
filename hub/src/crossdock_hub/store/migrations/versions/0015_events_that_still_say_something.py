"""Find the events whose content is to go without looking at those whose content is gone"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Index by type and age what is on the stream and has its content; the rest has no entry."""
    carrying = sa.text("published_at IS NOT NULL AND length(body) > 0")
    op.create_index(
        "events_carrying",
        "events",
        ["type", "record_time"],
        sqlite_where=carrying,
        postgresql_where=carrying,
    )
