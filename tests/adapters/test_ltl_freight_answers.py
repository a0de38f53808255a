"""LTL freight and the forms in which carriers answer by the open standard."""

from __future__ import annotations

import base64
import json
import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from crossdock_adapters.ltl_freight import conformance, sandbox_bols
from crossdock_adapters.ltl_freight.client import Booked, Taken
from crossdock_adapters.sdk.http import Answer, VendorHttp
from crossdock_adapters.sdk.outcomes import (
    AnswerLater,
    NeedsPerson,
    OutcomeUnknown,
    Reject,
    Retry,
    Untranslatable,
)
from ltl_freight_world import REFERENCE, pallets, running
from multidict import CIMultiDict
from test_ltl_freight_translate import RULES, bill

PRO = "500000001"
WANTED = {"referenceNumbers": {"pro": PRO}}


class Answering:
    """The carrier's API, which says one thing, as JSON unless it is bytes."""

    def __init__(self, status: int, body: Any) -> None:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self._answer = Answer(status, CIMultiDict(), raw)

    async def request(self, method: str, path: str, **options: Any) -> Answer:
        return self._answer

    async def post(self, path: str, **options: Any) -> Answer:
        return self._answer

    async def get(self, path: str, **options: Any) -> Answer:
        return self._answer

    async def close(self) -> None: ...


def made(pro: Any = PRO, **status: Any) -> dict[str, Any]:
    """A bill of lading that was made, with this status of its message."""
    numbers = {"pro": pro, "shipmentConfirmationNumber": "C77"}
    return {"referenceNumbers": numbers, "images": None, "messageStatus": status or None}


@pytest.mark.parametrize("broken", ["\r\n", "\n", " "])
async def test_labels_may_be_broken_into_lines(tmp_path: Path, broken: str) -> None:
    """Proves that labels whose base64 has line breaks, as encoders of mail write it, are labels."""
    image = base64.encodebytes(b"%PDF-1.4 " + b"label " * 40).decode().replace("\n", broken)
    body = {**made(status="PASS"), "images": {"shippingLabels": image}}
    async with running(tmp_path) as world:
        with patch.object(world.vendor.bols, "_http", Answering(201, body)):
            booked = await world.vendor.bols.book(WANTED)
        assert isinstance(booked, Booked) and booked.labels.startswith(b"%PDF-1.4 label")


@pytest.mark.parametrize(
    ("body", "note"),
    [
        (made(status="PASS", code="10000000", message="all well", information=[]), ""),
        (made(status="pass", code=10000000), ""),
        (made(status="WARNING", code="20000007", message="class is looked at"), "class is looked"),
        (made("500-000-001", status="PASS", code="10000000"), ""),
        (made(500000001, status="PASS"), ""),
        ({**made(status="PASS"), "resultStatusCodes": [{"code": 1700, "message": "also on C71"}]},
         "also on C71"),
        ({**made(status="PASS", code="100", message="made"),
          "resultStatusCodes": [{"code": 1700, "message": "also on C71"}]}, "made; also on C71"),
        (made(), ""),
    ],
)  # fmt: skip
async def test_a_bill_of_lading_that_passed_is_made(tmp_path: Path, body: Any, note: str) -> None:
    """Proves that the verdict says what became of it where the code is a carrier's own, that a PRO
    is the same with dashes or as a number, and that a warning is told, as is a remark that the
    order has another one."""
    async with running(tmp_path) as world:
        bols: Any = world.vendor.bols
        bols._http = Answering(201, body)
        booked = await bols.book(WANTED)
        assert isinstance(booked, Booked)
        assert (booked.pro, booked.confirmation) == (PRO, "C77")
        assert booked.note.startswith(note) and bool(booked.note) is bool(note)


@pytest.mark.parametrize(
    ("status", "body", "word", "told"),
    [
        (400, ["400 - Failure Formatting Error weight is no number"], Reject, "weight is no"),
        (400, [{"code": 300, "message": "no such class"}], Reject, "no such class"),
        (400, [500], Reject, "500"),
        (400, [{"code": "40000013", "message": "the dock is shut"}], NeedsPerson, "40000013 the"),
        (200, {"messageStatus": {"status": "FAIL", "code": "E7"}}, NeedsPerson, "E7"),
        (422, {"messageStatus": {"status": "FAIL"}}, NeedsPerson, "422"),
        (500, {"messageStatus": {"status": "FAIL", "code": "E7"}}, OutcomeUnknown, "E7"),
        (400, {"error": "bad request"}, OutcomeUnknown, "no message"),
        (400, b"<html>", OutcomeUnknown, "HTTP 400 without"),
        (201, {"referenceNumbers": {"pro": PRO}, "messageStatus": {"code": "E7"}},
         OutcomeUnknown, "E7"),
        (401, [{"code": "300"}], NeedsPerson, "401"),
        (201, ["100 - Information all is well"], OutcomeUnknown, "all is well"),
        (200, [{"code": "200", "message": "class is looked at"}], OutcomeUnknown, "class is"),
        (201, [{"code": "10000000", "message": "created"}], OutcomeUnknown, "created"),
        (201, made("071-4455", status="PASS"), NeedsPerson, "under PRO 071-4455, not under 5"),
        (201, made(None, status="PASS"), OutcomeUnknown, "names no PRO"),
        (201, made("-", status="PASS"), OutcomeUnknown, "names no PRO"),
        (200, ["200 - Warning mind", "500 - Failure Business Logic Error no"], Reject, "500"),
    ],
)  # fmt: skip
async def test_a_refusal_is_read_in_each_of_its_forms(
    tmp_path: Path, status: int, body: Any, word: type[Exception], told: str
) -> None:
    """Proves that a list of result codes refuses as a status does, that a carrier's own code goes
    to a person with its words, and that what is no refusal, though it shows no bill of lading
    either, proves nothing: a list of warnings, or of the carrier's own codes under a success. One
    that it made under a number of its own is a person's: asked again it would make another."""
    async with running(tmp_path) as world:
        bols: Any = world.vendor.bols
        bols._http = Answering(status, body)
        with pytest.raises(word, match=told):
            await bols.book(WANTED)


@pytest.mark.parametrize(
    ("body", "taken"),
    [
        (["1400 - Failure Duplicate Pro"], Taken.PRO),
        ([{"code": "E1"}, {"code": "1700", "message": "the order has one"}], Taken.PURCHASE_ORDER),
        ({"messageStatus": {"status": "FAIL", "code": "40000001",
                            "information": [{"code": "1400", "type": "error"}]}}, Taken.PRO),
        ({"messageStatus": {"status": "FAIL"}, "resultStatusCodes": [1400]}, Taken.PRO),
        ({"messageStatus": {"status": "FAIL", "code": "100"}, "resultStatusCodes": [1400]},
         Taken.PRO),
    ],
)  # fmt: skip
async def test_what_is_taken_is_read_in_each_of_its_forms(
    tmp_path: Path, body: Any, taken: Taken
) -> None:
    """Proves that a PRO or a purchase order that is taken is heard wherever its code stands."""
    async with running(tmp_path) as world:
        bols: Any = world.vendor.bols
        bols._http = Answering(400, body)
        assert await bols.book(WANTED) is taken


async def test_a_repeat_that_is_refused_in_own_words_is_looked_up(tmp_path: Path) -> None:
    """Proves that a carrier's own code for a repeat is no word about the first call: what the
    events show as ours is adopted, and without that it stays unknown."""
    async with running(tmp_path, {"duplicate_code": "40000013"}) as world:
        world.sandbox.faults.add({"kind": "reply_lost", "operation": "create", "count": 1})
        with pytest.raises(OutcomeUnknown):
            await world.buy(pallets(1))
        world.sandbox.settings["events_visible_after_seconds"] = 3600
        with pytest.raises(AnswerLater, match="no event shows"):
            await world.buy(pallets(1))
        world.sandbox.settings["events_visible_after_seconds"] = 0
        assert "already" in (await world.buy(pallets(1))).note


@pytest.mark.parametrize(
    ("status", "body", "cancelled"),
    [
        (200, {"messageStatus": {"status": "PASS", "code": "10000000"}}, True),
        (200, {"messageStatus": {"status": "PASS"}}, True),
        (200, ["100 - Information cancelled"], True),
        (200, [{"code": "200", "message": "a fee is due"}], True),
        (404, {"messageStatus": {"status": "FAIL", "code": "40000404"}}, False),
        (404, ["300 - Failure Data Error no such PRO"], False),
    ],
)
async def test_a_cancellation_is_read_in_each_of_its_forms(
    tmp_path: Path, status: int, body: Any, cancelled: bool
) -> None:
    """Proves that a verdict without a known code is enough, that a list of nothing but remarks is
    no refusal, and that "not found" is the carrier's word in each form of the standard."""
    async with running(tmp_path) as world:
        bols: Any = world.vendor.bols
        bols._http = Answering(status, body)
        assert await bols.cancel(PRO) is cancelled


@pytest.mark.parametrize(
    "body",
    [
        (200, {"messageStatus": {"status": "FAIL", "code": "100"}}, NeedsPerson),
        (404, b"<html>no such page</html>", OutcomeUnknown),
        (404, b"", OutcomeUnknown),
        (404, {"message": "no Route matched with those values"}, OutcomeUnknown),
        (404, ["100 - Information moved"], OutcomeUnknown),
        (200, [{"code": "10000000", "message": "cancelled"}], OutcomeUnknown),
        (400, ["500 - Failure Business Logic Error was picked up"], Reject),
    ],
)
async def test_a_cancellation_that_is_none_is_told(
    tmp_path: Path, body: tuple[int, Any, type[Exception]]
) -> None:
    """Proves that a verdict that it failed goes before a code, that a page is no word, and that a
    404 which a gateway may have said is none about a PRO."""
    async with running(tmp_path) as world:
        bols: Any = world.vendor.bols
        bols._http = Answering(body[0], body[1])
        with pytest.raises(body[2]):
            await bols.cancel(PRO)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "not in the carrier's words"),
        (["200 - Warning no such PRO"], r"no failure \(Warning no such PRO\)"),
        ({"messageStatus": {"status": "PASS"}}, r"no failure \(PASS\)"),
    ],
)
@pytest.mark.parametrize("verified", [True, False])
async def test_a_404_that_says_nothing_of_a_cancellation_leaves_it_to_the_events(
    tmp_path: Path, verified: bool, body: Any, told: str
) -> None:
    """Proves that behind a 404 without the carrier's word, or with a remark, a void is confirmed
    where the events show the cancellation, and is unknown, not a person's, where they do not or are
    not there."""
    async with running(tmp_path, verify_duplicates=verified) as world:
        await world.buy(pallets(1))
        bols: Any = world.vendor.bols
        carrier = bols._http

        class Gateway(Answering):
            """Knows no way to the bills of lading, and lets everything else through."""

            async def get(self, path: str, **options: Any) -> Answer:
                found: Answer = await carrier.get(path, **options)
                return found

        bols._http = Gateway(404, body)
        with pytest.raises(OutcomeUnknown, match=told):
            await world.void(pallets(1))
        assert not any(bol["state"] == "CANCELLED" for bol in world.sandbox.books()["bols"])
        bols._http = carrier
        assert await bols.cancel(PRO)
        bols._http = Gateway(404, body)
        if verified:
            assert (await world.void(pallets(1))).references[0].value == PRO
        else:
            with pytest.raises(OutcomeUnknown, match=told):
                await world.void(pallets(1))
        bols._http = carrier


async def test_events_are_read_as_a_page(tmp_path: Path) -> None:
    """Proves that a page of the visibility standard is read, that our reference is found as id of
    its shipment or among its references, and that the PRO itself is nobody's reference."""
    event = {
        "eventId": "1", "type": "CANCELLED", "occurredAt": "2026-03-05T08:00:00Z", "sequence": 0,
        "shipment": {
            "shipmentId": REFERENCE,
            "references": [{"type": "PRO", "value": "500-000-001"}, {"type": "BOL"}, None],
        },
    }  # fmt: skip
    async with running(tmp_path) as world:
        bols: Any = world.vendor.bols
        for body in ({"data": [event, "?"], "page": 1, "pageSize": 500}, {"events": [event]}):
            bols._http = Answering(200, body)
            history = await bols.history(PRO)
            assert (history.references, history.cancelled) == ({REFERENCE}, True)
        bols._http = Answering(200, {"data": [], "page": 1, "pageSize": 500})
        assert not (await bols.history(PRO)).known
        problem = {"title": "Not ready", "status": 503, "detail": "in an hour"}
        bols._http = Answering(503, problem)
        with pytest.raises(Retry, match="Not ready; in an hour"):
            await bols.history(PRO)


def test_a_bill_of_lading_has_what_the_standard_requires() -> None:
    """Proves that the pick-up is a time, that each line says whether it may be stacked, that lines
    which are nested in no unit are none, that a Canadian postal code has no blank, and that a
    recipient without a telephone gets that of the settings; and that the carrier minds each."""
    shipment = conformance.shipment()
    shipment.ship_to.address.country_code = "CA"
    shipment.ship_to.address.state = "ON"
    shipment.ship_to.address.postal_code = "m5v 2t6"
    shipment.ship_to.ClearField("phone")
    said = bill(shipment, replace(RULES, recipient_phone="+1 416 555 0100"))
    assert said["bol"]["requestedPickupDate"] == "2026-03-05T00:00:00.000"
    assert said["destination"]["postalCode"] == "M5V2T6"
    assert said["destination"]["contact"]["phone"] == "4165550100"
    item = said["commodities"]["handlingUnits"][0]["lineItems"][0]
    assert item["stackable"] is False
    carrier = sandbox_bols.Bols("1400", unique_po=False, range_=None)
    required = [
        (said["bol"], "requestedPickupDate"),
        (item, "stackable"),
        (said["commodities"], "lineItems"),
    ]
    for part, name in required:
        kept = part.pop(name)
        with pytest.raises(sandbox_bols.Refusal, match=name):
            carrier.make(said, datetime.now(UTC))
        part[name] = kept
    assert carrier.make(said, datetime.now(UTC)).pro == PRO
    shipment.ship_to.address.country_code = "DE"
    with pytest.raises(Untranslatable, match="ship to"):
        bill(shipment)


@pytest.mark.parametrize("life", [{}, {"expires_in": None}, {"expires_in": "3600"}])
async def test_a_token_need_not_say_how_long_it_lives(tmp_path: Path, life: dict[str, Any]) -> None:
    """Proves that a token without its life, or with that as a text, is taken, and that an answer
    without a token is tried again."""
    async with running(tmp_path) as world:
        bols: Any = world.vendor.bols
        bols._http = Answering(200, {"access_token": "T-1", **life})
        assert await bols._tokens.get() == "T-1"
        bols._tokens.invalidate("T-1")
        for body in ({"token": "T-1"}, ["T-1"], b"<html>"):
            bols._http = Answering(200, body)
            with pytest.raises(Retry, match="token cannot be read"):
                await bols._tokens.get()


async def test_a_gateway_gets_its_key(tmp_path: Path) -> None:
    """Proves that a key that a carrier's gateway wants goes with each request in its header, and
    that a new one is taken as soon as it is there."""
    settings = {"api_key_header": "apikey", "api_key": "env:LTL_TEST_GATEWAY_KEY"}
    os.environ["LTL_TEST_GATEWAY_KEY"] = "first"
    sent: list[str] = []

    async def request(self: VendorHttp, *parts: Any, **options: Any) -> Answer:
        sent.append((options["headers"] or {}).get("apikey", ""))
        return await unwatched(self, *parts, **options)

    unwatched = VendorHttp.request
    async with running(tmp_path, **settings) as world:
        with patch.object(VendorHttp, "request", request):
            await world.buy(pallets(1))
            os.environ["LTL_TEST_GATEWAY_KEY"] = "second"
            await world.vendor.bols.history(PRO)
            await world.void(pallets(1))
    assert sent == ["first", "first", "second", "second"]
