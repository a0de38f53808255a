"""How many calls of a delivery the vendor may have done, for the spending guard"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, and count for each delivery the calls that left something or may have: all
    but those that were refused, parked or proven unprocessed. Also where the delivery itself was
    refused or replaced: an earlier call of it may have bought. Attempts without a number are not
    calls of this database: they tell what one that was put back has lost.
    """
    op.add_column(
        "deliveries",
        sa.Column("calls_maybe_done", sa.Integer(), nullable=False, server_default="0"),
    )
    op.execute(
        "UPDATE deliveries SET calls_maybe_done = (SELECT COUNT(*) FROM attempts "
        "WHERE attempts.delivery_id = deliveries.id AND attempts.kind = 'CALL' "
        "AND attempts.number > 0 "
        "AND attempts.outcome NOT IN ('RETRY', 'THROTTLED', 'REJECTED', 'PARKED')) "
        "WHERE deliveries.attempts > 0"
    )
