"""From what the ERP's tables say to an outcome or a fact: pure, by the layout and the answers."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from crossdock.client import request_id
from crossdock.item.v1 import item_pb2, item_service_pb2
from crossdock.order.v1 import order_service_pb2
from crossdock.types.v1 import types_pb2
from google.protobuf.message import Message

from crossdock_adapters.sdk.erp_documents import BOOK, Document
from crossdock_adapters.sdk.outcomes import Confirmed, FoundRejected, NeedsPerson, Reference
from crossdock_adapters.sdk.places import Unreadable
from crossdock_adapters.sdk.table_layout import Found, Place, Said, TableLayout

ERROR_WORDS: Final = frozenset({"rejected", "person"})
ITEM_STATUSES: Final = {
    name.removeprefix("ITEM_STATUS_"): number
    for name, number in item_pb2.ItemStatus.items()
    if number
}
ANY_CODE: Final = "*"
MAX_SAID: Final = 5


@dataclass(frozen=True, slots=True)
class Answers:
    """The table of answers: a word for each error code, and for each status of an item."""

    errors: Mapping[str, str]
    statuses: Mapping[str, str]


def answers_table(text: str, source: str) -> Answers:
    """A checked table. ValueError names every row that has no known word or no source."""
    data = tomllib.loads(text)
    problems = []
    found: dict[str, dict[str, str]] = {}
    for table, words in (("errors", ERROR_WORDS), ("statuses", frozenset(ITEM_STATUSES))):
        rows = data.get(table, {})
        problems += [
            f"{table}.{code} needs meaning, source, and a word of {', '.join(sorted(words))}"
            for code, row in rows.items()
            if row.get("word") not in words or not row.get("source") or not row.get("meaning")
        ]
        found[table] = {code: str(row.get("word")) for code, row in rows.items()}
    if problems:
        raise ValueError(f"{source}: " + "; ".join(problems))
    return Answers(found["errors"], found["statuses"])


def verdict(
    layout: TableLayout, document: Document, event: Any, found: Found, answers: Answers
) -> Confirmed | FoundRejected | None:
    """What a document has come to; None: the ERP is not done with it.

    The status alone decides: an error code may be left from before somebody mended the row. Raises
    NeedsPerson for a status or a code that nobody has said the meaning of.
    """
    if found.place is Place.LEDGER:
        return None
    if found.place is Place.BOOKS:
        return _confirmed(document, event, found)
    word = layout.status.words.get(found.status)
    told = _told(found.errors)
    if word is None or word == "person":
        said = f"the status {found.status!r} of the ERP"
        why = "has no row in the layout" if word is None else "is one for a person"
        raise NeedsPerson(f"{said} {why}{': ' if told else ''}{told}")
    if word == "done":
        return _confirmed(document, event, found)
    if word != "refused":
        return None
    code = next((each.code for each in found.errors if each.code), "")
    meanings = {_meaning(each.code, answers) for each in found.errors if each.code}
    meanings = meanings or {_meaning("", answers)}
    if meanings != {"rejected"}:
        raise NeedsPerson(f"the ERP refused it, and that is for a person: {told or 'no reason'}")
    return FoundRejected(code or found.status, told)


def _meaning(code: str, answers: Answers) -> str:
    return answers.errors.get(code) or answers.errors.get(ANY_CODE) or "person"


def _confirmed(document: Document, event: Any, found: Found) -> Confirmed:
    facts: list[Message] = []
    if document.action == BOOK and document.kind == "sales_order" and found.number:
        fact = order_service_pb2.UpdateOrderRequest()
        fact.order.id, fact.order.sales_document = event.order.id, found.number
        fact.update_mask.paths.append("sales_document")
        facts.append(fact)
    references = [Reference(document.kind, found.number)] if found.number else []
    note = "" if found.number else "the ERP told no document number"
    return Confirmed(references, facts, note)


def _told(said: Sequence[Said]) -> str:
    """The ERP's own words, each once, the first few."""
    once = dict.fromkeys(
        f"{f'line {each.line}: ' if each.line not in ('', '0') else ''}{each.code} {each.text}"
        for each in said
    )
    more = f" and {len(once) - MAX_SAID} more" if len(once) > MAX_SAID else ""
    return "; ".join(each.strip() for each in list(once)[:MAX_SAID]) + more


def item_entry(
    values: Mapping[str, Any], endpoint: str, answers: Answers, units: Mapping[str, str]
) -> item_service_pb2.ItemEntry:
    """A row of the items' table as a fact. units: the ERP's own codes to the contract's.

    Unreadable names the value that has no row, and what to do.
    """
    item = item_pb2.Item(number=values["number"], description=values["description"] or "")
    code = values["status"]
    if code not in answers.statuses:
        raise Unreadable(f"{code!r} has no row in answers_file, [statuses]", "status")
    item.status = ITEM_STATUSES[answers.statuses[code]]
    item.status_code = code
    item.base_unit = _unit(values["unit"], units, "unit")
    paths = ["description", "base_unit", "status", "status_code"]
    weight: Decimal | None = values["weight"]
    if weight is not None:
        unit = _unit(values["weight_unit"] or "", units, "weight_unit")
        item.weight.CopyFrom(types_pb2.Quantity(value=f"{weight:f}", unit=unit))
        paths.append("weight")
    entry = item_service_pb2.ItemEntry(item=item)
    entry.update_mask.paths.extend(paths)
    reference = types_pb2.ExternalReference(system=endpoint, type="item", value=item.number)
    entry.references.append(reference)
    # The same change read twice is one; a better translation of it is another.
    content = hashlib.sha256(entry.SerializeToString(deterministic=True)).hexdigest()
    version = f"{values['change']} {content}"
    entry.request_id = request_id(endpoint, f"item/{item.number}", version)
    return entry


def _unit(code: str, units: Mapping[str, str], place: str) -> str:
    if code not in units:
        raise Unreadable(f"unit {code!r} of the ERP has no row in the setting units", place)
    return units[code]
