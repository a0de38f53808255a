"""The simulated ERP by SOAP takes what a strict service takes, by names of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from crossdock.order.v1 import order_events_pb2
from crossdock_adapters.legacy_soap import adapter
from crossdock_adapters.sdk import soap
from crossdock_adapters.sdk.conformance.erp_order import order
from crossdock_adapters.sdk.outcomes import NeedsPerson, OutcomeUnknown, Retry
from legacy_soap_world import running

CREATE = "create_sales_order"
SOLD = order_events_pb2.OrderApproved(order=order())


@pytest.mark.parametrize("version", soap.VERSIONS)
@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("SECURITY", "InvalidSecurity"),
        ("UTILITY", "InvalidSecurityToken"),
        ("PASSWORD_DIGEST", "InvalidSecurity"),
        ("ADDRESSING", "MessageAddressingHeaderRequired"),
    ],
)
async def test_a_wrong_namespace_of_ours_does_not_serve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, name: str, code: str
) -> None:
    """Proves for each namespace of the headers that one which the adapter had wrong would fail the
    connection test: the sandbox knows them by itself."""
    monkeypatch.setattr(soap, name, "urn:wrong")
    with pytest.raises((NeedsPerson, Retry), match=code):
        async with running(tmp_path, soap_version=version):
            pass


@pytest.mark.parametrize(
    "wrong",
    [{"action": ""}, {"action": "urn:other"}, {"to": "http://127.0.0.1/"}, {"message_id": ""}],
)
async def test_a_message_is_addressed_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: dict[str, str]
) -> None:
    """Proves that a message without id or action, with another action than its HTTP header's, or to
    another address is refused as WS-Addressing says, for a person, and that ours is not."""
    written = soap.envelope

    def wrongly(*given: Any, **also: Any) -> bytes:
        return written(*given, **{**also, **wrong})

    async with running(tmp_path) as desk:
        monkeypatch.setattr(soap, "envelope", wrongly)
        with pytest.raises(NeedsPerson, match="Address"):
            await desk.do(CREATE, SOLD)
        assert desk.asked() == []
        monkeypatch.undo()
        await desk.do(CREATE, SOLD)


@pytest.mark.parametrize("version", soap.VERSIONS)
@pytest.mark.parametrize(
    ("code", "word"),
    [
        ("UnsupportedAlgorithm", NeedsPerson),
        ("FailedCheck", NeedsPerson),
        ("SecurityTokenUnavailable", Retry),
        ("InvalidCardinality", NeedsPerson),
        ("ActionMismatch", NeedsPerson),
        ("DestinationUnreachable", NeedsPerson),
        ("EndpointUnavailable", Retry),
        ("DuplicateMessageID", OutcomeUnknown),
    ],
)
async def test_faults_of_the_headers_are_the_standards(
    tmp_path: Path, version: str, code: str, word: type[Exception]
) -> None:
    """Proves of what WS-Security and WS-Addressing refuse a message for, under SOAP 1.1 as the
    faultcode itself, that nothing was done by it, and of a message id that the service had that it
    may have been done before."""
    async with running(tmp_path, soap_version=version) as desk:
        refusal = soap.fault("", "no", blames=code, version=version)
        desk.sandbox.show("sales-orders", refusal, 500)
        with pytest.raises(word, match=code):
            await desk.do(CREATE, SOLD)


@pytest.mark.parametrize("name", ["created", "expires"])
async def test_a_time_without_its_zone_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Proves that a token with a time of no zone is answered with a fault, not with an error."""
    written = soap.username_token

    def zoneless(*given: Any, **also: Any) -> soap.UsernameToken:
        made = written(*given, **also)
        return replace(made, **{name: getattr(made, name).removesuffix("Z")})

    async with running(tmp_path, message_life_seconds=60, password_type="text") as desk:
        monkeypatch.setattr(soap, "username_token", zoneless)
        with pytest.raises(Retry, match=r"InvalidSecurityToken .*cannot be read"):
            await desk.do(CREATE, SOLD)
        assert desk.asked() == []


async def test_a_line_out_of_its_order_is_refused(tmp_path: Path) -> None:
    """Proves that the order of the schema counts inside of a line, too: a layout with two elements
    of a line exchanged is told with the place of the first that is wrong."""
    layout = Path(adapter.__file__).with_name("layouts") / "sales_orders.toml"
    item = '  { element = "Item", name = "item", length = 30 },\n'
    number = '  { element = "LineNumber", name = "line", type = "integer" },\n'
    text = layout.read_text("utf-8")
    assert number + item in text
    (tmp_path / "sales_orders.toml").write_text(text.replace(number + item, item + number))
    async with running(tmp_path, layouts_directory=str(tmp_path)) as desk:
        with pytest.raises(NeedsPerson, match=r"Lines/Line: LineNumber is missing or out of order"):
            await desk.do(CREATE, SOLD)
        assert desk.asked() == []
