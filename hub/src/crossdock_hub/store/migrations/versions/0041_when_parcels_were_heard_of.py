"""Say of each parcel when the hub last heard of it, and find those still asked about by that"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

revision = "0041"
down_revision = "0040"
branch_labels = None
depends_on = None

# Nobody asks about a parcel that has ended, and only a scan begins it again, which is news: most
# parcels are left alone. But a return waits for the warehouse when its parcel has ended. The last
# change of a shipment may be later than its handing over: polls go on longer then.
_FILL: Final = """
UPDATE parcels SET heard_at = {greatest}(
    coalesce((SELECT updated_at FROM objects WHERE id = parcels.label_id), 0),
    coalesce((SELECT updated_at FROM objects WHERE id = parcels.shipment_id), 0),
    coalesce((SELECT max(record_time) FROM scans
              WHERE scans.tracking_number = parcels.tracking_number
              AND scans.carrier_code = parcels.carrier_code), 0)
) WHERE milestone NOT IN ('DELIVERED', 'RETURNED') OR label_id = ''
"""


def upgrade() -> None:
    """Of parcels of before that are on their way, or of returns, it is the last of label, shipment
    or return, and stored scans."""
    heard_at = sa.Column("heard_at", sa.BigInteger(), nullable=False, server_default="0")
    op.add_column("parcels", heard_at)
    sqlite = op.get_bind().dialect.name == "sqlite"
    # Before: PostgreSQL would keep it with each row that is written.
    op.drop_index("parcels_moving", "parcels")
    op.execute(_FILL.format(greatest="max" if sqlite else "greatest"))
    moving = sa.text("milestone NOT IN ('DELIVERED', 'RETURNED')")
    op.create_index(
        "parcels_moving",
        "parcels",
        ["label_id", "carrier_code", "heard_at"],
        sqlite_where=moving,
        postgresql_where=moving,
    )
