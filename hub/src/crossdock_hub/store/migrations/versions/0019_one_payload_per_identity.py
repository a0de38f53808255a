"""A raw payload is held once, whoever writes: what it is known by is unique while it is held"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

_HELD = "state = 'HELD' AND identity <> ''"


def upgrade() -> None:
    """Make the index unique. A hub alone holds nothing twice; where it happened all the same, both
    stay held, and the latest goes on being found: the others lose what they are known by."""
    op.execute(
        f"UPDATE held_facts SET identity = '' WHERE {_HELD} AND EXISTS (SELECT 1 "
        "FROM held_facts AS later WHERE later.state = 'HELD' "
        "AND later.identity = held_facts.identity AND later.id > held_facts.id)"
    )
    op.drop_index("held_facts_identity", "held_facts")
    op.create_index(
        "held_facts_identity",
        "held_facts",
        ["identity"],
        unique=True,
        sqlite_where=sa.text(_HELD),
        postgresql_where=sa.text(_HELD),
    )
