"""Keep the keys of other systems by their value, in one index instead of three"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from crossdock_hub.store.column_types import text_of

revision = "0045"
down_revision = "0044"
branch_labels = None
depends_on = None

_COLUMNS = "system, type, value, kind, object_id"


def upgrade() -> None:
    """The primary key begins with the value, so that it finds keys of any system as well, and of
    other spellings only what is written otherwise has an entry."""
    op.drop_index("external_references_value", "external_references")
    op.drop_index("external_references_spelling", "external_references")
    if op.get_bind().dialect.name == "sqlite":
        _made_anew()
    else:
        op.drop_constraint("external_references_pkey", "external_references")
        op.create_primary_key(
            "external_references_pkey", "external_references", ["value", "system", "type"]
        )
    squeezed = "upper(replace(replace(value, '-', ''), ' ', ''))"
    otherwise = sa.text(f"value <> {squeezed}")
    op.create_index(
        "external_references_spelling",
        "external_references",
        [sa.text(squeezed)],
        sqlite_where=otherwise,
        postgresql_where=otherwise,
    )


def _made_anew() -> None:
    """SQLite changes no primary key."""
    op.drop_index("external_references_object", "external_references")
    op.rename_table("external_references", "external_references_before")
    op.create_table(
        "external_references",
        sa.Column("system", text_of(64), nullable=False),
        sa.Column("type", text_of(64), nullable=False),
        sa.Column("value", text_of(128), nullable=False),
        sa.Column("kind", text_of(64), nullable=False),
        sa.Column("object_id", text_of(36), nullable=False),
        sa.PrimaryKeyConstraint("value", "system", "type"),
    )
    # In the order of their objects, as they were added.
    op.execute(
        f"INSERT INTO external_references ({_COLUMNS}) "
        f"SELECT {_COLUMNS} FROM external_references_before ORDER BY rowid"
    )
    op.drop_table("external_references_before")
    op.create_index("external_references_object", "external_references", ["object_id"])
