"""Find numbers and keys without case, spaces and dashes without reading all of them"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add an index of numbers and one of keys, as they are compared."""
    squeezed = "upper(replace(replace({}, '-', ''), ' ', ''))"
    numbered = sa.text("number IS NOT NULL")
    op.create_index(
        "objects_spelling",
        "objects",
        [sa.text(squeezed.format("number"))],
        sqlite_where=numbered,
        postgresql_where=numbered,
    )
    op.create_index(
        "external_references_spelling", "external_references", [sa.text(squeezed.format("value"))]
    )
