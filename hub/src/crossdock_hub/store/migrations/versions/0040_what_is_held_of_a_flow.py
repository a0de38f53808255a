"""Find what is held of a flow without reading all that is held"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0040"
down_revision = "0039"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Index what is held by the flow that it names; of what is held already, that is noted once it
    is decided or reported again."""
    held = sa.text("state = 'HELD' AND root_id <> ''")
    op.create_index(
        "held_facts_of_flow",
        "held_facts",
        ["root_id", "id"],
        sqlite_where=held,
        postgresql_where=held,
    )
