"""What a person let go from the spending guard, until it is called"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column. What was let go before and is looked up first is asked for once more, as it
    was until now."""
    op.add_column(
        "deliveries", sa.Column("released", sa.Boolean(), nullable=False, server_default=sa.false())
    )
