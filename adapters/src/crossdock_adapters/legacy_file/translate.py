"""Between the contract and the ERP's files: pure functions, no clock, no disk.

What orders and goods issues are as documents is the same for every ERP (`sdk.erp_documents`); a
file has a first record besides. What the ERP says about them is an outcome by its table of answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from crossdock_adapters.sdk import erp_answers, layout_files
from crossdock_adapters.sdk.deployed_files import answer_words
from crossdock_adapters.sdk.erp_documents import (
    BOOK,
    KEYS,
    WHOLE_DOCUMENT,
    Document,
    Rules,
    booked,
)
from crossdock_adapters.sdk.layout import Layout
from crossdock_adapters.sdk.layout_files import Row
from crossdock_adapters.sdk.layout_values import Value
from crossdock_adapters.sdk.outcomes import Confirmed, NeedsPerson, Reject, Untranslatable

RECEIPT_WORDS: Final = frozenset({"taken", "held", "again", "person"})
RESULT_WORDS: Final = frozenset({"accepted", "rejected", "along", "known", "person"})


@dataclass(frozen=True, slots=True)
class Said:
    """What the ERP says about one line of a document; line 0 is the document as a whole.

    document, departure: the business key of the document that the ERP speaks of, in its own words.
    given_back: our own record, refused; so it proves nothing of what the ERP has.
    """

    line: int
    status: str
    code: str = ""
    text: str = ""
    erp_document: str = ""
    document: str = ""
    departure: str = ""
    given_back: bool = False


@dataclass(frozen=True, slots=True)
class Answers:
    """The table of answers: a word for each letter and code."""

    receipts: Mapping[str, str]
    results: Mapping[str, str]


def head(sequence: int, created: datetime, rules: Rules) -> Row:
    """The first record of a file; created: UTC, as its name says too."""
    said: dict[str, Value] = {
        "sequence": sequence,
        "created": created.astimezone(UTC).replace(tzinfo=None),
    }
    return Row("head", {**said, "sender": rules.sender, "receiver": rules.receiver})


def refuse_respelled(layout: Layout, rows: Sequence[Row]) -> None:
    """Untranslatable: the file's code page has not all letters of a number or a code, which in
    plain ones may be another's. What is words for people is written in plain letters."""
    found = layout_files.respelled(layout, rows)
    # There a company is a name, and no business unit.
    keys = [each for each in found if each.rpartition(".")[2] in KEYS and each != "ship_to.company"]
    if keys:
        raise Untranslatable(
            f"{', '.join(keys)}: has letters that the code page {layout.encoding} has not, and in "
            "plain ones it may be another's"
        )


def answers_table(text: str, source: str) -> Answers:
    """A checked table. ValueError names every row that has no known word or no source."""
    tables = {"receipts": RECEIPT_WORDS, "results": RESULT_WORDS}
    return Answers(**answer_words(text, source, tables))


def verdict(
    document: Document, event: Any, said: Sequence[Said], answers: Answers
) -> Confirmed | None:
    """What the ERP's words about a document come to; None: it has not said enough yet.

    Raises Reject when it refused the whole, NeedsPerson when it did a part, contradicts itself, or
    says something that the table does not know.
    """
    words: dict[int, set[str]] = {}
    for each in said:
        words.setdefault(each.line, set()).add(_word(each, answers))
    lines = document.lines(event)
    if "person" in {word for found in words.values() for word in found}:
        raise NeedsPerson(f"the ERP cannot go on: {_told(said)}")
    if not _is_ours(document, event, said, answers):
        return None
    settled = {line: _settled(line, found, said) for line, found in words.items()}
    whole = settled.pop(WHOLE_DOCUMENT, None)
    if whole is not None:
        settled = {**dict.fromkeys(lines, whole), **settled}
    if not lines <= set(settled):
        return None
    refused = sorted(line for line, accepted in settled.items() if not accepted)
    if not refused:
        return _confirmed(document, event, said)
    if len(refused) == len(settled):
        own = [each for each in said if _word(each, answers) == "rejected"] or list(said)
        first = next((each for each in own if each.code), own[0])
        raise Reject(first.code or first.status, _told([*own, *said]))
    numbers = ", ".join(map(str, refused))
    raise NeedsPerson(
        f"the ERP posted the document ({_number(said) or 'number unknown'}) without lines "
        f"{numbers}: {_told(said)}"
    )


def _is_ours(document: Document, event: Any, said: Sequence[Said], answers: Answers) -> bool:
    """Whether what the ERP calls known is the document of this delivery; False: not said yet.

    A key that it cut, or that somebody else used, would lose a document in silence.
    """
    known = [each for each in said if _word(each, answers) == "known"]
    results = [each for each in known if not each.given_back]
    if document.action == BOOK and all(
        (each.document, each.departure) == document.key(event) for each in results
    ):
        return bool(results) or not known
    if not known:
        return True
    raise NeedsPerson(
        "the ERP has a document already, and does not say that it is this one "
        f"({_number(said) or 'number unknown'}): {_told(said)}"
    )


def _word(said: Said, answers: Answers) -> str:
    """By its code where the table has it, else by its letter; what it has neither of is raised."""
    word = answers.results.get(said.code) or answers.results.get(said.status)
    if word is None:
        raise NeedsPerson(
            f"the ERP's status {said.status!r}, code {said.code!r} is not in the table of answers"
        )
    return word


def _settled(line: int, words: set[str], said: Sequence[Said]) -> bool:
    """Whether a line is posted: a repeated answer says the same, and what is known is posted."""
    posted, refused = words & {"accepted", "known"}, words & {"rejected", "along"}
    if posted and refused:
        raise NeedsPerson(f"the ERP accepted line {line} and refused it: {_told(said)}")
    return bool(posted)


def _confirmed(document: Document, event: Any, said: Sequence[Said]) -> Confirmed:
    warnings = [each for each in said if each.code or each.text]
    return booked(document, event, _number(said), _told(warnings) if warnings else "")


def _number(said: Iterable[Said]) -> str:
    return next((each.erp_document for each in said if each.erp_document), "")


def _told(said: Sequence[Said]) -> str:
    """The ERP's own words; what has no code has its letter."""
    return erp_answers.told(
        erp_answers.Said(each.code or each.status, each.text, str(each.line)) for each in said
    )
