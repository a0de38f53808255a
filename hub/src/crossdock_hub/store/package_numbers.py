"""Which shipments have a package of a number: warehouses number them, each shipment its own.

A shipment's packages are fixed when it is made, so a row is written once and goes with it.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Column, Index, Select, Table, select

from crossdock_hub.store.column_types import text_of
from crossdock_hub.store.spelling import SQUEEZED_NUMBER, is_spelled, squeezed
from crossdock_hub.store.tables import METADATA

package_numbers = Table(
    "package_numbers",
    METADATA,
    Column("shipment_id", text_of(36), primary_key=True),
    Column("number", text_of(64), primary_key=True),
    # One index for both questions: the number as it is written narrows what is spelled like it.
    Index("package_numbers_spelling", SQUEEZED_NUMBER, "number", "shipment_id"),
)
_LAST_FIRST: Final = (package_numbers.c.number.desc(), package_numbers.c.shipment_id.desc())


def numbered(number: str, most: int, *, exactly: bool) -> Select[Any]:
    """The rows of a package number, those of the newest shipments first; not exactly: however its
    case, spaces and dashes are."""
    wanted = select(package_numbers).where(is_spelled(SQUEEZED_NUMBER, squeezed(number)))
    if exactly:
        # Not "=": SQLite would put the value into the expression, too, which has no index then.
        written = package_numbers.c.number
        wanted = wanted.where(written >= number, written <= number)
    return wanted.order_by(*_LAST_FIRST).limit(most)
