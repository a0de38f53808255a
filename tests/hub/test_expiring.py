"""A hub says in time that its certificate, or its credentials at NATS, end."""

from __future__ import annotations

import asyncio
import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.request import urlopen

import pytest
from crossdock.cli.doctor import expiry_checks
from crossdock.client import Tls
from crossdock.hub.v1 import hub_service_pb2
from crossdock_hub.config import Limits, Settings
from crossdock_hub.expiring import (
    CERTIFICATE,
    CREDENTIALS,
    LOOK_AGAIN,
    SAY_AGAIN,
    Expiries,
    certificates_end,
    credentials_end,
)
from cryptography import x509
from fixtures_hub import RunningHub, deployment
from private_authority import DAY, Authority
from structlog.testing import capture_logs

WARNS = timedelta(days=Limits().certificate_warn_days)


class Clock:
    """The time of day, as the test sets it."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now


def credentials(claims: object) -> bytes:
    """A .creds file as NATS' tool writes it."""
    parts = [{"alg": "ed25519-nkey"}, claims]
    coded = [base64.urlsafe_b64encode(json.dumps(each).encode()).rstrip(b"=") for each in parts]
    token = b".".join([*coded, b"c2ln"])
    return (
        b"-----BEGIN NATS USER JWT-----\n" + token + b"\n------END NATS USER JWT------\n\n"
        b"-----BEGIN USER NKEY SEED-----\nSUAX\n------END USER NKEY SEED------\n"
    )


@pytest.mark.parametrize("days", [1, 400, 365 * 30, 365 * 900])
def test_an_end_is_read_as_others_read_it(tmp_path: Path, days: int) -> None:
    """Proves of ends in this century and far behind it, which are written in two ways, that the
    hub reads of a chain the one that comes first, as a library for certificates does."""
    made = Authority.made(tmp_path / "authority", timedelta(days=days))
    chain = made.certificate.read_bytes() + made.ca.read_bytes()
    wanted = min(each.not_valid_after_utc for each in x509.load_pem_x509_certificates(chain))
    assert certificates_end(chain) == wanted
    alone = x509.load_pem_x509_certificate(made.certificate.read_bytes())
    assert certificates_end(made.certificate.read_bytes()) == alone.not_valid_after_utc


def test_credentials_end_when_their_token_does() -> None:
    """Proves that `exp` of the token is when a .creds file ends, and that one without it, and other
    files, never do."""
    ends = datetime(2031, 2, 3, 4, 5, 6, tzinfo=UTC)
    assert credentials_end(credentials({"exp": int(ends.timestamp()), "name": "é"})) == ends
    for endless in (credentials({"name": "hub"}), credentials({"exp": 0}), credentials([]), b"SU"):
        assert credentials_end(endless) is None


def test_it_is_said_daily_until_it_is_renewed(tmp_path: Path) -> None:
    """Proves that nothing is said before the days of the limit, then once a day, once more when it
    has ended, and nothing when another file is there; and that a file which can't be understood
    keeps nothing else from being told."""
    clock = Clock()
    file = tmp_path / "hub.creds"
    ends = clock.now.replace(microsecond=0) + WARNS + DAY
    file.write_bytes(credentials({"exp": int(ends.timestamp())}))
    spoilt = tmp_path / "hub.pem"
    spoilt.write_text("-----BEGIN CERTIFICATE-----\nMAMC\n-----END CERTIFICATE-----\n")
    expiries = Expiries(
        Settings(
            nats_url="nats://127.0.0.1", nats_credentials_file=file, tls_certificate_file=spoilt
        ),
        Limits(),
        clock,
    )
    with capture_logs() as lines:
        expiries.say()
    assert [line["event"] for line in lines] == [f"nobody knows when {CERTIFICATE} ends"]
    clock.now = ends - WARNS
    with capture_logs() as lines:
        for _ in range(4 * 3):
            expiries.say()
            clock.now += SAY_AGAIN / 4
    told = [line for line in lines if line["event"].startswith(CREDENTIALS)]
    assert [(line["log_level"], line["at"]) for line in told] == [("warning", ends.isoformat())] * 3
    clock.now = ends
    with capture_logs() as lines:
        expiries.say()
        expiries.say()
    assert [line["log_level"] for line in lines if CREDENTIALS in line["event"]] == ["error"]
    file.write_bytes(credentials({"exp": int((ends + 2 * WARNS).timestamp())}))
    clock.now += LOOK_AGAIN
    with capture_logs() as lines:
        expiries.say()
    assert not [line for line in lines if CREDENTIALS in line["event"]]


@pytest.mark.parametrize("days", [0, 30, 999_999, 10**10])
def test_however_early_it_is_to_be_said(tmp_path: Path, days: int) -> None:
    """Proves that any number of days which the limit takes is one: nothing is soon with none, all
    is with more than there were."""
    file = tmp_path / "hub.creds"
    ends = datetime(2031, 2, 3, tzinfo=UTC)
    file.write_bytes(credentials({"exp": int(ends.timestamp())}))
    settings = Settings(nats_url="nats://127.0.0.1", nats_credentials_file=file)
    limits = Limits().with_changes({"certificate_warn_days": days})
    (found,) = Expiries(settings, limits, lambda: ends - 90 * DAY).found()
    assert (found.at, found.soon, found.over) == (ends, days > 90, False)


@pytest.mark.parametrize("ends", [10**15, 10**20, -(10**20)])
def test_an_end_that_no_calendar_has_keeps_nobody_from_working(tmp_path: Path, ends: int) -> None:
    """Proves that a token with a number that is no time is told as one that nobody can read."""
    file = tmp_path / "hub.creds"
    file.write_bytes(credentials({"exp": ends}))
    settings = Settings(nats_url="nats://127.0.0.1", nats_credentials_file=file)
    expiries = Expiries(settings, Limits())
    with capture_logs() as lines:
        expiries.say()
    assert [line["event"] for line in lines] == [f"nobody knows when {CREDENTIALS} ends"]
    assert expiries.found() == []


@pytest.mark.parametrize(
    ("days", "result"), [(-1, "wrong"), (3, "warning"), (90, "ok")], ids=["over", "soon", "later"]
)
def test_a_doctor_says_how_long_it_lasts(days: int, result: str) -> None:
    """Proves that what has ended is wrong, what ends soon is a warning with what to do, and all
    else is told, too."""
    now = datetime(2030, 1, 1, tzinfo=UTC)
    status = hub_service_pb2.GetHubStatusResponse()
    told = status.expiries.add(setting=CERTIFICATE, soon=days < WARNS.days)
    told.expire_time.FromDatetime(now + timedelta(days=days))
    (check,) = expiry_checks(status, now)
    assert check.result == result
    assert CERTIFICATE in check.found and bool(check.fix) == (result != "ok")


async def test_a_hub_tells_when_its_certificate_ends(tmp_path: Path) -> None:
    """Proves of a hub with a certificate for 29 days that its log says so at the start, and that
    its status and its metrics give the moment."""
    authority = Authority.made(tmp_path / "authority", 29 * DAY)
    hub = RunningHub(
        tmp_path / "hub",
        deployment(),
        tls_certificate_file=str(authority.certificate),
        tls_key_file=str(authority.key),
        metrics_port="0",
    )
    await asyncio.to_thread(hub.start)
    try:
        wanted = x509.load_pem_x509_certificate(authority.certificate.read_bytes())
        ends = wanted.not_valid_after_utc
        async with hub.client("operator", tls=Tls(authority.ca)) as operator:
            status = await operator.hub.GetHubStatus(hub_service_pb2.GetHubStatusRequest())
        (told,) = status.expiries
        assert told.setting == CERTIFICATE and told.soon
        assert told.expire_time.ToDatetime(UTC) == ends
        assert hub.log().count(f"{CERTIFICATE} ends soon") == 1
        port = json.loads((hub.directory / "address.json").read_text())["metrics_port"]
        with await asyncio.to_thread(urlopen, f"http://127.0.0.1:{port}/metrics") as page:
            metrics = page.read().decode()
        (line,) = [each for each in metrics.splitlines() if each.startswith("crossdock_expiry")]
        assert line.startswith("crossdock_expiry_timestamp_seconds{setting=")
        assert float(line.rpartition(" ")[2]) == ends.timestamp()
    finally:
        await asyncio.to_thread(hub.stop)
