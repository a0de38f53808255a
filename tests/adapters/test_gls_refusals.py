"""The GLS adapter on what ShipIT answers in ways of its own: refusals, and labels printed again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from crossdock_adapters.sdk import vendor_json
from crossdock_adapters.sdk.http import Answer
from crossdock_adapters.sdk.outcomes import NeedsPerson, OutcomeUnknown, Reject, Retry
from gls_world import REFERENCE, World, running


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with running() as made:
        yield made


@pytest.mark.parametrize(
    ("status", "headers", "body", "raised", "words"),
    [
        (400, {"error": "INVALID_FIELD_VALUE", "message": "Invalid field consignee.zip."}, b"",
         Reject, "consignee.zip"),
        (400, {"error": "INVALID_FIELD_VALUE", "message": "Invalid field ContactID.",
               "args": '["Shipment.Shipper.ContactID", "27600"]'}, b"", NeedsPerson, "ContactID"),
        (400, {"error": "MANDATORY_PARAMETER_NOT_SET", "message": "no Shipment", "args": "[]"}, b"",
         Reject, "MANDATORY_PARAMETER_NOT_SET no Shipment"),
        (400, {"error": "ACCESS_TO_SHIPPER_DENIED", "message": "denied", "args": "["}, b"",
         NeedsPerson, "denied"),
        (400, {"message": "Invalid field PIN. Value is too short"}, b"", Reject, "too short"),
        (490, {}, b"", OutcomeUnknown, "490"),
        (490, {"error": "INACTIVE", "message": "the backend"}, b"", NeedsPerson, "the backend"),
        (400, {}, b"com.fasterxml.jackson.databind.JsonMappingException: no decimal", Reject,
         "no decimal"),
        (400, {}, b'{"errors": [{"code": "7", "message": "no such API"}]}', OutcomeUnknown,
         "no such API"),
    ],
)  # fmt: skip
async def test_shipit_refuses_in_the_headers(
    world: World, monkeypatch: pytest.MonkeyPatch, status: int, headers: dict[str, str],
    body: bytes, raised: type[Exception], words: str,
) -> None:  # fmt: skip
    """Proves that a refusal without a body is read from its headers, with the field that it is
    about, and the text of a reader that could not read; a gateway's list of errors rejects none."""

    async def refused(*_: Any, **__: Any) -> Answer:
        return Answer(status, headers, body)

    monkeypatch.setattr(world.client._http, "post", refused)
    with pytest.raises(raised, match=words):
        await world.client.create({})


async def test_a_token_that_is_refused_is_asked_for_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that a wrong key, which the token service tells in a list of errors, is told in its
    words and rejects no shipment: it is tried again until somebody has mended it."""
    told = b'{"errors": [{"message": "Invalid client identifier", "type": "400"}]}'

    async def refused(*_: Any, **__: Any) -> Answer:
        return Answer(400, {}, told)

    monkeypatch.setattr(world.client._http, "post", refused)
    with pytest.raises(Retry, match="Invalid client identifier") as wait:
        await world.client.test()
    assert wait.value.after_seconds == 60


async def test_a_label_that_is_printed_again_may_have_another_number(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that a parcel whose old label GLS cancelled is ours by the reference that it carries,
    whatever its number, and that one of somebody else is not, nor one whose reference only begins
    like ours."""
    parcel = {"TrackID": "00NEW001", "ParcelNumber": 42249028960,
              "ShipmentUnitReference": f"{REFERENCE}-1"}  # fmt: skip
    sheet = {"Data": "XlhB\nXlha", "LabelFormat": "ZEBRA"}
    answer = {"CreatedShipment": {"ParcelData": parcel, "PrintData": [sheet]}}

    async def printed(*_: Any, **__: Any) -> Answer:
        return Answer(200, {}, vendor_json.dumps(answer))

    monkeypatch.setattr(world.client._http, "post", printed)
    own = (REFERENCE, f"{REFERENCE}-1")
    shown = await world.client.reprint("00OLD001", "2026-03-04", {}, own)
    assert (shown.track_id, shown.number, shown.label.image) == (
        "00NEW001", "42249028960", b"^XA^XZ",
    )  # fmt: skip
    for others in (("ANOTHER",), (REFERENCE[:-1], f"{REFERENCE[:-1]}-1"), (REFERENCE,)):
        with pytest.raises(OutcomeUnknown, match="00NEW001"):
            await world.client.reprint("00OLD001", "2026-03-04", {}, others)
