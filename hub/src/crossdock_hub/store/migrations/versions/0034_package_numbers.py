"""Find package numbers without reading shipments"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op
from crossdock.shipment.v1 import shipment_pb2

from crossdock_hub.store.column_types import text_of

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None

# Shipments that are read, and in memory, at once.
SHIPMENTS_PER_STEP: Final = 500

_SHIPMENTS: Final = sa.text(
    "SELECT id, message FROM objects WHERE kind = 'shipment' AND id > :after "
    "ORDER BY id LIMIT :most"
)


def upgrade() -> None:
    """Create the table, fill it for the shipments that there are, then add its index."""
    table = op.create_table(
        "package_numbers",
        sa.Column("shipment_id", text_of(36), nullable=False),
        sa.Column("number", text_of(64), nullable=False),
        sa.PrimaryKeyConstraint("shipment_id", "number"),
    )
    connection, after = op.get_bind(), ""
    while True:
        wanted = {"after": after, "most": SHIPMENTS_PER_STEP}
        shipments = connection.execute(_SHIPMENTS, wanted).all()
        if not shipments:
            break
        after = shipments[-1].id
        found = [
            {"shipment_id": shipment_id, "number": number}
            for shipment_id, message in shipments
            for number in _numbers_in(bytes(message))
        ]
        if found:
            connection.execute(sa.insert(table), found)
    squeezed = sa.text("upper(replace(replace(number, '-', ''), ' ', ''))")
    op.create_index(
        "package_numbers_spelling", "package_numbers", [squeezed, "number", "shipment_id"]
    )


def _numbers_in(message: bytes) -> list[str]:
    """The package numbers of a shipment, each once."""
    packages = shipment_pb2.Shipment.FromString(message).packages
    return list(dict.fromkeys(package.number for package in packages))
