"""Find returns by the carriers of their parcels, and not by who told of them"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import sqlalchemy as sa
from alembic import op
from crossdock.returns.v1 import return_pb2

from crossdock_hub.objects.references import carrier_system

revision = "0039"
down_revision = "0038"
branch_labels = None
depends_on = None

# Returns that are read, and in memory, at once.
RETURNS_PER_STEP: Final = 500
TYPE: Final = "return_tracking_number"

_RETURNS: Final = sa.text(
    "SELECT id, message FROM objects WHERE kind = 'customer_return' AND id > :after "
    "ORDER BY id LIMIT :most"
)
_KNOWN: Final = sa.text(
    "SELECT object_id FROM external_references "
    "WHERE system = :system AND type = :type AND value = :value"
)
_ADD: Final = sa.text(
    "INSERT INTO external_references (system, type, value, kind, object_id) "
    "VALUES (:system, :type, :value, 'customer_return', :object_id)"
)


def upgrade() -> None:
    """Add the key of each parcel that leads to its return; of one box that brings several returns
    the first keeps it, as before."""
    connection, after = op.get_bind(), ""
    while True:
        wanted = {"after": after, "most": RETURNS_PER_STEP}
        returns = connection.execute(_RETURNS, wanted).all()
        if not returns:
            return
        after = returns[-1].id
        for row in returns:
            for system, number in _keys_of(return_pb2.Return.FromString(bytes(row.message))):
                key: dict[str, Any] = {"system": system, "type": TYPE, "value": number}
                if connection.execute(_KNOWN, key).first() is None:
                    connection.execute(_ADD, {**key, "object_id": row.id})


def _keys_of(customer_return: return_pb2.Return) -> Iterator[tuple[str, str]]:
    """Carrier and number of the parcels that lead to a return, its label's among them."""
    leading = {each.value for each in customer_return.references if each.type == TYPE}
    label = customer_return.label
    sold = return_pb2.ReturnParcel(
        carrier_code=label.carrier_code, tracking_number=label.tracking_number
    )
    for parcel in (*customer_return.parcels, sold):
        if parcel.tracking_number in leading:
            yield carrier_system(parcel.carrier_code), parcel.tracking_number
