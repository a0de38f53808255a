"""What nobody may read in an excerpt: sensitive values in every form a vendor may write them in.

    mask = Mask(["Renée Thériault", "7 Alder Street"])
    mask.over("<name>RENEE THERIAULT</name>")       # <name>***</name>

A value is found whatever its case, with or without its accents, escaped as JSON or XML does it,
spread over several elements or lines, and, when it is long, cut off as carriers cut it.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache

HIDDEN = "***"
# Shorter values would mask half a document; a phone number has at least seven digits.
MIN_HIDDEN_CHARACTERS = 3
MIN_HIDDEN_DIGITS = 7
# A telephone without the code of its country, where it has as many digits as America's.
NATIONAL_DIGITS = 10
# So short a value may be part of another word: only as a word of its own is it masked in any case.
SHORT_CHARACTERS = 5
# A value this long may come back with its end cut off; what stands in its place is masked too.
MIN_CUT_CHARACTERS = 24
CUT_AFTER_CHARACTERS = 20
KEPT_PATTERNS = 512
KEPT_PIECES = 4_096
# What may stand between two digits of a telephone number.
_SIGNS = r"[\s().+/-]{0,3}"
# What may stand between two words of a value: a line may have been wrapped into two elements.
_BETWEEN = r'(?:\s|\\[nrt]|[",\[\]]|<[^<>]{0,200}>|&#(?:10|13|9|x[ad9]);){1,16}'
_PLAIN = re.compile(r"[a-z0-9]{2,}", re.ASCII)
_OTHER_THAN_DIGITS = bytes(each for each in range(128) if not chr(each).isdigit())
_NAMES = {"&": "amp", "<": "lt", ">": "gt", '"': "quot", "'": "apos"}


class Mask:
    """The values of one attempt that no excerpt of it shows."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        forms = {form for value in values for form in _forms(value)}
        # The longest first: a name may be part of an address line.
        longest_first = sorted(forms, key=len, reverse=True)
        self._forms = tuple((form, _anchor(form), _is_number(form)) for form in longest_first)

    def over(self, text: str) -> str:
        """The text without the values."""
        lowered, digits = text.lower(), _digits(text)
        for form, anchor, is_number in self._forms:
            # Patterns are slow to make, and hardly any is needed.
            if form not in digits if is_number else anchor not in lowered:
                continue
            if form in text:
                # As it was written by ourselves: what is masked is seldom there in two spellings.
                text = text.replace(form, HIDDEN)
                lowered, digits = text.lower(), _digits(text)
                if form not in digits if is_number else anchor not in lowered:
                    continue
            text = _pattern(form).sub(HIDDEN, text)
        return text


def _forms(value: str) -> Iterator[str]:
    """The value, and a telephone number as digits alone, with and without its country."""
    if len(value) < MIN_HIDDEN_CHARACTERS:
        return
    yield value
    digits = _digits(value)
    if len(digits) >= MIN_HIDDEN_DIGITS:
        yield digits
        yield digits[-NATIONAL_DIGITS:]


def _digits(text: str) -> str:
    if text.isascii():
        return text.encode().translate(None, _OTHER_THAN_DIGITS).decode()
    return "".join(filter(str.isdigit, text))


@lru_cache(KEPT_PIECES)
def _anchor(form: str) -> str:
    """The longest run of plain letters at the value's beginning: without it the value is not there.

    "" is in every text.
    """
    return max(_PLAIN.findall(form[:CUT_AFTER_CHARACTERS].lower()), key=len, default="")


@lru_cache(KEPT_PATTERNS)
def _pattern(form: str) -> re.Pattern[str]:
    if _is_number(form):
        return re.compile(_SIGNS.join(form))
    whole = _words(form)
    ways = [whole]
    if len(form) >= MIN_CUT_CHARACTERS:
        ways.append(f'{_words(form[:CUT_AFTER_CHARACTERS])}[^<>"\\n]{{0,{len(form)}}}')
    if len(form) < SHORT_CHARACTERS:
        ways = [rf"(?<!\w){whole}(?!\w)", f"(?-i:{re.escape(form)})"]
    return re.compile("|".join(ways), re.IGNORECASE)


def _is_number(form: str) -> bool:
    return form.isdigit() and len(form) >= MIN_HIDDEN_DIGITS


def _words(form: str) -> str:
    words = form.split()
    if not words:
        return re.escape(form)
    return _BETWEEN.join("".join(map(_character, word)) for word in words)


@lru_cache(KEPT_PIECES)
def _character(character: str) -> str:
    """One character in every form: plain, JSON, XML by name and number, without its accent."""
    if character.isascii() and character.isalnum():
        return character
    apart = unicodedata.normalize("NFD", character)
    ways = {character, apart, json.dumps(character)[1:-1]}
    if apart[0].isascii() and apart[0].isalnum():
        ways.add(apart[0])
    for shown in {character, character.upper(), character.lower()}:
        ways.update(f"&#{each};" for number in map(ord, shown) for each in _numbers(number))
    ways.update(rf"\u{ord(each):04x}" for each in character if ord(each) <= 0xFFFF)
    if character in _NAMES:
        ways.add(f"&{_NAMES[character]};")
    return "(?:" + "|".join(map(re.escape, sorted(ways, key=len, reverse=True))) + ")"


def _numbers(number: int) -> tuple[str, str]:
    return str(number), f"x{number:x}"
