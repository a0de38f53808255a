"""What deliveries are parked for whose word the vendor has no code for"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from crossdock_hub.store.column_types import text_of

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, and find them without reading the others."""
    op.add_column(
        "deliveries", sa.Column("awaits_word", text_of(), nullable=False, server_default="")
    )
    waiting = sa.text("awaits_word <> ''")
    op.create_index(
        "deliveries_awaits_word",
        "deliveries",
        ["awaits_word"],
        sqlite_where=waiting,
        postgresql_where=waiting,
    )
