"""Drafts and duplicates of deliveries, breakers and pace of endpoints"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from crossdock_hub.store.column_types import text_of

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; what is there already never had a draft and starts unthrottled."""
    _text("deliveries", "draft", text_of(200), "")
    _text("deliveries", "duplicates", text_of(), "[]")
    _text("endpoints", "breaker_state", text_of(16), "CLOSED")
    _text("endpoints", "breaker_reason", text_of(), "")
    _text("endpoints", "breaker_failing", text_of(), "[]")
    _text("endpoints", "breaker_probes", sa.Integer(), "0")
    _text("endpoints", "pace_thousandths", sa.Integer(), "1000")
    for name in ("breaker_since", "breaker_probe_at", "pace_at", "throttled_until"):
        op.add_column("endpoints", sa.Column(name, sa.BigInteger()))


def _text(table: str, name: str, kind: Any, default: str) -> None:
    op.add_column(table, sa.Column(name, kind, nullable=False, server_default=default))
