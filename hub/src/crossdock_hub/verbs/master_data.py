"""Master data: one decision per entry of an upsert, so that one refused entry refuses no other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from crossdock.contracts import Contract, may_have_null, null_characters

from crossdock_hub.objects import resources, unit_rules
from crossdock_hub.objects.received_units import awaited_conversion
from crossdock_hub.records import UNIT_CONVERSION, item_in
from crossdock_hub.refusals import invalid
from crossdock_hub.unit import Unit
from crossdock_hub.verbs.registering import DECISIONS, Decide, expected


@dataclass(frozen=True, slots=True)
class Upsert:
    """One upsert method. kind: of the object, and the name of the field that holds it."""

    method: str
    kind: str


UPSERTS: Mapping[str, Upsert] = {
    f"/crossdock.{service}": Upsert(f"/crossdock.{service}", kind)
    for service, kind in (
        ("item.v1.ItemService/UpsertItems", "item"),
        ("customer.v1.CustomerService/UpsertCustomers", "customer"),
        ("location.v1.LocationService/UpsertLocations", "location"),
        ("carrier.v1.CarrierService/UpsertCarrierAccounts", "carrier_account"),
        ("unit.v1.UnitService/UpsertUnitConversions", "unit_conversion"),
    )
}


def entries_refused(request: Any, kind: str) -> dict[int, BaseException]:
    """Entries that nothing may be asked about, by their place: a text of theirs has U+0000.

    What else they break is told when they are decided.
    """
    if not may_have_null(request.SerializeToString()):
        return {}
    found = {
        index: null_characters(getattr(entry, kind), f"{kind}.")
        for index, entry in enumerate(request.entries)
    }
    return {index: invalid(violations) for index, violations in found.items() if violations}


def held_decision(contract: Contract, method: str) -> tuple[type[Any], Decide] | None:
    """What a held fact of a method is, and how it is decided; None: nothing decides it.

    Of an upsert each entry is held on its own.
    """
    rule = contract.methods.get(method)
    if rule is None:
        return None
    if method in DECISIONS:
        return contract.generated_class(rule.request_type), DECISIONS[method]
    if method not in UPSERTS:
        return None
    response: Any = contract.generated_class(rule.response_type)
    result = response.DESCRIPTOR.fields_by_name["results"].message_type
    decide = upsert_entry(UPSERTS[method].kind, contract.generated_class(result.full_name))
    return contract.generated_class(rule.write_type), decide


def upsert_entry(kind: str, result_type: type[Any], entries: Iterable[Any] = ()) -> Decide:
    """The decision for one entry; `result_type` is the message of one result.

    entries: of the request that it came with. Each is decided on its own; what has to agree with
    others has to agree with them as they will be.
    """
    if kind == UNIT_CONVERSION:
        return _conversion_entry(result_type, unit_rules.by_item(entries))
    return _entry(kind, result_type)


def _conversion_entry(result_type: type[Any], beside: Mapping[str, Sequence[Any]]) -> Decide:
    """The decision for a unit conversion, which has to agree with those of its item. beside: by
    item, the entries of its request."""
    decide = _entry(UNIT_CONVERSION, result_type)

    def decide_agreeing(unit: Unit, entry: Any) -> Any:
        number = entry.unit_conversion.number
        before = unit.by_number(UNIT_CONVERSION, number)
        result = decide(unit, entry)
        after = unit.by_number(UNIT_CONVERSION, number)
        if after is not None and after is not before:
            known = None if before is None else before.message
            unit_rules.check_agrees(unit, known, after.message, beside)
            unit.satisfy(awaited_conversion(item_in(number)))
        return result

    return decide_agreeing


def _entry(kind: str, result_type: type[Any]) -> Decide:
    def decide(unit: Unit, entry: Any) -> Any:
        record, created, changed = resources.upsert(
            unit,
            kind,
            getattr(entry, kind),
            entry.update_mask.paths,
            entry.references,
            expected(entry),
            prefix=kind,
        )
        return result_type(id=record.id, revision=record.revision, created=created, changed=changed)

    return decide
