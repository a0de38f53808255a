"""The deliveries of one flow in their order, found by what the ledger's rules ask for; pure.

An order in a loop has thousands of deliveries: whoever decides many of them and looks through all
for each stops the hub. An index is made when a rule first asks for it, and kept as records change.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Hashable, Iterable, Iterator
from heapq import merge
from operator import attrgetter, itemgetter

from crossdock_hub.records import DeliveryRecord

# Under which keys a record is found; a rule defines its own. It must depend on the record alone.
KeysOf = Callable[[DeliveryRecord], Iterable[Hashable]]
# Sequence, then the order in which they came: of two entries the records never need comparing.
Entry = tuple[str, int, DeliveryRecord]

_NOTHING: list[Entry] = []
_place = itemgetter(0, 1)


class IndexedFlow:
    """A flow that can be asked and changed. Records are shared: they are replaced by `put`."""

    def __init__(self, records: Iterable[DeliveryRecord]) -> None:
        # One event's deliveries share their place: then the older ones come first.
        ordered = sorted(records, key=attrgetter("sequence", "created_at", "id"))
        self._entries: dict[str, Entry] = {
            record.id: (record.sequence, number, record) for number, record in enumerate(ordered)
        }
        self._indexes: dict[KeysOf, dict[Hashable, list[Entry]]] = {}

    @staticmethod
    def of(flow: Iterable[DeliveryRecord]) -> IndexedFlow:
        """The flow itself when it is one, else a new one of its records."""
        return flow if isinstance(flow, IndexedFlow) else IndexedFlow(flow)

    def __iter__(self) -> Iterator[DeliveryRecord]:
        """Every record as it is by now, in order."""
        return (record for _, _, record in sorted(self._entries.values(), key=_place))

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, delivery_id: str) -> DeliveryRecord | None:
        """One record; None when the flow has none of that id."""
        entry = self._entries.get(delivery_id)
        return entry[2] if entry is not None else None

    def put(self, record: DeliveryRecord) -> None:
        """Take in a new record, or the new version of one."""
        before = self._entries.get(record.id)
        number = before[1] if before is not None else len(self._entries)
        entry = (record.sequence, number, record)
        self._entries[record.id] = entry
        for keys_of, index in self._indexes.items():
            if before is not None:
                for key in keys_of(before[2]):
                    found = index[key]
                    del found[bisect_left(found, before[:2], key=_place)]
            for key in keys_of(record):
                insort(index.setdefault(key, []), entry, key=_place)

    def count(self, keys_of: KeysOf, key: Hashable) -> int:
        """How many records are under a key."""
        return len(self._index(keys_of).get(key, _NOTHING))

    def under(self, keys_of: KeysOf, key: Hashable) -> list[DeliveryRecord]:
        """The records under a key, in order."""
        return [record for _, _, record in self._index(keys_of).get(key, _NOTHING)]

    def before(self, sequence: str, keys_of: KeysOf, *keys: Hashable) -> Iterator[DeliveryRecord]:
        """The records under any of the keys that come before a sequence, in order."""
        index = self._index(keys_of)
        return _together([_until(index.get(key, _NOTHING), sequence) for key in keys])

    def after(self, sequence: str, keys_of: KeysOf, *keys: Hashable) -> Iterator[DeliveryRecord]:
        """The records under any of the keys that come after a sequence, in order."""
        index = self._index(keys_of)
        return _together([_since(index.get(key, _NOTHING), sequence) for key in keys])

    def _index(self, keys_of: KeysOf) -> dict[Hashable, list[Entry]]:
        index = self._indexes.get(keys_of)
        if index is None:
            index = self._indexes[keys_of] = {}
            for entry in sorted(self._entries.values(), key=_place):
                for key in keys_of(entry[2]):
                    index.setdefault(key, []).append(entry)
        return index


def _until(found: list[Entry], sequence: str) -> Iterator[Entry]:
    for entry in found:
        if entry[0] >= sequence:
            return
        yield entry


def _since(found: list[Entry], sequence: str) -> Iterator[Entry]:
    for position in range(bisect_right(found, sequence, key=itemgetter(0)), len(found)):
        yield found[position]


def _together(parts: list[Iterator[Entry]]) -> Iterator[DeliveryRecord]:
    ordered = parts[0] if len(parts) == 1 else merge(*parts, key=_place)
    return (record for _, _, record in ordered)
