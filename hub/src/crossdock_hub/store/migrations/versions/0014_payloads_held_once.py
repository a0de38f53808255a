"""What a raw payload is known by while it is held; those of before are not known by anything"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from crossdock_hub.store.column_types import text_of

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the identity: what is held now and comes once more is kept beside itself, once."""
    identity = sa.Column("identity", text_of(64), nullable=False, server_default="")
    op.add_column("held_facts", identity)
    op.create_index(
        "held_facts_identity",
        "held_facts",
        ["identity"],
        sqlite_where=sa.text("state = 'HELD' AND identity <> ''"),
        postgresql_where=sa.text("state = 'HELD' AND identity <> ''"),
    )
