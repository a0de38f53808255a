"""Whether who leads has no bus, so that another hub may take the lead"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0043"
down_revision = "0042"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """No lead that is written down is offered."""
    op.add_column(
        "leadership",
        sa.Column("offered", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
