"""One field of a flat file: from its column to an exact value and back. Pure.

A value is text, a whole number, a Decimal, a date or a datetime; None means that the field is
blank, which is neither zero nor an empty day. Packed decimals (COMP-3) are the only type that is
not text: they have functions of their own.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow
from typing import Final, TypeAlias

Value: TypeAlias = str | int | Decimal | date | datetime | None

TYPES: Final = frozenset({"text", "integer", "decimal", "packed", "date", "datetime"})
NUMBERS: Final = frozenset({"integer", "decimal", "packed"})
SIGNS: Final = frozenset({"none", "leading", "trailing", "overpunch"})
CENTURY_DAY: Final = "cyyddd"
DATE_FORMATS: Final[Mapping[str, str]] = {
    "yyyymmdd": "%Y%m%d",
    "ddmmyyyy": "%d%m%Y",
    "yyyy-mm-dd": "%Y-%m-%d",
    CENTURY_DAY: "",
}
DATETIME_FORMATS: Final[Mapping[str, str]] = {
    "yyyymmddhhmm": "%Y%m%d%H%M",
    "yyyymmddhhmmss": "%Y%m%d%H%M%S",
    "yyyy-mm-ddThh:mm:ss": "%Y-%m-%dT%H:%M:%S",
}
FORMATS: Final = {"date": DATE_FORMATS, "datetime": DATETIME_FORMATS}
MAX_DIGITS: Final = 31
# A number of so many digits and decimals, 100,000 times. What does not fit is raised, never
# rounded; the default of the language rounds behind 28 digits.
EXACT: Final = Context(
    prec=MAX_DIGITS + 32, traps=[Inexact, InvalidOperation, DivisionByZero, Overflow]
)
# The last digit of an overpunched number carries the sign (COBOL: SIGN TRAILING, not SEPARATE).
POSITIVE_PUNCH: Final = "{ABCDEFGHI"
NEGATIVE_PUNCH: Final = "}JKLMNOPQR"
PACKED_PLUS: Final = frozenset({0xA, 0xC, 0xE, 0xF})
PACKED_MINUS: Final = frozenset({0xB, 0xD})
# JD Edwards counts centuries from 1900: 126001 is the first day of 2026.
CENTURY_BEGIN: Final = 1900
# Letters with a stroke, which Unicode does not take apart, and their plain ones.
UNDIVIDED: Final[Mapping[str, str]] = dict(zip("ŁłĐđĦħŦŧØøı", "LlDdHhTtOoi", strict=True))
_DIGITS: Final = re.compile(r"[0-9]+")
_POINTED: Final = re.compile(r"([0-9]+)(?:\.([0-9]+))?")


class FieldProblem(ValueError):
    """A value does not fit its field; the text says which rule, and never repeats the value."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field, as the layout declares it.

    start: first column, from 1; length: bytes; both 0 in CSV, where length may limit a text.
    decimals: digits behind the point. implied: the point is not written. sign: where a minus
    stands. blank: may be without a value. nothing: other texts that mean "no value". cut: a text
    that is too long is cut instead of refused. literal: the only value that it may have. total:
    what the writer computes and the reader compares, for example sum:line.quantity.
    """

    name: str
    type: str = "text"
    start: int = 0
    length: int = 0
    decimals: int = 0
    implied: bool = False
    sign: str = "none"
    format: str = ""
    blank: bool = False
    nothing: tuple[str, ...] = ()
    cut: bool = False
    literal: str = ""
    total: str = ""

    @property
    def end(self) -> int:
        """The last column."""
        return self.start + self.length - 1


def to_text(field: Field, value: Value, decimal_mark: str = ".") -> str:
    """The field's text, numbers filled with zeros where it has a length. FieldProblem."""
    if field.literal:
        if value not in (None, field.literal):
            raise FieldProblem("has one value only, which the layout names")
        return field.literal
    if value is None or value == "":
        if not field.blank:
            raise FieldProblem("must have a value")
        return field.nothing[0] if field.nothing else ""
    match field.type:
        case "text" if isinstance(value, str):
            text = _text(field, value)
        case "integer" if isinstance(value, int) and not isinstance(value, bool):
            text = _number(field, value, decimal_mark)
        case "decimal" if isinstance(value, (Decimal, int)) and not isinstance(value, bool):
            text = _number(field, unscaled(field, value), decimal_mark)
        case "date" if isinstance(value, date) and not isinstance(value, datetime):
            text = _day(field, value)
        case "datetime" if isinstance(value, datetime):
            text = value.strftime(DATETIME_FORMATS[field.format])
        case _:
            raise FieldProblem(f"must be of type {field.type}")
    if text in field.nothing:
        raise FieldProblem("has a value that this field writes for no value")
    return text


def from_text(field: Field, text: str, decimal_mark: str = ".") -> Value:
    """The value behind a text that was freed of its padding. FieldProblem."""
    if field.literal:
        if text != field.literal:
            raise FieldProblem("must have the value that the layout names")
        return field.literal
    if text == "" or text in field.nothing:
        if not field.blank:
            raise FieldProblem("must not be blank")
        return None
    match field.type:
        case "integer":
            return _read_number(field, text, decimal_mark)
        case "decimal":
            return _scaled(_read_number(field, text, decimal_mark), field.decimals)
        case "date":
            return _read_day(field, text)
        case "datetime":
            return _read_moment(text, DATETIME_FORMATS[field.format], field.format)
    return text


def unscaled(field: Field, value: Decimal | int) -> int:
    """A number as a whole one of its last decimal. FieldProblem where that would round it."""
    if isinstance(value, Decimal) and not value.is_finite():
        raise FieldProblem("must be a finite number")
    sign, digits, exponent = Decimal(value).as_tuple()
    shift = int(exponent) + field.decimals
    whole = int("".join(map(str, digits)) or "0")
    if shift > MAX_DIGITS:
        raise FieldProblem(f"may have {MAX_DIGITS} digits at most")
    scale: int = 10 ** abs(shift)
    if shift < 0:
        whole, rest = divmod(whole, scale)
        if rest:
            raise FieldProblem(f"may have {field.decimals} decimals at most: round it, and say how")
    else:
        whole *= scale
    return -whole if sign else whole


def to_packed(field: Field, value: Value) -> bytes:
    """A packed decimal: two digits a byte, the sign in the last half byte. FieldProblem."""
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
        raise FieldProblem("must be a number: packed fields have no blank")
    whole = unscaled(field, value)
    digits = f"{abs(whole):0{field.length * 2 - 1}d}"
    if len(digits) > field.length * 2 - 1:
        raise FieldProblem(f"may have {field.length * 2 - 1} digits at most")
    if whole < 0 and field.sign == "none":
        raise FieldProblem("must not be negative")
    sign = "d" if whole < 0 else ("f" if field.sign == "none" else "c")
    return bytes.fromhex(digits + sign)


def from_packed(field: Field, raw: bytes) -> Decimal:
    """The number in a packed field. FieldProblem."""
    digits, sign = raw.hex()[:-1], raw[-1] & 0xF
    if not _DIGITS.fullmatch(digits) or sign not in PACKED_PLUS | PACKED_MINUS:
        raise FieldProblem("must be a packed decimal: digits, then a half byte of sign")
    if sign in PACKED_MINUS and field.sign == "none":
        raise FieldProblem("must not be negative")
    whole = -int(digits) if sign in PACKED_MINUS else int(digits)
    return _scaled(whole, field.decimals)


def _scaled(whole: int, decimals: int) -> Decimal:
    return Decimal(whole).scaleb(-decimals, EXACT)


def fitted(text: str, encoding: str) -> str:
    """A text in the letters of a code page: accents are dropped where it has none for them.

    FieldProblem where something is left that the code page cannot say.
    """
    if _is_sayable(text, encoding):
        return text
    plain = "".join(
        letter if _is_sayable(letter, encoding) else _without_marks(letter) for letter in text
    )
    if not _is_sayable(plain, encoding):
        raise FieldProblem(f"has letters that the code page {encoding} has not")
    return plain


def _is_sayable(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def _without_marks(letter: str) -> str:
    apart = unicodedata.normalize("NFKD", UNDIVIDED.get(letter, letter))
    return "".join(part for part in apart if not unicodedata.combining(part)) or letter


def _text(field: Field, value: str) -> str:
    if field.length and len(value) > field.length:
        if not field.cut:
            raise FieldProblem(f"may have {field.length} characters at most")
        value = value[: field.length].rstrip(" ")
    if value != value.strip(" "):
        # A reader cannot tell it from padding, so it would come back as something else.
        raise FieldProblem("must not begin or end with a space")
    return value


def _number(field: Field, whole: int, decimal_mark: str) -> str:
    if whole < 0 and field.sign == "none":
        raise FieldProblem("must not be negative")
    room = field.length - (field.sign in ("leading", "trailing")) if field.length else 0
    text = str(abs(whole)).zfill(field.decimals + 1)
    if field.decimals and not field.implied:
        text = f"{text[: -field.decimals]}{decimal_mark}{text[-field.decimals :]}"
    if room and len(text) > room:
        raise FieldProblem(f"has more digits than its {room} columns")
    text = text.zfill(room)
    match field.sign:
        case "leading":
            plus = "+" if field.length else ""
            return f"{'-' if whole < 0 else plus}{text}"
        case "trailing":
            return f"{text}{'-' if whole < 0 else '+'}"
        case "overpunch":
            punch = NEGATIVE_PUNCH if whole < 0 else POSITIVE_PUNCH
            return f"{text[:-1]}{punch[int(text[-1])]}"
    return text


def _read_number(field: Field, text: str, decimal_mark: str) -> int:
    minus, text = _without_sign(field, text)
    if field.decimals and not field.implied:
        # A point that is not the mark may be somebody's sign of thousands.
        plain = decimal_mark != "." and "." in text
        found = None if plain else _POINTED.fullmatch(text.replace(decimal_mark, ".", 1))
        if found is None or len(found[2] or "") > field.decimals:
            raise FieldProblem(f"must be a number with {field.decimals} decimals at most")
        text = found[1] + (found[2] or "").ljust(field.decimals, "0")
    if not _DIGITS.fullmatch(text) or len(text) > MAX_DIGITS + field.decimals:
        raise FieldProblem("must be digits only")
    return -int(text) if minus else int(text)


def _without_sign(field: Field, text: str) -> tuple[bool, str]:
    """(whether it is negative, the digits)"""
    last = text[-1]
    if field.sign == "overpunch":
        for minus, punch in ((False, POSITIVE_PUNCH), (True, NEGATIVE_PUNCH)):
            if last in punch:
                return minus, text[:-1] + str(punch.index(last))
        # Unsigned digits are positive: some writers leave the punch out.
        return False, text
    if field.sign == "leading" and text[0] in "+- ":
        return text[0] == "-", text[1:]
    if field.sign == "trailing" and last in "+- ":
        return last == "-", text[:-1]
    return False, text


def _day(field: Field, day: date) -> str:
    if field.format != CENTURY_DAY:
        return day.strftime(DATE_FORMATS[field.format])
    century, year = divmod(day.year - CENTURY_BEGIN, 100)
    if not 0 <= century <= 9:
        raise FieldProblem("must be a day between 1900 and 2899")
    return f"{century}{year:02d}{day.timetuple().tm_yday:03d}"


def _read_day(field: Field, text: str) -> date:
    if field.format != CENTURY_DAY:
        return _read_moment(text, DATE_FORMATS[field.format], field.format).date()
    if len(text) != len(CENTURY_DAY) or not _DIGITS.fullmatch(text):
        raise FieldProblem("must be a day as CYYDDD")
    year = CENTURY_BEGIN + int(text[:3])
    day = date(year, 1, 1) + timedelta(days=int(text[3:]) - 1)
    if int(text[3:]) == 0 or day.year != year:
        raise FieldProblem("must be a day as CYYDDD")
    return day


def _read_moment(text: str, pattern: str, name: str) -> datetime:
    try:
        moment = datetime.strptime(text, pattern)
    except ValueError:
        raise FieldProblem(f"must be written as {name}") from None
    if moment.strftime(pattern) != text:
        # strptime also takes blanks and missing zeros.
        raise FieldProblem(f"must be written as {name}")
    return moment
