"""Drafts and duplicates of deliveries, breakers and pace of endpoints"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; what is there already never had a draft and starts unthrottled."""
    _text("deliveries", "draft", sa.String(length=200), "")
    _text("deliveries", "duplicates", sa.Text(), "[]")
    _text("endpoints", "breaker_state", sa.String(length=16), "CLOSED")
    _text("endpoints", "breaker_reason", sa.Text(), "")
    _text("endpoints", "breaker_failing", sa.Text(), "[]")
    _text("endpoints", "breaker_probes", sa.Integer(), "0")
    _text("endpoints", "pace_thousandths", sa.Integer(), "1000")
    for name in ("breaker_since", "breaker_probe_at", "pace_at", "throttled_until"):
        op.add_column("endpoints", sa.Column(name, sa.BigInteger()))


def _text(table: str, name: str, kind: Any, default: str) -> None:
    op.add_column(table, sa.Column(name, kind, nullable=False, server_default=default))
