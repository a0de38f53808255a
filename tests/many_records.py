"""Reads of a company in memory whose answer is made of several records, as the store makes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from crossdock_hub.records import item_in
from crossdock_hub.unit import Key

READ_OF_MANY = {
    "attempts",
    "conversions",
    "held",
    "scans_of",
    "mapping_ids",
    "mapping_version",
    "mapping_words",
}


def read_of_many(key: Key, records: Mapping[Key, Any], scans: Sequence[Any]) -> Any:
    """The held facts that wait for one thing, in order; the attempts of a delivery; the unit
    conversions of an item; the scans of a parcel; the ids, and the version, of the mappings of an
    endpoint kind, and those of a word."""
    if key[0] == "held":
        facts = [record for known, record in records.items() if known[0] == "held_fact"]
        waiting = [fact.id for fact in facts if (fact.state, fact.awaits) == ("HELD", key[1])]
        return tuple(sorted(waiting))
    if key[0] == "attempts":
        return tuple(sorted(k[2] for k in records if k[:2] == ("attempt", key[1])))
    if key[0] == "conversions":
        objects = [record for known, record in records.items() if known[:2] == ("object", key[1])]
        return tuple(sorted(each.id for each in objects if item_in(each.number) == key[2]))
    if key[0] == "scans_of":
        return tuple(s for s in scans if (s.carrier_code, s.tracking_number) == key[1:])
    rows = [record for known, record in records.items() if known[0] == "mapping_row"]
    of_kind = [row for row in rows if row.endpoint_kind == key[1]]
    if key[0] == "mapping_words":
        words = [row for row in of_kind if (row.topic, row.canonical) == key[2:]]
        return tuple(sorted(words, key=lambda row: row.id))
    if key[0] == "mapping_version":
        return sum(row.revision for row in of_kind)
    return tuple(sorted(row.id for row in of_kind))
