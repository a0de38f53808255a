"""Find the scans of a shipment by way of its parcels"""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Every scan kept an index that only shipments need; parcels keep it for them."""
    op.create_index("parcels_shipment", "parcels", ["shipment_id"], unique=False)
    op.drop_index("scans_shipment", table_name="scans")
