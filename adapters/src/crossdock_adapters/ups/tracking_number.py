"""The 1Z tracking number: building one, checking one, finding out whose account it carries.

A 1Z number is `1Z`, six characters of the shipper's account, two of the service, seven digits of
a serial and one check digit. The check digit counts letters as (position in ASCII - 63) mod 10,
adds every second character twice, and completes the sum to a multiple of ten (vendor's published
rule, confidence high).
"""

from __future__ import annotations

import re

PREFIX = "1Z"
ACCOUNT_LENGTH = 6
SERIAL_DIGITS = 7
_SHAPE = re.compile(r"1Z[0-9A-Z]{6}[0-9A-Z]{2}[0-9]{7}[0-9]")


def build(account: str, service: str, serial: int) -> str:
    """The 1Z number of one parcel; raises ValueError when a part does not fit its place."""
    if not 0 <= serial < 10**SERIAL_DIGITS:
        raise ValueError(f"serial {serial} needs more than {SERIAL_DIGITS} digits")
    body = f"{account.upper()}{service.upper()}{serial:0{SERIAL_DIGITS}d}"
    number = f"{PREFIX}{body}{check_digit(body)}"
    if not _SHAPE.fullmatch(number):
        raise ValueError(f"account {account!r} or service {service!r} does not fit a 1Z number")
    return number


def is_valid(number: str) -> bool:
    """Whether `number` has the shape of a 1Z number and the right check digit."""
    return bool(_SHAPE.fullmatch(number)) and check_digit(number[2:-1]) == int(number[-1])


def shipper_account(number: str) -> str:
    """The six characters of the account that bought the label."""
    if not is_valid(number):
        raise ValueError(f"{number!r} is no valid 1Z number")
    return number[2 : 2 + ACCOUNT_LENGTH]


def check_digit(body: str) -> int:
    """The check digit of the fifteen characters between `1Z` and the last digit."""
    values = [_value(character) for character in body]
    total = sum(values[0::2]) + 2 * sum(values[1::2])
    return -total % 10


def _value(character: str) -> int:
    if "0" <= character <= "9":
        return int(character)
    if "A" <= character <= "Z":
        return (ord(character) - 63) % 10
    raise ValueError(f"{character!r} cannot stand in a 1Z number")
