"""Say when each shipment was voided that was so before that was kept"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op
from crossdock.shipment.v1 import shipment_pb2

revision = "0038"
down_revision = "0037"
branch_labels = None
depends_on = None

# Shipments that are read, and in memory, at once.
SHIPMENTS_PER_STEP: Final = 500

_VOIDED: Final = sa.text(
    "SELECT id, message, (SELECT max(record_time) FROM events WHERE object_id = objects.id "
    "AND stem = 'shipment.voided') AS voided_at FROM objects "
    "WHERE kind = 'shipment' AND state = 'VOIDED' AND id > :after ORDER BY id LIMIT :most"
)
_WRITE: Final = sa.text("UPDATE objects SET message = :message WHERE id = :id")


def upgrade() -> None:
    """The event of the void says when; where that is gone, the shipment's last change does, which
    no later change of it moves from now on."""
    connection, after = op.get_bind(), ""
    while True:
        wanted = {"after": after, "most": SHIPMENTS_PER_STEP}
        shipments = connection.execute(_VOIDED, wanted).all()
        if not shipments:
            return
        after = shipments[-1].id
        for row in shipments:
            shipment = shipment_pb2.Shipment.FromString(bytes(row.message))
            if shipment.HasField("void_time"):
                continue
            if row.voided_at is None:
                shipment.void_time.CopyFrom(shipment.update_time)
            else:
                shipment.void_time.FromMicroseconds(row.voided_at)
            message = shipment.SerializeToString()
            connection.execute(_WRITE, {"message": message, "id": row.id})
