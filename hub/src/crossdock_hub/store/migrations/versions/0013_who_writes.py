"""Which hub writes to a database that several can reach"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from crossdock_hub.store.column_types import text_of

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table of claims, which has one row at most; a file is claimed by its lock."""
    op.create_table(
        "claims",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("holder", text_of(64), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
