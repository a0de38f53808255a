"""All the times in which an endpoint answered long enough for doubt to show, not only the last"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from crossdock_hub.store.column_types import text_of

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Keep the one time that was noted as the first of a list. What was before it is not known:
    doubt that showed then is told of the time after it, as it was until now."""
    op.add_column(
        "endpoints",
        sa.Column("answered_windows", text_of(), nullable=False, server_default="[]"),
    )
    op.execute(
        "UPDATE endpoints SET answered_windows = "
        "'[[' || CAST(answered_from AS TEXT) || ',' || CAST(answered_until AS TEXT) || ']]' "
        "WHERE answered_from IS NOT NULL AND answered_until IS NOT NULL"
    )
    for name in ("answered_from", "answered_until"):
        op.drop_column("endpoints", name)
