"""When an endpoint answered before its breaker opened, for the doubt that showed until then"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns. Of what is open now nobody noted since when it had answered: doubt at it
    shows when it answers again."""
    for name in ("answered_from", "answered_until"):
        op.add_column("endpoints", sa.Column(name, sa.BigInteger()))
