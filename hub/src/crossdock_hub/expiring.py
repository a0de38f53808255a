"""When that by which a hub proves who it is ends: its certificate, and its credentials at NATS.

From the moment on nobody can call, or nothing goes out, and nothing of it is wrong before.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import structlog
from prometheus_client.core import GaugeMetricFamily

from crossdock_hub.config import Limits, Settings

CERTIFICATE: Final = "CROSSDOCK_TLS_CERTIFICATE_FILE"
CREDENTIALS: Final = "CROSSDOCK_NATS_CREDENTIALS_FILE"
LOOK_AGAIN: Final = timedelta(hours=1)
SAY_AGAIN: Final = timedelta(days=1)
# What is to be done, and whether a start of the hub belongs to it: it reads its certificate once,
# and its credentials with each connection.
_TO_DO: Final = {
    CERTIFICATE: "renew it and restart the hub: after that nobody can call it",
    CREDENTIALS: "renew it: after that nothing goes out, and the hub ends",
}
_PEM: Final = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_JWT: Final = re.compile(rb"-----BEGIN NATS USER JWT-----\s+\S+\.(\S+)\.\S+\s+-+END", re.DOTALL)
_SEQUENCE, _VERSION, _TWO_DIGIT_YEAR = 0x30, 0xA0, 0x17
_LONG: Final = 0x80
_CENTURY_CHANGES: Final = 50

log = structlog.get_logger("crossdock.expiring")


@dataclass(frozen=True, slots=True)
class Expiry:
    """When what a setting names ends. soon: within `certificate_warn_days`; over: it has ended."""

    setting: str
    at: datetime
    soon: bool
    over: bool


class Expiries:
    """Those of one hub. clock: the time of day, by which others judge too."""

    def __init__(
        self,
        settings: Settings,
        limits: Limits,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._warns = timedelta(days=min(limits.certificate_warn_days, timedelta.max.days))
        self._clock = clock
        self._certificate = settings.tls_certificate_file
        external = settings.nats_credentials_file if settings.nats_url else None
        self._credentials = external if external and external.suffix == ".creds" else None
        self._ends: dict[str, datetime] = {}
        self._looked_at: datetime | None = None
        self._said: dict[str, tuple[datetime, bool]] = {}

    def found(self) -> list[Expiry]:
        """What there is that ends, by setting. What can't be read is not there."""
        now = self._clock()
        if self._looked_at is None or not timedelta() <= now - self._looked_at < LOOK_AGAIN:
            self._look(now)
        return [
            Expiry(setting, at, soon=at - now <= self._warns, over=now >= at)
            for setting, at in sorted(self._ends.items())
        ]

    def say(self) -> None:
        """Log what ends soon: when that begins, once a day, and when it has ended."""
        now = self._clock()
        for each in self.found():
            said_at, said_over = self._said.get(each.setting, (None, False))
            news = said_at is None or said_over != each.over or now - said_at >= SAY_AGAIN
            if not each.soon:
                self._said.pop(each.setting, None)
            elif news:
                self._said[each.setting] = now, each.over
                tell, what = (log.error, "ended") if each.over else (log.warning, "ends soon")
                told = f"{each.setting} {what}"
                tell(told, at=each.at.isoformat(), next_step=_TO_DO[each.setting])

    def _look(self, now: datetime) -> None:
        self._looked_at = now
        # Only once: the hub shows what it has read when it started.
        if self._certificate is not None and CERTIFICATE not in self._ends:
            self._put(CERTIFICATE, self._certificate, certificates_end)
        if self._credentials is not None:
            self._put(CREDENTIALS, self._credentials, credentials_end)

    def _put(self, setting: str, path: Path, end_of: Callable[[bytes], datetime | None]) -> None:
        try:
            at = end_of(path.read_bytes())
        except (OSError, ValueError, IndexError, OverflowError) as error:
            log.warning(f"nobody knows when {setting} ends", because=type(error).__name__)
            return
        self._ends.pop(setting, None)
        if at is not None:
            self._ends[setting] = at


def gauge(expiries: Expiries | None) -> GaugeMetricFamily:
    """The metric; its name without values where nothing ends."""
    family = GaugeMetricFamily(
        "crossdock_expiry_timestamp_seconds",
        "When the hub's certificate, or its credentials at NATS, end; seconds of Unix time.",
        labels=["setting"],
    )
    for each in expiries.found() if expiries is not None else ():
        family.add_metric([each.setting], each.at.timestamp())
    return family


def certificates_end(pem: bytes) -> datetime | None:
    """When the first certificate of a chain ends; None: there is none. Raises ValueError,
    IndexError."""
    ends = [_end(ssl.PEM_cert_to_DER_cert(each.decode())) for each in _PEM.findall(pem)]
    return min(ends, default=None)


def credentials_end(text: bytes) -> datetime | None:
    """When a NATS .creds file ends, by its JWT's `exp`; None: never. Raises ValueError,
    OverflowError.

    https://docs.nats.io/running-a-nats-service/configuration/securing_nats/auth_intro/jwt
    """
    found = _JWT.search(text)
    if found is None:
        return None
    payload = found[1] + b"=" * (-len(found[1]) % 4)
    try:
        claims = json.loads(base64.urlsafe_b64decode(payload))
    except binascii.Error as error:
        raise ValueError(str(error)) from None
    ends = claims.get("exp") if isinstance(claims, dict) else None
    return datetime.fromtimestamp(ends, UTC) if isinstance(ends, int) and ends else None


def _end(der: bytes) -> datetime:
    """notAfter of a certificate: RFC 5280, 4.1. Behind the version, where it is told, come serial
    number, algorithm and issuer, then the validity."""
    *_, certificate = _elements(der, 0, len(der))
    (_, start, end), *_ = _elements(der, certificate[1], certificate[2])
    parts = [each for each in _elements(der, start, end) if each[0] != _VERSION]
    tag, start, end = parts[3]
    if tag != _SEQUENCE:
        raise ValueError("no validity where it has to be")
    tag, start, end = list(_elements(der, start, end))[1]
    told = der[start:end].decode("ascii")
    if tag == _TWO_DIGIT_YEAR:
        told = ("19" if int(told[:2]) >= _CENTURY_CHANGES else "20") + told
    return datetime.strptime(told, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)


def _elements(der: bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Tag, begin and end of each element between two places. Raises IndexError, ValueError."""
    while start < end:
        tag, length, start = der[start], der[start + 1], start + 2
        if length >= _LONG:
            size = length - _LONG
            length, start = int.from_bytes(der[start : start + size], "big"), start + size
        if start + length > end:
            raise ValueError("an element is longer than what it is in")
        yield tag, start, start + length
        start += length
