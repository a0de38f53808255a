"""Find replays by their state: plans that wait to be made are counted with each new one"""

from __future__ import annotations

from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the index."""
    op.create_index("replays_state", "replays", ["state"])
