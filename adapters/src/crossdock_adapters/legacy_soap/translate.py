"""From what the ERP says of a document to an outcome: pure, by the tables of answers and errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from crossdock_adapters.sdk import erp_answers, local_times, xml_layout
from crossdock_adapters.sdk.deployed_files import answer_words
from crossdock_adapters.sdk.erp_answers import Said
from crossdock_adapters.sdk.erp_documents import BOOK, NO_NUMBER, Document, booked
from crossdock_adapters.sdk.error_table import ErrorTable, Word
from crossdock_adapters.sdk.outcomes import Confirmed, FoundRejected, NeedsPerson, NotFound
from crossdock_adapters.sdk.vendor_xml import Element
from crossdock_adapters.sdk.xml_layout import XmlLayout

RESULT_WORDS: Final = frozenset({"done", "waiting", "refused", "person", "absent"})
NOTHING: Final = "the ERP has no document under our reference"
# Meanings that nothing beside them outweighs; None: the status has no row.
_FOR_A_PERSON: Final[Mapping[str | None, str]] = {
    None: "a status of the ERP has no row in answers_file",
    "person": "the ERP has it where a person has to look",
}
# Its message id is known to the ERP: under the same one it would only hear this refusal again.
RESUBMIT: Final = "once that is mended: resubmit it, a retry asks under the same message id"


class NotPosted(NeedsPerson):
    """The ERP's own word that it did not post the document, for a reason that a person mends."""


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
    """The table of answers: a word for each status of a document."""

    results: Mapping[str, str]


def answers_table(text: str, source: str) -> Answers:
    """A checked table. ValueError names every row that has no known word or no source."""
    return Answers(**answer_words(text, source, {"results": RESULT_WORDS}))


def results(layout: XmlLayout, answer: Element, zone: ZoneInfo | None) -> list[Result]:
    """What an answer says of each document that has the reference, oldest first where it tells
    when it received them. zone: of times that have none. Unreadable: path, line and column of what
    is missing or wrong."""
    answer.need(layout.head.element)
    found = [_result(layout, each, zone) for each in answer.all(layout.head.element)]
    moments = [each.received for each in found if each.received]
    if len(moments) == len(found):
        found.sort(key=lambda each: each.received or moments[0])
    return found


def verdict(
    document: Document, event: Any, said: Sequence[Result], answers: Answers, errors: ErrorTable
) -> Confirmed | FoundRejected | NotFound | None:
    """What has become of it, by all documents under its reference; None: the ERP is not done.

    The status decides, never a code: what is posted may have messages. Of several that are posted
    the oldest is the one, and the others are duplicates; it is refused, or not there, only where
    all of them say so. Raises NotPosted for a refusal that is no rejection, and NeedsPerson where
    nobody has said what a status means, or a person has to look: then it may be posted.
    """
    of: dict[str | None, list[Result]] = {}
    for each in said:
        of.setdefault(answers.results.get(each.status), []).append(each)
    for word, why in _FOR_A_PERSON.items():
        if word in of:
            first = of[word][0]
            raise NeedsPerson(
                f"{why}: {first.status!r} {erp_answers.told(first.messages)}".rstrip()
            )
    if "waiting" in of:
        return None
    if "done" in of:
        ends = [_done(document, event, each) for each in of["done"]]
        ours, also = ends[0], [each for end in ends[1:] for each in end.references]
        duplicates = [each for each in dict.fromkeys(also) if each not in ours.references]
        return replace(ours, duplicates=duplicates)
    if "refused" in of and "absent" in of:
        raise NeedsPerson("the ERP says refused and not found in one answer")
    return _refused(of["refused"], errors) if "refused" in of else NotFound(NOTHING)


def _result(layout: XmlLayout, found: Element, zone: ZoneInfo | None) -> Result:
    head: dict[str, Any] = xml_layout.read(layout, found)
    messages = []
    for each in xml_layout.all_of(layout, found, "message"):
        values: dict[str, Any] = xml_layout.read(layout, each, "message")
        messages.append(Said(values["code"] or "", values["text"] or "", values["line"] or ""))
    number = head["number"] or ""
    # Of an hour that comes twice the second, so that nothing is overdue too early.
    received = local_times.moment_in(head["received"] or "", zone)
    # Nothing but zeros, however many, is how a field for a number says that there is none.
    number = number if number.strip("0") else ""
    return Result(head["reference"], head["status"], number, received, messages)


def _done(document: Document, event: Any, said: Result) -> Confirmed:
    told = erp_answers.told(said.messages)
    if document.action == BOOK and not said.number:
        # Some services answer a failure so: a success, and zeros for the number.
        raise NeedsPerson(f"the ERP says posted, and tells no document number: {told}")
    note = told or ("" if said.number else NO_NUMBER)
    return replace(booked(document, event, said.number, note), found_by=said.reference)


def _refused(said: Sequence[Result], errors: ErrorTable) -> FoundRejected:
    messages = [message for each in said for message in each.messages]
    told, codes = erp_answers.told(messages), [each.code for each in messages if each.code]
    words = {errors.row(0, code).word for code in codes}
    if words == {Word.REJECTED}:
        return FoundRejected(codes[0], told)
    raise NotPosted(f"the ERP refused it: {told or 'no code'}; {RESUBMIT}")
