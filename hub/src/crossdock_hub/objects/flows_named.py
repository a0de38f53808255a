"""Which flow a message is about, by the objects and parcels that it names."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import islice
from typing import Final

from crossdock.contracts import Contract
from google.protobuf.message import Message

from crossdock_hub.records import ObjectRecord, ParcelRecord
from crossdock_hub.unit import Key, Unit

# Names of one message that are looked up; what it is about stands at its beginning.
NAMES_MAX: Final = 32


def flow_named(unit: Unit, message: Message) -> str:
    """The root of the first flow that a message names; "" where it names none that there is.

    Master data is of no flow. Asks for all that is named at once: raises NotLoaded.
    """
    keys = list(islice(_named(message, unit.contract), NAMES_MAX))
    unit.require(keys)
    owners = [_owner(unit, key) for key in keys]
    unit.require(owner for owner in owners if owner is not None)
    for owner in owners:
        record: ObjectRecord | ParcelRecord | None = None if owner is None else unit.get(owner)
        if isinstance(record, ParcelRecord):
            return record.order_id
        if record is not None:
            return record.root_id
    return ""


def _owner(unit: Unit, key: Key) -> Key | None:
    """The key of what a name leads to; None: nothing has that number."""
    if key[0] != "number":
        return key
    object_id = unit.get(key)
    return None if object_id is None else ("object", key[1], object_id)


def _named(message: Message, contract: Contract) -> Iterator[Key]:
    kinds = {r.message_name: r.kind for r in contract.resources.values() if not r.master_data}
    yield from _named_in(message, kinds, frozenset(kinds.values()))


def _named_in(
    message: Message, kind_of: Mapping[str, str], kinds: Collection[str]
) -> Iterator[Key]:
    texts: dict[str, str] = {}
    within: list[Message] = []
    for field, value in message.ListFields():
        if isinstance(value, str):
            texts[field.name] = value
        elif field.message_type is not None and not field.message_type.GetOptions().map_entry:
            within += value if field.is_repeated else (value,)
    own = kind_of.get(message.DESCRIPTOR.full_name, "")
    for name, value in texts.items():
        named = f"{own}_{name}" if name in ("id", "number") else name
        kind, _, ending = named.rpartition("_")
        if kind in kinds and ending in ("id", "number"):
            yield ("object" if ending == "id" else "number", kind, value)
    if "carrier_code" in texts and "tracking_number" in texts:
        yield ("parcel", texts["carrier_code"], texts["tracking_number"])
    for each in within:
        yield from _named_in(each, kind_of, kinds)
