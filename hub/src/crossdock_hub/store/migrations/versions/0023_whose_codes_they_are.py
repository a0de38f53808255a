"""Whose codes an endpoint kind are, and which version of its defaults holds"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from crossdock_hub.store.column_types import text_of

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table; each kind is noted when its defaults are told next."""
    op.create_table(
        "mapping_kinds",
        sa.Column("endpoint_kind", text_of(64), nullable=False),
        sa.Column("role", text_of(64), nullable=False),
        sa.Column("versions", text_of(), nullable=False),
        sa.PrimaryKeyConstraint("endpoint_kind"),
    )
