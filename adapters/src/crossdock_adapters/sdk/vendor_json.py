"""JSON as vendors speak it: exact decimals in both directions, never a binary float."""

from __future__ import annotations

import json
import re
import secrets
from datetime import date, datetime
from decimal import Decimal
from typing import Any

MAX_PLAIN_DIGITS = 1_000
# A per-process mark no vendor text can contain by accident or on purpose.
_MARK = f"decimal-{secrets.token_hex(12)}:"
_MARKED = re.compile(f'"{_MARK}([^"]+)"')


def dumps(value: Any) -> bytes:
    """Encode to UTF-8; Decimal becomes a JSON number digit for digit, dates ISO 8601.

    A number too long to write out keeps its exponent: `1E+999999999` is a gigabyte of zeros.
    """
    text = json.dumps(value, default=_encode, ensure_ascii=False, separators=(",", ":"))
    return _MARKED.sub(r"\1", text).encode()


def loads(body: bytes | str) -> Any:
    """Decode; numbers with a fraction become Decimal. Raises ValueError on anything but JSON."""
    return json.loads(body, parse_float=Decimal, parse_constant=_refuse_constant)


def _encode(value: Any) -> str:
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise ValueError("JSON has no NaN or infinity")
        plain = abs(value.adjusted()) <= MAX_PLAIN_DIGITS
        return f"{_MARK}{value:f}" if plain else f"{_MARK}{value}"
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
