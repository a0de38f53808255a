"""What the contract calls sensitive never reaches an excerpt that a person could read."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

from crossdock import contracts
from crossdock.order.v1 import order_events_pb2, order_pb2
from crossdock.types.v1 import types_pb2
from crossdock_adapters.sdk.completion import completion
from crossdock_adapters.sdk.exchange import Exchange, recording, redacted
from crossdock_adapters.sdk.outcomes import Reject, Retry
from hypothesis import given, settings
from hypothesis import strategies as st
from sdk_house import housed
from sdk_ledger_hub import dispatch

PARTY = types_pb2.Party(
    name='Zoë "Z" Okonkwo',
    phone="+1 (503) 555-0100",
    email="zoe@example.com",
    address=types_pb2.Address(lines=["7 Alder Street"], city="Portland", country_code="US"),
)


def noted(body: str) -> Exchange:
    event = order_events_pb2.OrderApproved(order=order_pb2.Order(number="WEB-1", ship_to=PARTY))
    with recording() as exchange:
        exchange.hide(contracts.load().sensitive_values(event))
        exchange.note(f"POST /orders {body}", f"200 {body}")
    return exchange


def test_names_streets_and_numbers_are_masked_in_every_form() -> None:
    """As text, as JSON, and a phone number as bare digits; what is not sensitive stays."""
    body = json.dumps({"name": PARTY.name, "phone": "15035550100", "street": "7 Alder Street"})
    exchange = noted(f"{body} {PARTY.name} {PARTY.phone} {PARTY.email} WEB-1 Portland")
    for text in (exchange.request_excerpt(), exchange.response_excerpt()):
        for secret in ("Okonkwo", "5550100", "555-0100", "zoe@", "Alder"):
            assert secret not in text, text
        assert "WEB-1" in text
        assert "Portland" in text
        assert '"street": "***"' in text


@settings(deadline=None)
@given(st.text(min_size=1, max_size=2), st.text(max_size=40))
def test_what_is_too_short_to_tell_anything_masks_nothing(short: str, body: str) -> None:
    """A one-letter name must not wipe out the document."""
    with recording() as exchange:
        exchange.hide([short, ""])
        exchange.note(body, "")
    assert exchange.request_excerpt() == body


def test_a_label_inside_a_request_is_only_counted() -> None:
    """A printer's commands carry name and street whatever event they belong to."""
    label = "^XA^FO40,100^FDSHIP TO: Zoe Okonkwo^FS\n^FO40,1160^FDSAMPLE^FS^XZ"
    for body in (json.dumps({"Label": label, "Olpn": "7"}), json.dumps({"Label": label})[:-3]):
        text = redacted(body.encode())
        assert "Okonkwo" not in text
        assert "characters)" in text


def test_reasons_are_masked_like_excerpts() -> None:
    """What a fault of the adapter, or the vendor's own words, repeat of an answer is kept in the
    ledger and shown: no name, no credential, whatever the outcome."""
    words = 'bad answer for Zoë "Z" Okonkwo, token=Bearer sk-live-123456, "password": "x1"'
    ends = (ValueError(words), Reject(f"E1 {PARTY.email}", words), Retry(reason=words))
    for ended in ends:
        exchange = noted("")
        exchange.effect_left = isinstance(ended, ValueError)
        told = completion(str(uuid.uuid4()), 1, 1, ended, exchange)
        for secret in ("Okonkwo", "sk-live", "x1", "zoe@"):
            assert secret not in told.reason + told.code, told
        assert "bad answer for" in told.reason


async def test_a_secret_that_the_vendor_repeats_is_masked(tmp_path: Path) -> None:
    """Proves that no excerpt shows a credential of the endpoint, whatever the vendor calls it."""
    async with housed(tmp_path) as house:
        house.tiny.repeats = (tmp_path / "credential").read_text()
        delivery = dispatch()
        house.queue.put(delivery)
        assert await house.outcome(delivery) == "CONFIRMED"
        excerpt = house.completion(delivery).response_excerpt
        assert '"who":"***"' in excerpt
        assert house.tiny.repeats not in excerpt


def test_an_account_number_is_masked_wherever_a_vendor_puts_it() -> None:
    """Proves that a value which is wrapped once more, as FedEx does it, is masked like a plain one,
    and what stands beside it stays."""
    bodies = (
        '{"accountNumber": "740561073", "index": "A1"}',
        '{"accountNumber":{"value":"740561073"},"index":"A1"}',
        '{"accountNumber": { "value" : "740561073" }, "index": "A1"}',
    )
    for body in bodies:
        told = redacted(body.encode())
        assert "740561073" not in told and "A1" in told, told
