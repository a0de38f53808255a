"""Do the objects that a message names exist? Master data by number, everything else by id."""

from __future__ import annotations

import re
from collections.abc import Container, Sequence
from hashlib import sha256

from google.protobuf.message import Message

from crossdock_hub.records import ReferenceRecord
from crossdock_hub.refusals import taken, unknown_reference
from crossdock_hub.unit import Key, NotYet, Refused, Unit


def check_references(
    unit: Unit,
    message: Message,
    prefix: str,
    *,
    fact: bool,
    fields: Container[str] | None = None,
    also: Sequence[Key] = (),
) -> None:
    """Refuse (a command) or hold (a fact) a message that names what does not exist.

    fields: first-level fields to look at; None: all. Every reference is read in one round, and
    with them `also`, what the caller will read next.
    """
    found = [
        reference
        for reference in unit.contract.references(message)
        if fields is None or reference.path.split(".")[0].split("[")[0] in fields
    ]
    keys: list[Key] = [
        (reference.by if reference.by == "number" else "object", reference.kind, reference.value)
        for reference in found
    ]
    unit.require([*keys, *also])
    for reference, key in zip(found, keys, strict=True):
        if unit.get(key) is None:
            refusal = unknown_reference(
                f"{prefix}.{reference.path}", reference.kind, reference.value
            )
            if fact:
                raise NotYet(refusal, f"{reference.kind}:{reference.value}")
            raise Refused(refusal)


def add_references(unit: Unit, kind: str, object_id: str, keys: list[tuple[str, str, str]]) -> bool:
    """Store (system, type, value) keys of an object. Returns True when any of them is new.

    Raises Refused with REFERENCE_TAKEN when a key names another object.
    """
    unit.require(("reference", *key) for key in keys)
    added = False
    for system, type_, value in keys:
        known: ReferenceRecord | None = unit.get(("reference", system, type_, value))
        if known is not None and known.object_id != object_id:
            raise taken(f"{system} {type_}", "reference", value, known.object_id)
        if known is None:
            record = ReferenceRecord(system, type_, value, kind, object_id)
            unit.put(("reference", system, type_, value), record)
            unit.satisfy(f"{type_}:{value}")
            added = True
    return added


def carrier_system(carrier_code: str) -> str:
    """The system of keys that a carrier gives; carriers are no endpoints, and their codes have any
    letters."""
    code = carrier_code.lower()
    system = re.sub(r"[^a-z0-9_.-]", "-", code).lstrip("_.-")
    if system != code:
        # Letters were lost: two carriers must not come to be one.
        system = f"{system or 'carrier'}.{sha256(code.encode()).hexdigest()[:8]}"
    return system
