"""What the contract calls sensitive never reaches an excerpt that a person could read."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from crossdock import contracts
from crossdock.order.v1 import order_events_pb2, order_pb2
from crossdock.types.v1 import types_pb2
from crossdock_adapters.sdk import exchange as excerpts
from crossdock_adapters.sdk.completion import completion
from crossdock_adapters.sdk.exchange import (
    BLOB_CHARACTERS,
    INNER_DOCUMENT_CHARACTERS,
    MAX_BODY_CHARACTERS,
    SECRET_WORDS,
    Exchange,
    recording,
    redacted,
)
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


def _spaced(value: str) -> str:
    return value.replace(" ", "\n")


_VALUES = ("Okonkwo", "7 Alder Street", "zoe@example.com", "503 555 0100", "Ulm-Söflingen West 17")
_SPELLINGS = (str, str.upper, str.lower, _spaced, json.dumps)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(_VALUES), st.sampled_from(_SPELLINGS), st.sampled_from(" ;,|<")),
        min_size=1,
        max_size=8,
    )
)
def test_a_value_is_masked_beside_itself_in_other_spellings(
    pieces: list[tuple[str, Callable[[str], str], str]],
) -> None:
    """Values that stand there as they are, and again otherwise, in any order: none is left."""
    body = "".join(f"{spell(value)}{between}" for value, spell, between in pieces)
    with recording() as exchange:
        exchange.hide(_VALUES)
        exchange.note(body, "")
    left = exchange.request_excerpt()
    assert not re.search(r"[0-9a-z]", left, re.IGNORECASE), f"{body!r} became {left!r}"


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


@pytest.mark.parametrize(
    "shown",
    [
        "<name>ZO&#203; &quot;Z&quot; OKONKWO</name>",
        "<name>Zo&#xEB; &#34;Z&#34; Okonkwo</name>",
        '{"name": "zo\\u00eb \\"z\\" okonkwo"}',
        'ZOE "Z" OKONKWO',
        "<line1>Zoë</line1>\n  <line2>&quot;Z&quot; Okonkwo</line2>",
        '["Zoë", "\\"Z\\" Okonkwo"]',
        "7 ALDER STREET",
        "<a>7 Alder</a><b>Street</b>",
        "tel 503.555.0100",
        "+1 503-555-0100",
        "ZOE@EXAMPLE.COM",
    ],
)
def test_a_value_is_masked_in_whatever_form_a_vendor_writes_it(shown: str) -> None:
    """Proves that case, accents, escapes of XML and JSON, lines that were wrapped and another
    spelling of a telephone number are no way past the mask."""
    excerpt = noted(shown).response_excerpt().lower()
    assert "***" in excerpt, excerpt
    for secret in ("okonkwo", "alder", "5550100", "555-0100", "555.0100", "zoe@"):
        assert secret not in excerpt, excerpt


def test_a_value_that_a_carrier_cut_off_is_masked() -> None:
    """Proves that the beginning of a long value, which is all that fits a label, is masked too."""
    street = "1742 Upper Canada Village Heritage Road, Building 7"
    with recording() as exchange:
        exchange.hide([street])
        exchange.note("", f"<address-line-1>{street[:44]}</address-line-1>")
        exchange.note("", f"<address-line-1>{street[:21].upper()}</address-line-1>")
    said = exchange.response_excerpt().lower()
    assert "canada" not in said and "heritage" not in said, said
    assert said.count("<address-line-1>***</address-line-1>") == 2


def test_a_short_name_does_not_wipe_out_other_words() -> None:
    """Proves that a name of three letters is masked as a word in any case, and inside other words
    only as it is written."""
    with recording() as exchange:
        exchange.hide(["Lee"])
        exchange.note("", "<name>LEE</name> the parcel sleeps")
    assert exchange.response_excerpt() == "<name>***</name> the parcel sleeps"


def test_half_a_name_at_the_cut_is_masked() -> None:
    """Proves that values are masked before an excerpt is cut to its length."""
    with recording() as exchange:
        exchange.hide(["Okonkwo"])
        text = exchange.excerpt(b"x " * (MAX_BODY_CHARACTERS // 2 - 2) + b"Okonkwo")
    assert "Ok" not in text


@pytest.mark.parametrize(
    "body",
    [
        b"^XA^FO40,100^FDTO: Zoe Okonkwo^FS^XZ",
        b"\xef\xbb\xbfCT~~CD,~CC^~CT~\n^xa^FO40,100^FDTO: Zoe Okonkwo^FS",
        b"<label>^XA^FDTO: Zoe Okonkwo^FS\n^XZ</label>",
        b'\r\nN\nA50,0,0,1,1,1,N,"Zoe Okonkwo"\nP1\n',
        b"%PDF-1.4\n1 0 obj (Zoe Okonkwo) Tj",
        b"\x89PNG\r\n\x1a\n Zoe Okonkwo",
    ],
)
def test_a_label_that_is_the_whole_answer_is_only_counted(body: bytes) -> None:
    """Proves that a label shows nobody's name, whether it is in a document or is the document, and
    whichever event's name it shows."""
    text = redacted(body)
    assert "Okonkwo" not in text
    assert "characters)" in text or text == f"({len(body)} bytes)"


@pytest.mark.parametrize(
    "body",
    [
        "<wsse:Password Type='text'>s3cret-word</wsse:Password><Id>A1</Id>",
        "<api-key>s3cret-word</api-key><Id>A1</Id>",
        "<login password='s3cret-word' id='A1'/>",
        '<login apiKey = "s3cret-word" id="A1"/>',
    ],
)
def test_a_credential_in_xml_is_masked(body: str) -> None:
    """Proves that an element or attribute that is called a secret is masked, and no other."""
    text = redacted(body.encode())
    assert "s3cret" not in text and "A1" in text, text


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


@pytest.mark.parametrize("word", ["client_secret", "client_assertion"])
def test_a_secret_of_a_client_may_have_a_long_name(word: str) -> None:
    """Proves that as much may stand before the name of a client's secret as before any other, in
    JSON, forms, elements and attributes."""
    for before in range(41):
        name = "o" * before + word
        for body in (
            f'{{"{name}":"s3c"}}',
            f"a=1&{name}=s3c",
            f"<{name}>s3c</{name}>",
            f'<a {name}="s3c"/>',
        ):
            assert "s3c" not in redacted(body.encode()), body


def _by_every_pattern(text: str) -> str:
    """What no look at the text beforehand spares: each pattern, one after the other."""
    text = excerpts._JSON_SECRET.sub(r'\1"***"', text)
    text = excerpts._FORM_SECRET.sub(r"\1***", text)
    text = excerpts._XML_SECRET.sub(r"\1***", text)
    text = excerpts._ATTRIBUTE_SECRET.sub(r"\1***", text)
    text = excerpts._BEARER.sub(r"\1 ***", text)
    text = excerpts._PRINTER_COMMANDS.sub(excerpts._counted, text)
    text = excerpts._INNER_DOCUMENT.sub(lambda each: f'"({len(each[1])} characters)"', text)
    return excerpts._BLOB.sub(excerpts._counted, text)


# Letters that are an "i", an "s" and a "k" of another case for patterns, and hardly for others.
_ODD = str.maketrans("isk", "\u0131\u017f\u212a")
_CASES: list[Callable[[str], str]] = [str, str.upper, str.title, lambda name: name.translate(_ODD)]
_NAMED = st.tuples(
    st.sampled_from([*SECRET_WORDS, "orderId"]),
    st.sampled_from(_CASES),
    st.sampled_from(['"{}":"s3c"', "{}=s3c", "<{}>s3c</{}>", "{}='s3c'", "my_{}Value"]),
).map(lambda drawn: drawn[2].replace("{}", drawn[1](drawn[0])))
_BEARERS = st.sampled_from([" Bearer s3c", " BASIC s3c", " ba\u017fic s3c", " bas\u0131c s3c"])
_LONG = st.tuples(
    st.sampled_from("aZ9+=|"),
    st.sampled_from([9, BLOB_CHARACTERS, INNER_DOCUMENT_CHARACTERS]),
    st.integers(-2, 1),
).map(lambda drawn: drawn[0] * (drawn[1] + drawn[2]))
_QUOTED = st.tuples(
    st.sampled_from(["^XA", "^xa", "N\\n", "n\\n", "N\\N", "n\\N", '\\"', "\\", "", " x=", "/>"]),
    _LONG,
).map(lambda drawn: f'"{drawn[0]}{drawn[1]}"')
_SIGNS = st.sampled_from(
    ['"', '\\"', "\\", "'", "=", "&", "<", ">", "\n", " ", "^XA", "^xz", "N\n"]
)


@settings(deadline=None, max_examples=300)
@given(
    st.lists(st.one_of(_NAMED, _BEARERS, _LONG, _QUOTED, _SIGNS), min_size=1, max_size=8).map(
        "".join
    )
)
def test_a_pattern_is_spared_only_where_it_would_find_nothing(text: str) -> None:
    """Proves for texts made of names of secrets in any letters, quotes, escapes, labels and long
    words that a look at the text beforehand never changes what is masked or counted."""
    assert excerpts._without_documents(excerpts._without_secrets(text)) == _by_every_pattern(text)
