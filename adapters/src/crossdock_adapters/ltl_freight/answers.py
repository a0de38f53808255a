"""What an answer of the carrier says by the open standard (eBOL 2.1.0), in whichever of its forms.

A bill of lading that was made has a messageStatus: whether it passed, and a code, for which
carriers have numbers of their own. An error is a list of result codes; carriers also write them
into a messageStatus, as numbers, texts ("1400 - Duplicate Pro") or objects. A list may hold nothing
but information and warnings, which refuse nothing. The in-transit visibility standard answers
errors with problem details (RFC 9457).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Final

PASS, WARNING, FAIL = "PASS", "WARNING", "FAIL"
# Result codes of the standard: information and warning are said of what was done, all others of
# what was not, or not wholly.
WARNED: Final = "200"
DONE: Final = frozenset({"100", WARNED})
REFUSING: Final = frozenset(str(hundred) for hundred in range(300, 1_800, 100))
MAX_TOLD: Final = 200
# Of a list with more than so many results nobody reads the rest.
MAX_RESULTS: Final = 50
_LEADING_CODE: Final = re.compile(r"\s*(\d{1,9})\b[\s:.-]*(.*)", re.ASCII | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Said:
    """The verdict (PASS, WARNING, FAIL; "" where none is said), the result codes, those of what was
    done last, and the words for people. standard: it is an answer as the standard knows it."""

    verdict: str = ""
    codes: tuple[str, ...] = ()
    words: str = ""
    standard: bool = False

    @property
    def passed(self) -> bool:
        """Whether the carrier says that it is done, perhaps with a warning."""
        return self.verdict in (PASS, WARNING)

    @property
    def warned(self) -> bool:
        """Whether it is done, and there is something to be said about it."""
        return self.verdict == WARNING

    @property
    def failed(self) -> bool:
        """Whether the carrier says that nothing was done."""
        return self.verdict == FAIL

    def code(self, known: Collection[str]) -> str:
        """The first of its codes that is known, else the first; "" where it has none."""
        return next((each for each in self.codes if each in known), next(iter(self.codes), ""))


def read(body: Any, *, ok: bool = False) -> Said:
    """What the JSON of an answer says; nothing where it is none of the standard's.

    ok: it came under an HTTP status of success, by which a list of codes may be no error.
    """
    if isinstance(body, list):
        codes, words = _results(body)
        return Said(_verdict_of(codes, ok), codes, words, bool(codes))
    if not isinstance(body, dict):
        return Said()
    status = body.get("messageStatus")
    status = status if isinstance(status, dict) else {}
    listed = [
        status,
        *_entries(status.get("information")),
        *_entries(body.get("resultStatusCodes")),
    ]
    codes, words = _results(listed)
    verdict = status.get("status")
    verdict = verdict.strip().upper() if isinstance(verdict, str) else ""
    problem = _words(body.get("title"), body.get("detail"))
    return Said(verdict, codes, words or problem, bool(verdict or codes))


def _verdict_of(codes: Collection[str], ok: bool) -> str:
    """The verdict of a list of codes, which is how the standard says an error.

    None where HTTP says that all is well and every code is the carrier's own: it may be one of
    success, and who takes it for a refusal books or cancels a second time.
    """
    if codes and all(code in DONE for code in codes):
        return WARNING if WARNED in codes else PASS
    if ok and not any(code in REFUSING for code in codes):
        return ""
    return FAIL if codes else ""


def _entries(found: Any) -> list[Any]:
    """A list; what stands there alone as a list of it."""
    if isinstance(found, list):
        return found[:MAX_RESULTS]
    return [] if found is None else [found]


def _results(listed: list[Any]) -> tuple[tuple[str, ...], str]:
    """The codes and the words of result codes; the codes of what was done come last, since what
    refuses, or is remarked on, says more than an "all is well" or a warning beside it."""
    pairs = list(_pairs(listed[:MAX_RESULTS]))
    told_codes = dict.fromkeys(code for code, _ in pairs if code)
    codes = tuple(sorted(told_codes, key=lambda code: code in DONE))
    told = dict.fromkeys(words for _, words in pairs if words)
    return codes, "; ".join(told)[:MAX_TOLD]


def _pairs(listed: list[Any]) -> Iterator[tuple[str, str]]:
    for each in listed:
        if isinstance(each, dict):
            words = _words(each.get("message"), each.get("resolution"), each.get("description"))
            yield _plain(each.get("code")), words
        elif isinstance(each, str):
            found = _LEADING_CODE.match(each)
            yield (found[1], found[2].strip()) if found else ("", each.strip())
        else:
            yield _plain(each), ""


def _plain(code: Any) -> str:
    """A code; some write it as a number."""
    if isinstance(code, bool) or not isinstance(code, (str, int)):
        return ""
    return str(code).strip()


def _words(*parts: Any) -> str:
    return "; ".join(each.strip() for each in parts if isinstance(each, str) and each.strip())
