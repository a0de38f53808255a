"""Say which flows a request was about that changed no object, and where a held fact went"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from crossdock_hub.store.column_types import text_of

revision = "0037"
down_revision = "0036"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a column each; of what is stored nobody knows it."""
    for table, name, column in (
        ("requests", "flows", text_of()),
        ("held_facts", "root_id", text_of(36)),
    ):
        op.add_column(table, sa.Column(name, column, nullable=False, server_default=""))
