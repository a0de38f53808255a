"""From what the ERP says of a document to an outcome: pure, by the tables of answers and errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from crossdock_adapters.sdk import xml_layout
from crossdock_adapters.sdk.deployed_files import answer_words
from crossdock_adapters.sdk.erp_documents import BOOK, NO_NUMBER, Document, booked
from crossdock_adapters.sdk.erp_items import ITEM_STATUSES
from crossdock_adapters.sdk.error_table import ErrorTable, Word
from crossdock_adapters.sdk.outcomes import Confirmed, FoundRejected, NeedsPerson, NotFound
from crossdock_adapters.sdk.vendor_xml import Element
from crossdock_adapters.sdk.xml_layout import XmlLayout

RESULT_WORDS: Final = frozenset({"done", "waiting", "refused", "person", "absent"})
MAX_SAID: Final = 5
# Its message id is known to the ERP: under the same one it would only hear this refusal again.
RESUBMIT: Final = "once that is mended: resubmit it, a retry asks under the same message id"


class NotPosted(NeedsPerson):
    """The ERP's own word that it did not post the document, for a reason that a person mends."""


@dataclass(frozen=True, slots=True)
class Said:
    """One message of the ERP's. line: "" is the document as a whole."""

    code: str
    text: str = ""
    line: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """What the ERP says of a document. received: when it took it; None: it does not say."""

    reference: str
    status: str
    number: str = ""
    received: datetime | None = None
    messages: Sequence[Said] = ()


@dataclass(frozen=True, slots=True)
class Answers:
    """The table of answers: a word for each status of a document, and of an item."""

    results: Mapping[str, str]
    statuses: Mapping[str, str]


def answers_table(text: str, source: str) -> Answers:
    """A checked table. ValueError names every row that has no known word or no source."""
    tables = {"results": RESULT_WORDS, "statuses": frozenset(ITEM_STATUSES)}
    return Answers(**answer_words(text, source, tables))


def result(layout: XmlLayout, answer: Element) -> Result:
    """What an answer says. Unreadable: path, line and column of what is missing or wrong."""
    found = answer.need(layout.head.element)
    head: dict[str, Any] = xml_layout.read(layout, found)
    messages = []
    for each in xml_layout.all_of(layout, found, "message"):
        values: dict[str, Any] = xml_layout.read(layout, each, "message")
        messages.append(Said(values["code"] or "", values["text"] or "", values["line"] or ""))
    number, received = head["number"] or "", _moment(head["received"] or "")
    return Result(head["reference"], head["status"], number, received, messages)


def verdict(
    document: Document, event: Any, said: Result, answers: Answers, errors: ErrorTable
) -> Confirmed | FoundRejected | NotFound | None:
    """What a document has come to; None: the ERP is not done with it.

    The status decides, never a code: what is posted may have messages. Raises NotPosted for a
    refusal that is no rejection, and NeedsPerson where nobody has said what a status means, or a
    person has to look: then the document may be posted.
    """
    told = _told(said.messages)
    match answers.results.get(said.status):
        case "waiting":
            return None
        case "absent":
            return NotFound("the ERP has no document under our reference")
        case "done" if said.number or document.action != BOOK:
            note = told or ("" if said.number else NO_NUMBER)
            return replace(booked(document, event, said.number, note), found_by=said.reference)
        case "done":
            # Some services answer a failure so: a success, and zeros for the number.
            raise NeedsPerson(f"the ERP says posted, and tells no document number: {told}")
        case "refused":
            codes = [each.code for each in said.messages if each.code]
            words = {errors.row(0, code).word for code in codes}
            if words == {Word.REJECTED}:
                return FoundRejected(codes[0], told)
            raise NotPosted(f"the ERP refused it: {told or 'no code'}; {RESUBMIT}")
        case "person":
            raise NeedsPerson(f"the ERP has it where a person has to look: {said.status} {told}")
    raise NeedsPerson(f"the status {said.status!r} of the ERP has no row in answers_file: {told}")


def _told(messages: Sequence[Said]) -> str:
    """The ERP's own words, each once, the first few."""
    once = dict.fromkeys(
        f"{f'line {each.line}: ' if each.line else ''}{each.code} {each.text}".strip()
        for each in messages
    )
    more = f" and {len(once) - MAX_SAID} more" if len(once) > MAX_SAID else ""
    return "; ".join(list(once)[:MAX_SAID]) + more


def _moment(text: str) -> datetime | None:
    """A time of the ERP's, in UTC; one without its zone is nobody's moment."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found.astimezone(UTC) if found.tzinfo is not None else None
