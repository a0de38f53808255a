"""SOAP envelopes: credentials as the profile prescribes, answers and faults, what is refused."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta, timezone
from xml.etree import ElementTree

import pytest
from crossdock_adapters.sdk import sandbox_soap, soap, vendor_xml
from crossdock_adapters.sdk.places import Unreadable
from crossdock_adapters.sdk.soap import Fault, UsernameToken
from crossdock_adapters.sdk.vendor_xml import Element

# Published with the answer: ONVIF, Application Programmer's Guide 1.0, user token profile.
NONCE = "LKqI6G/AikKCQrN0zqZFlg=="
CREATED = datetime(2010, 9, 16, 7, 50, 45, tzinfo=UTC)
PASSWORD = "userpassword"
DIGEST = "tuOSpGlFlIXsozq4HFNeeGeFLEI="
HEAD = f'<s:Envelope xmlns:s="{soap.ENVELOPE}"><s:Body>'
TAIL = "</s:Body></s:Envelope>"


def test_the_digest_is_the_published_one() -> None:
    """Proves that a server that follows the profile accepts our token: the published example comes
    out, whatever the zone in which the time is given."""
    nonce = base64.b64decode(NONCE)
    elsewhere = CREATED.astimezone(timezone(timedelta(hours=-7)))
    for at in (CREATED, elsewhere):
        token = soap.username_token("user", PASSWORD, nonce, at)
        assert (token.nonce, token.created) == (NONCE, "2010-09-16T07:50:45Z")
        assert token.digest == DIGEST


def test_an_envelope_is_read_as_it_was_written() -> None:
    """Proves that body, message id and token arrive, and that the password does not travel."""
    token = soap.username_token("user", PASSWORD, base64.b64decode(NONCE), CREATED)
    body = vendor_xml.build("Order", {"number": "SO-1 <&>", "line": ["a", "b"]}, "urn:orders")
    data = soap.envelope(body, token, message_id="urn:crossdock:ABC")
    root = soap.opened(data)
    said = soap.content(root)
    assert not isinstance(said, Fault)
    assert (said.name, said.namespace) == ("Order", "urn:orders")
    assert said.text_of("number") == "SO-1 <&>"
    assert [each.text for each in said.all("line")] == ["a", "b"]
    assert root.text_of("Header/MessageID") == "urn:crossdock:ABC"
    assert _said(root, "1.1") == token
    assert PASSWORD.encode() not in data


def _said(root: Element, version: str) -> UsernameToken:
    """The token as a service reads it that has its names from elsewhere."""
    said = sandbox_soap.token(root, version)
    return UsernameToken(
        said.username, said.password, said.nonce, said.created, said.expires, said.by_text
    )


def test_a_message_is_addressed() -> None:
    """Proves that id, action and address stand in the header under the names of WS-Addressing 1.0,
    and that a message which has none of them says nothing of it."""
    space = "{http://www.w3.org/2005/08/addressing}"
    data = soap.envelope(
        vendor_xml.build("A", {}), message_id="urn:1", action="urn:act", to="http://erp/a"
    )
    header = ElementTree.fromstring(data)[0]
    said = {each.tag: each.text for each in header}
    assert said == {
        f"{space}MessageID": "urn:1", f"{space}Action": "urn:act", f"{space}To": "http://erp/a"
    }  # fmt: skip
    assert len(ElementTree.fromstring(soap.envelope(vendor_xml.build("A", {})))[0]) == 0


@pytest.mark.parametrize(
    ("detail", "code"),
    [
        ("<detail><code>UnknownItem</code></detail>", "UnknownItem"),
        ("<detail><other/></detail>", "Client"),
        ("", "Client"),
    ],
)
def test_a_fault_has_the_vendors_own_code_where_it_tells_one(detail: str, code: str) -> None:
    """Proves that a fault is told by the code of its detail, else by its faultcode."""
    inside = f"<faultcode>s:Client</faultcode><faultstring>no</faultstring>{detail}"
    said = soap.read(f"{HEAD}<s:Fault>{inside}</s:Fault>{TAIL}".encode())
    assert said == Fault(code, "no", "Client")
    assert soap.read(soap.fault("UnknownItem", "no")) == Fault("UnknownItem", "no", "Client")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"<html><body>Gateway error</body></html>", "is no SOAP envelope"),
        (b'<Envelope xmlns="urn:other"><Body/></Envelope>', "is no SOAP envelope"),
        (f"{HEAD}{TAIL}".encode(), "has 0 elements and not one"),
        (f"{HEAD}<a/><b/>{TAIL}".encode(), "has 2 elements and not one"),
        (f'<s:Envelope xmlns:s="{soap.ENVELOPE}"/>'.encode(), "/Envelope/Body"),
        (b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "is refused"),
        (b"", "line 1, column 1"),
    ],
)
def test_what_is_no_answer_says_where(data: bytes, said: str) -> None:
    """Proves that a gateway's page, an empty body and a document type are no answer of the
    vendor's, and that the reason has its place."""
    with pytest.raises(Unreadable) as refused:
        soap.read(data)
    assert said in str(refused.value)


SENDER = """<s:Code><s:Value>s:Sender</s:Value><s:Subcode><s:Value>wsse:InvalidSecurity</s:Value>
<s:Subcode><s:Value>erp:E7</s:Value></s:Subcode></s:Subcode></s:Code>
<s:Reason><s:Text xml:lang="en">no</s:Text></s:Reason>"""


@pytest.mark.parametrize(
    ("detail", "code"),
    [("<s:Detail><Own><Number>E9</Number></Own></s:Detail>", "E9"), ("", "E7")],
)
def test_a_fault_of_version_1_2_says_the_same(detail: str, code: str) -> None:
    """Proves that a fault of SOAP 1.2 is told by the code of its detail, wherever that stands, else
    by its deepest subcode, and that it says whom it blames."""
    head, tail = (text.replace(soap.ENVELOPE, soap.ENVELOPE_12) for text in (HEAD, TAIL))
    data = f"{head}<s:Fault>{SENDER}{detail}</s:Fault>{tail}".encode()
    said = soap.read(data, "Own/Number")
    assert isinstance(said, Fault)
    assert (said.code, said.text, said.blames) == (code, "no", "Sender")
    made = soap.fault("E9", "no", blames="Server", version="1.2")
    assert soap.read(made) == Fault("E9", "no", "Receiver")


def test_all_codes_of_a_fault_are_told_from_the_inside_out() -> None:
    """Proves that dotted codes of 1.1 and subcodes of 1.2 are told, each once, the one that says
    most first, and that whom they blame comes last."""
    head, tail = (text.replace(soap.ENVELOPE, soap.ENVELOPE_12) for text in (HEAD, TAIL))
    detail = "<s:Detail><code>E9</code></s:Detail>"
    said = soap.read(f"{head}<s:Fault>{SENDER}{detail}</s:Fault>{tail}".encode())
    assert isinstance(said, Fault)
    assert said.codes == ("E9", "E7", "InvalidSecurity", "Sender")
    inside = "<faultcode>s:Client.Order.Bad</faultcode><faultstring>no</faultstring>"
    said = soap.read(f"{HEAD}<s:Fault>{inside}</s:Fault>{TAIL}".encode())
    assert said == Fault("Client.Order.Bad", "no", "Client", ("Client.Order",))
    plain = soap.read(soap.fault("", "no"))
    assert isinstance(plain, Fault) and plain.codes == ("Client",)
    empty = soap.read(f"{HEAD}<s:Fault/>{TAIL}".encode())
    assert isinstance(empty, Fault) and (empty.code, empty.codes) == ("", ())


@pytest.mark.parametrize("version", soap.VERSIONS)
def test_both_versions_are_written(version: str) -> None:
    """Proves for each version its namespace, its HTTP headers, and that a text password, the end of
    the message and the answerer's clock arrive."""
    life = timedelta(minutes=5)
    token = soap.username_token("user", PASSWORD, b"n" * 16, CREATED, by_text=True, life=life)
    data = soap.envelope(vendor_xml.build("A", {}), token, relates_to="urn:1", version=version)
    root = soap.opened(data)
    assert soap.version_of(root) == version
    assert _said(root, version) == token
    assert (token.digest, token.expires) == (PASSWORD, "2010-09-16T07:55:45Z")
    assert PASSWORD not in repr(token)
    assert root.text_of("Header/RelatesTo") == "urn:1"
    refusal = soap.opened(soap.fault("X", "no", created=CREATED, version=version))
    assert soap.told_time(refusal) == CREATED
    headers = soap.headers("urn:act", version)
    said = {
        "1.1": {"Content-Type": "text/xml; charset=utf-8", "SOAPAction": '"urn:act"'},
        "1.2": {"Content-Type": 'application/soap+xml; charset=utf-8; action="urn:act"'},
    }
    assert headers == said[version]


ENVELOPE = f"<?xml version='1.0'?>{HEAD}<n:Done xmlns:n='urn:n'><n:ok/></n:Done>{TAIL}"
PARTS = (
    "\r\n--uuid:1\r\nContent-Id: <label@erp>\r\nContent-Type: application/pdf\r\n"
    "Content-Transfer-Encoding: binary\r\n\r\n%PDF \x00\x01"
    "\r\n--uuid:1\r\nContent-Id: <root@erp>\r\n"
    'Content-Type: application/xop+xml;charset=utf-8;type="text/xml"\r\n'
    f"Content-Transfer-Encoding: binary\r\n\r\n{ENVELOPE}\r\n--uuid:1--"
).encode()
RELATED = 'Multipart/Related; boundary="uuid:1"; type="application/xop+xml";\r\n start="<{}>"'


def test_an_answer_of_several_parts_has_its_envelope_in_the_root() -> None:
    """Proves that a service which sends attachments is read by the part that it names, with the
    angle brackets of ids or without, or the first; one that names a part which is not there is no
    answer, and what has no parts is as it came."""
    said = soap.read(soap.message_in(RELATED.format("root@erp"), PARTS))
    assert not isinstance(said, Fault) and said.name == "Done"
    for parts in (PARTS, PARTS.replace(b"<root@erp>", b"root@erp")):
        for start in ('"<root@erp>"', '"root@erp"', "<root@erp>", "root@erp"):
            kind = f'multipart/related; boundary="uuid:1"; start={start}'
            assert not isinstance(soap.read(soap.message_in(kind, parts)), Fault), start
    first = PARTS[PARTS.index(b"\r\n--uuid:1\r\nContent-Id: <root") :]
    unnamed = RELATED.partition("start=")[0].strip().rstrip(";")
    assert not isinstance(soap.read(soap.message_in(unnamed, first)), Fault)
    with pytest.raises(Unreadable, match="has no part other@erp"):
        soap.message_in(RELATED.format("other@erp"), PARTS)
    with pytest.raises(Unreadable):
        soap.read(soap.message_in(RELATED.format("root@erp"), b"<html>away</html>"))
    assert soap.message_in("text/xml; charset=utf-8", ENVELOPE.encode()) == ENVELOPE.encode()


def test_a_clock_without_its_zone_is_nobodys() -> None:
    """Proves that a time without zone, what is no time, and the first and the last moment of the
    calendar are not taken for the answerer's."""
    data = soap.fault("X", "no", created=CREATED).decode()
    ends = ("0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-05:00")
    for other in ("2010-09-16T07:50:45", "yesterday", "", *ends):
        changed = data.replace("2010-09-16T07:50:45Z", other)
        assert soap.told_time(soap.opened(changed.encode())) is None
