"""Who sent a callback: FedEx's signature over the raw bytes, and whether they are too old. Pure."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import date, timedelta

from crossdock_adapters.sdk.adapter import same_secret


def is_signed(body: bytes, given: str, token: str) -> bool:
    """Whether `given` is the HMAC-SHA256 of these very bytes, in base64 or in hexadecimal.

    FedEx's documents say both. Compared in constant time, before anything of the body is read.
    """
    digest = hmac.new(token.encode(), body, hashlib.sha256).digest()
    as_base64 = same_secret(given, base64.b64encode(digest).decode())
    as_hexadecimal = same_secret(given.lower(), digest.hex())
    return as_base64 or as_hexadecimal


def is_replayed(newest_day: str, today: date, window_days: int) -> bool:
    """Whether the newest scan is older than FedEx ever sends again; False when no day is known.

    Compared by day, with one to spare: scans are in local time.
    """
    try:
        newest = date.fromisoformat(newest_day)
    except ValueError:
        return False
    return newest < today - timedelta(days=window_days + 1)
