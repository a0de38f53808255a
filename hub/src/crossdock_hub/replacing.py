"""`replace` of records, three to four times as fast as that of dataclasses.

The ledger copies a delivery with its fifty fields some ten times between dispatch and confirmation;
`dataclasses.replace` asks for each of them by name. The type checker knows this one as that one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import replace
else:
    from dataclasses import fields
    from functools import cache
    from operator import attrgetter

    def replace(record, /, **changes):
        """A copy with other values of some fields. Raises TypeError for a name that is no field."""
        kind = type(record)
        read, places = _way_of(kind)
        values = [*read(record)]
        for name, value in changes.items():
            place = places.get(name)
            if place is None:
                raise TypeError(f"{kind.__name__} has no field {name}")
            values[place] = value
        return kind(*values)

    @cache
    def _way_of(kind):
        """What reads all fields of a kind, and where each of them stands among its arguments."""
        names = [field.name for field in fields(kind)]
        if len(names) < 2 or any(field.kw_only or not field.init for field in fields(kind)):
            raise TypeError(f"{kind.__name__} is not made of its fields in their order")
        return attrgetter(*names), {name: place for place, name in enumerate(names)}


__all__ = ["replace"]
