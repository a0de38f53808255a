"""VendorHttp and TokenCache: the one question, may the vendor have done the work?"""

from __future__ import annotations

import asyncio
import base64
import json
import socket
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import aiohttp
import pytest
from crossdock_adapters.sdk import exchange, lease_clock, vendor_json
from crossdock_adapters.sdk.auth import Token, TokenCache, client_assertion
from crossdock_adapters.sdk.conformance.memory import forget_the_peak, peak_bytes
from crossdock_adapters.sdk.conformance.payloads import inflating
from crossdock_adapters.sdk.http import (
    MAX_ANSWER_BYTES,
    MAX_RETRY_AFTER_SECONDS,
    MIN_LEASE_LEFT_SECONDS,
    Answer,
    VendorHttp,
)
from crossdock_adapters.sdk.outcomes import NotTried, OutcomeUnknown, Retry
from crossdock_adapters.sdk.sandbox import SandboxConfig
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from hypothesis import given
from hypothesis import strategies as st
from sdk_tiny_sandbox import TinySandbox
from sdk_waiting import until

INFLATED_MIB = 256
TEN = "Wed, 25 Nov 2026 10:00:00 GMT"


@pytest.fixture
async def tiny() -> AsyncIterator[TinySandbox]:
    async with TinySandbox(SandboxConfig(name="tiny")) as sandbox:
        yield sandbox


@pytest.fixture
async def http(tiny: TinySandbox) -> AsyncIterator[VendorHttp]:
    client = VendorHttp(tiny.vendor_url, timeout_seconds=5)
    yield client
    await client.close()


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "3"}, 3.0),
        ({"Retry-After": "0.5"}, 0.5),
        ({"Retry-After": "-3"}, 0.0),
        ({"Retry-After": "999999999999"}, MAX_RETRY_AFTER_SECONDS),
        ({"Retry-After": "Wed, 25 Nov 2026 10:01:30 GMT", "Date": TEN}, 90.0),
        ({"Retry-After": "Wed, 25 Nov 2026 09:00:00 GMT", "Date": TEN}, 0.0),
        ({"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"}, MAX_RETRY_AFTER_SECONDS),
        ({"Retry-After": "soon"}, 7.0),
        ({"Retry-After": "nan"}, 7.0),
        ({"Retry-After": ""}, 7.0),
        ({}, 7.0),
    ],
)
def test_both_forms_of_retry_after_are_read(headers: dict[str, str], seconds: float) -> None:
    """Proves that seconds and dates are understood, by the vendor's clock, within limits, and that
    what can't be read leaves the pause to the caller."""
    assert Answer(429, headers, b"").retry_after_seconds(default=7.0) == seconds


async def test_every_status_is_an_answer(tiny: TinySandbox, http: VendorHttp) -> None:
    """2xx, 4xx, 429 and 5xx come back as answers with status, headers and body."""
    answer = await http.post("/bookings", json={"key": "a"})
    assert (answer.status, answer.ok, answer.json()["number"]) == (201, True, 1)
    tiny.faults.add({"kind": "throttle", "count": 1, "retry_after_seconds": 3})
    answer = await http.post("/bookings", json={"key": "b"})
    assert (answer.status, answer.retry_after_seconds()) == (429, 3.0)
    tiny.faults.add({"kind": "error_before", "count": 1})
    assert (await http.post("/bookings", json={"key": "b"})).status == 500


async def test_refused_connection_is_a_retry() -> None:
    """Nothing listens: proven unprocessed, also for a call with an effect."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        client = VendorHttp(f"http://127.0.0.1:{held.getsockname()[1]}")
        with exchange.recording() as record, pytest.raises(Retry, match="refused"):
            await client.post("/x", json={})
        assert not record.effect_left
        await client.close()


async def test_unknown_name_is_a_retry() -> None:
    """A name that does not resolve: nothing left this machine."""
    client = VendorHttp("http://vendor.invalid")
    with pytest.raises(Retry):
        await client.post("/x", json={})
    await client.close()


@pytest.mark.parametrize("over", ["lease", "time for the call"])
async def test_what_is_over_when_the_connection_stands_sends_nothing(
    over: str, tiny: TinySandbox, http: VendorHttp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that the lease, and the time that a call has, are looked at again when the connection
    stands, because opening one takes time."""
    opening = aiohttp.TCPConnector._create_connection

    async def slowly(*given: Any) -> Any:
        await asyncio.sleep(0.3)
        return await opening(*given)

    monkeypatch.setattr(aiohttp.TCPConnector, "_create_connection", slowly)
    with exchange.recording() as record:
        if over == "lease":
            record.lease_until = lease_clock.now() + MIN_LEASE_LEFT_SECONDS + 0.1
        else:
            record.ends_at = lease_clock.now() + 0.1
        with pytest.raises(NotTried, match=f"the {over}"):
            await http.post("/bookings", json={"key": "a"})
        assert not record.effect_left
        # A question has no effect that a lease would have to protect.
        assert (await http.get("/bookings/a")).json() == {"found": []}
    assert tiny.bookings == []


async def test_lost_reply_is_unknown(tiny: TinySandbox, http: VendorHttp) -> None:
    """The connection closes after the request: nobody knows."""
    tiny.faults.add({"kind": "reply_lost", "count": 1})
    with exchange.recording() as record, pytest.raises(OutcomeUnknown):
        await http.post("/bookings", json={"key": "a"})
    assert record.effect_left
    assert len(tiny.bookings) == 1


async def test_timeout_after_sending_is_unknown_for_effects_only(
    tiny: TinySandbox, http: VendorHttp
) -> None:
    """No answer in time: unknown for a booking, a retry for a search."""
    tiny.faults.add({"kind": "slow", "delay_seconds": 30})
    with pytest.raises(OutcomeUnknown, match="in time"):
        await http.post("/bookings", json={"key": "a"}, timeout_seconds=1)
    with pytest.raises(Retry):
        await http.get("/bookings/a", timeout_seconds=1)
    with pytest.raises(Retry):
        await http.post("/token", effect=False, timeout_seconds=1)


async def test_failure_after_an_earlier_effect_is_unknown(
    tiny: TinySandbox, http: VendorHttp
) -> None:
    """Once a call of the attempt had an effect, even a refused connection proves nothing."""
    with exchange.recording():
        await http.post("/bookings", json={"key": "a"})
        tiny.faults.add({"kind": "down"})
        await tiny.apply_outage()
        with pytest.raises(OutcomeUnknown):
            await http.get("/bookings/a")


async def test_oversize_answer_is_not_read(tiny: TinySandbox) -> None:
    """An answer above the limit ends the call; without an effect that is a retry."""
    client = VendorHttp(tiny.vendor_url, max_answer_bytes=1000)
    assert len((await client.get("/large", params={"bytes": "1000"})).body) == 1000
    with pytest.raises(Retry, match="larger than 1000"):
        await client.get("/large", params={"bytes": "1001"})
    with pytest.raises(OutcomeUnknown, match="larger than 1000"):
        await client.get("/large", params={"bytes": "500000"}, effect=True)
    await client.close()


async def test_an_answer_that_inflates_takes_no_memory(tiny: TinySandbox) -> None:
    """Proves that a packed answer is unpacked to the limit of an answer and no further: a vendor's
    256 KiB that are 256 MiB end the call, and the process stays as large as it was."""
    client = VendorHttp(tiny.vendor_url)
    inflating(INFLATED_MIB)
    forget_the_peak()
    before = peak_bytes()
    with pytest.raises(Retry, match=f"larger than {MAX_ANSWER_BYTES}"):
        await client.get("/inflating", params={"mib": str(INFLATED_MIB)})
    assert peak_bytes() - before < 4 * MAX_ANSWER_BYTES
    await client.close()


async def test_a_path_cannot_leave_the_vendor(http: VendorHttp) -> None:
    """An absolute URL in place of a path is refused before anything is sent."""
    with pytest.raises(ValueError, match="leave"):
        await http.get("http://169.254.169.254/latest")


def token_cache(tiny: TinySandbox, http: VendorHttp) -> TokenCache:
    async def fetch() -> Token:
        answer = await http.post("/token", effect=False, form={"grant_type": "x"})
        body = answer.json()
        return Token(body["access_token"], body["expires_in"])

    return TokenCache(fetch)


async def test_token_is_fetched_once_for_many(tiny: TinySandbox, http: VendorHttp) -> None:
    """Fifty callers at once cause one token request."""
    cache = token_cache(tiny, http)
    tokens = await asyncio.gather(*(cache.get() for _ in range(50)))
    assert (set(tokens), tiny.tokens_given) == ({"token-1"}, 1)


async def test_token_is_renewed_at_nine_tenths_of_its_life() -> None:
    """A token is reused until 90 % of its life and not one moment longer."""
    now, given = [0.0], [0]

    async def fetch() -> Token:
        given[0] += 1
        return Token(f"t{given[0]}", 100)

    cache = TokenCache(fetch, clock=lambda: now[0])
    assert await cache.get() == "t1"
    now[0] = 89.9
    assert await cache.get() == "t1"
    now[0] = 90.0
    assert await cache.get() == "t2"


async def test_a_caller_that_gives_up_takes_no_token_from_others(
    tiny: TinySandbox, http: VendorHttp
) -> None:
    """Cancelling the first of several waiting callers leaves the fetch running."""
    tiny.faults.add({"kind": "slow", "delay_seconds": 0.1})
    cache = token_cache(tiny, http)
    first = asyncio.create_task(cache.get())
    await until(lambda: len(tiny.calls) == 1)
    second = asyncio.create_task(cache.get())
    first.cancel()
    assert await second == "token-1"


async def test_failed_fetch_is_told_and_tried_again(tiny: TinySandbox, http: VendorHttp) -> None:
    """What the fetch raises reaches its waiters; the next caller fetches anew."""
    cache = token_cache(tiny, http)
    tiny.faults.add({"kind": "down"})
    await tiny.apply_outage()
    with pytest.raises(Retry):
        await cache.get()
    tiny.faults.clear()
    await tiny.apply_outage()
    assert await cache.get() == "token-1"


async def test_refused_token_is_replaced_and_the_call_repeated(
    tiny: TinySandbox, http: VendorHttp
) -> None:
    """A 401 renews the token once; the booking happens once."""
    cache = token_cache(tiny, http)
    await cache.get()
    tiny.valid_token = "revoked elsewhere"
    with exchange.recording() as record:
        answer = await http.post("/bookings", json={"key": "a", "token": True}, auth=cache)
    assert (answer.status, tiny.tokens_given, len(tiny.bookings)) == (201, 2, 1)
    assert "token-" not in record.request_excerpt() + record.response_excerpt()
    assert "token-" not in repr(cache)


def test_excerpts_hide_secrets() -> None:
    """Passwords, tokens, keys and label images never appear in an excerpt."""
    body = json.dumps(
        {"access_token": "s3cret", "clientSecret": "s3cret", "deep": {"password": "s3cret\\\""},
         "image": "QUJD" * 200, "key": "visible"}
    )  # fmt: skip
    text = exchange.redacted(body.encode())
    assert "s3cret" not in text and "QUJDQUJD" not in text and "visible" in text
    form = exchange.redacted(b"grant_type=x&client_secret=s3cret&client_assertion=s3cret.x")
    assert "s3cret" not in form and "grant_type=x" in form
    assert "s3cret" not in exchange.redacted(b"Authorization: Bearer s3cret")


decimals = st.decimals(
    allow_nan=False, allow_infinity=False, places=6, min_value=-(10**9), max_value=10**9
)


@given(st.recursive(decimals | st.text() | st.integers() | st.booleans() | st.none(),
                    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))  # fmt: skip
def test_json_keeps_decimals_exactly(value: object) -> None:
    """Whatever goes through JSON comes back equal, decimals digit for digit."""
    assert vendor_json.loads(vendor_json.dumps(value)) == value


def test_json_writes_decimals_as_numbers() -> None:
    """A Decimal is a JSON number with the digits it has, not a float and not text."""
    assert vendor_json.dumps({"w": Decimal("12.50")}) == b'{"w":12.50}'
    # Written out these would fill the memory: a payload of twenty bytes that somebody sent.
    for huge in (b"[1E+999999999]", b"[-1.5E-999999999]"):
        assert vendor_json.dumps(vendor_json.loads(huge)) == huge
    with pytest.raises(ValueError):
        vendor_json.loads(b'{"w": NaN}')


def decoded(part: str) -> dict[str, object]:
    padded = part + "=" * (-len(part) % 4)
    return dict(json.loads(base64.urlsafe_b64decode(padded)))


def test_client_assertions_verify() -> None:
    """PS256 and ES256 assertions carry the claims and verify with the public key."""
    rsa_key = rsa.generate_private_key(65537, 2048)
    ec_key = ec.generate_private_key(ec.SECP256R1())
    for key, algorithm in ((rsa_key, "PS256"), (ec_key, "ES256")):
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        token = client_assertion(
            pem, key_id="k1", issuer="me", audience="you", algorithm=algorithm, now=1000
        )
        header, payload, signature = token.split(".")
        assert decoded(header) == {"typ": "JWT", "alg": algorithm, "kid": "k1"}
        assert (decoded(payload)["iss"], decoded(payload)["exp"]) == ("me", 1300)
        raw = base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4))
        if algorithm == "PS256":
            pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
            rsa_key.public_key().verify(raw, f"{header}.{payload}".encode(), pss, hashes.SHA256())
        else:
            assert len(raw) == 64
    with pytest.raises(ValueError, match="does not fit"):
        client_assertion(pem, key_id="k", issuer="i", audience="a", algorithm="PS256")
