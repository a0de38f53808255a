"""From what the ERP's tables say to an outcome: pure, by the layout and the table of answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from crossdock_adapters.sdk import erp_answers
from crossdock_adapters.sdk.deployed_files import answer_words
from crossdock_adapters.sdk.erp_documents import NO_NUMBER, Document, booked
from crossdock_adapters.sdk.outcomes import Confirmed, FoundRejected, NeedsPerson
from crossdock_adapters.sdk.table_layout import Found, Place, TableLayout

ERROR_WORDS: Final = frozenset({"rejected", "person"})
ANY_CODE: Final = "*"


@dataclass(frozen=True, slots=True)
class Answers:
    """The table of answers: a word for each error code."""

    errors: Mapping[str, str]


def answers_table(text: str, source: str) -> Answers:
    """A checked table. ValueError names every row that has no known word or no source."""
    return Answers(**answer_words(text, source, {"errors": ERROR_WORDS}))


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
    told = erp_answers.told(found.errors)
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
    return booked(document, event, found.number, "" if found.number else NO_NUMBER)
