"""Broken payloads are broken where they say, in JSON and in XML; places add up to pointers."""

from __future__ import annotations

import json
import re
from typing import Any
from xml.etree import ElementTree

import pytest
from crossdock.delivery.v1 import delivery_pb2, delivery_service_pb2
from crossdock_adapters.sdk.conformance import payloads
from crossdock_adapters.sdk.conformance.evidence import Evidence, telling_parts
from crossdock_adapters.sdk.conformance.ledger import CALL, LOOK_UP, Delivery, following
from crossdock_adapters.sdk.conformance.subject import JSON, XML, WayIn
from crossdock_adapters.sdk.manifest import OperationClass
from crossdock_adapters.sdk.places import Unreadable, inside, pointer

GOOD_JSON = b'{"number": "P-1", "lines": [{"quantity": 2}]}'
GOOD_XML = b'<?xml version="1.0"?><order xmlns="urn:x"><line><quantity>2</quantity></line></order>'
IN_JSON = WayIn("/x", [GOOD_JSON], media=JSON, needed=["/number", "/lines/0/quantity"])
IN_XML = WayIn("/x", [GOOD_XML], media=XML, needed=["/order/line/quantity"])


def test_places_add_up_from_the_inside() -> None:
    """Proves that a reason has the whole way, whatever the names have in them."""
    said = r"^/lines/0/quantity: is no number$"
    with pytest.raises(Unreadable, match=said) as caught, inside(pointer("lines", 0)):
        raise Unreadable("is no number", "/quantity")
    assert (caught.value.place, caught.value.problem) == ("/lines/0/quantity", "is no number")
    assert pointer("a/b", "c~d", 3) == "/a~1b/c~0d/3"
    assert str(Unreadable("is not an object")) == "is not an object"


def test_json_is_broken_at_each_place_once_missing_and_once_otherwise() -> None:
    """Proves that a broken payload differs from the good one at its place, and nowhere else."""
    cut, *changed = payloads.malformed(IN_JSON)
    with pytest.raises(json.JSONDecodeError) as caught:
        json.loads(cut.payload)
    assert re.search(cut.place, str(caught.value))
    bodies: list[Any] = [json.loads(each.payload) for each in changed]
    assert [("number" in body, "quantity" in body["lines"][0]) for body in bodies] == [
        (False, True),
        (True, True),
        (True, False),
        (True, True),
    ]
    assert bodies[1]["number"] != "P-1"
    assert bodies[3]["lines"][0]["quantity"] != 2
    assert re.search(changed[2].place, "/lines/0/quantity: is missing")
    assert not re.search(changed[2].place, "/lines/0/quantity/unit: is missing")
    assert not re.search(changed[2].place, "/order/lines/0/quantity: is missing")


def test_xml_is_broken_at_each_place_once_missing_and_once_otherwise() -> None:
    """Proves the same for elements, whatever their namespace."""
    cut, missing, other = payloads.malformed(IN_XML)
    with pytest.raises(ElementTree.ParseError) as caught:
        ElementTree.fromstring(cut.payload)
    assert re.search(cut.place, str(caught.value))
    assert b"quantity" not in missing.payload
    assert b"of another kind" in other.payload
    assert re.search(other.place, "/order/line/quantity: is no number")


def test_unknown_fields_are_added_and_nothing_is_taken_away() -> None:
    """Proves that a grown payload still says everything that the good one says."""
    grown = json.loads(payloads.grown(IN_JSON) or b"")
    assert grown["number"] == "P-1"
    assert grown["lines"][0]["quantity"] == 2
    assert payloads.UNKNOWN_NAME in grown
    assert payloads.UNKNOWN_NAME in grown["lines"][0]
    root = ElementTree.fromstring(payloads.grown(IN_XML) or b"")
    assert root.find(".//{urn:x}quantity") is not None
    assert root.find(f".//{payloads.UNKNOWN_NAME}") is not None


def test_bombs_are_what_they_are_called() -> None:
    """Proves that the hostile payloads are small, and hold what eats time or memory."""
    in_json, in_xml = payloads.bombs(IN_JSON), payloads.bombs(IN_XML)
    assert all(len(each) < 2_000_000 for each in in_json + in_xml)
    assert any(b"1E+999999999" in each for each in in_json)
    assert any(each.count(b"[") >= payloads.NESTED for each in in_json)
    assert any(b"&lol9;" in each and b"lol8" in each for each in in_xml)
    assert any(b"SYSTEM" in each for each in in_xml)
    assert all(len(each) >= 700_000 for each in payloads.oversize(IN_JSON, 700_000)[:1])


def test_a_secret_is_found_wherever_it_stands() -> None:
    """Proves that a short secret, and the lines of a key, are found in logs and messages."""
    line = "MHcCAQEEIEVUbHVlYmVycnlNdWZmaW5zQXJlR29vZA"
    key = f"-----BEGIN KEY-----\n{line}\n-----END KEY-----"
    assert list(telling_parts(key)) == [line]
    assert list(telling_parts("hunter22")) == ["hunter22"]
    evidence = Evidence(secrets={"hunter22", line})
    assert evidence.found() == []
    evidence.log("DEBUG x: logging in with hunter22")
    evidence.told.append(b"a message with " + line.encode())
    assert evidence.found() == ["what the hub was told", "the log: DEBUG x: logging in with ***"]


@pytest.mark.parametrize(
    ("kind", "doing", "outcome", "missing", "then"),
    [
        (OperationClass.SEARCHABLE, CALL, "UNKNOWN", 0, LOOK_UP),
        (OperationClass.SEARCHABLE, CALL, "LEASE_EXPIRED", 0, LOOK_UP),
        (OperationClass.SEARCHABLE, LOOK_UP, "NOT_FOUND", 1, LOOK_UP),
        (OperationClass.SEARCHABLE, LOOK_UP, "NOT_FOUND", 2, CALL),
        (OperationClass.SEARCHABLE, LOOK_UP, "UNKNOWN", 1, LOOK_UP),
        (OperationClass.SEARCHABLE, LOOK_UP, "THROTTLED", 1, LOOK_UP),
        (OperationClass.SEARCHABLE, CALL, "ANSWER_LATER", 0, LOOK_UP),
        (OperationClass.NATURAL, CALL, "UNKNOWN", 0, CALL),
        (OperationClass.KEYED, CALL, "UNKNOWN", 0, CALL),
        (OperationClass.TWO_STEP, CALL, "UNKNOWN", 0, CALL),
        (OperationClass.NONE, CALL, "UNKNOWN", 0, None),
        (OperationClass.NONE, CALL, "RETRY", 0, CALL),
        (OperationClass.NONE, CALL, "CONFIRMED", 0, None),
    ],
)
def test_what_follows_an_outcome_is_what_the_hub_does(
    kind: OperationClass, doing: int, outcome: str, missing: int, then: int | None
) -> None:
    """Proves the kit's ledger against the table of classes in adapters/README.md."""
    assert following(kind, doing, outcome, missing) == then


def test_the_ledger_hands_a_delivery_out_once() -> None:
    """Proves that a second begin, an old message and a late word change nothing."""
    delivery = Delivery("book", b"", "x", kind=OperationClass.SEARCHABLE)
    assert delivery.begin(1, "a")
    assert delivery.begin(1, "a")
    assert not delivery.begin(1, "b")
    delivery.expire()
    assert delivery.again()
    assert delivery.doing == LOOK_UP
    assert not delivery.begin(1, "c")
    assert delivery.begin(2, "c")
    assert not delivery.begin(2, "d")
    assert not delivery.complete(delivery_service_pb2.Completion(token=1))
    assert (delivery.late, delivery.outcomes) == (1, ["LEASE_EXPIRED"])
    later = delivery_service_pb2.Completion(token=2, code="answer_later")
    later.outcome = delivery_pb2.ATTEMPT_OUTCOME_UNKNOWN
    assert delivery.complete(later)
    assert not delivery.begin(2, "e")
    assert delivery.last == "ANSWER_LATER"
    assert not delivery.straight
