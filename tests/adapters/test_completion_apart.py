"""What a completion has no room for: counted where people read first, and held by the hub."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from crossdock.delivery.v1 import delivery_service_pb2
from crossdock.errors import HubFaultError, Refusal
from crossdock.label.v1 import label_service_pb2
from crossdock_adapters.sdk import attempts, vendor_json
from crossdock_adapters.sdk.attempts import FAULT_TELLS_MAX, Attempts, HubAway, HubRefused
from crossdock_adapters.sdk.carrying import FACT_CONTENT_TYPE, place_of
from crossdock_adapters.sdk.completion import CALL, whole_completion
from crossdock_adapters.sdk.exchange import Exchange
from crossdock_adapters.sdk.outcomes import Confirmed, Reference
from crossdock_adapters.sdk.presence import Presence

DELIVERY = "0190a5b0-0000-7000-8000-000000000001"
REFUSAL = Refusal("INTERNAL_FAULT", "fault")


def label(image_bytes: int, sign: bytes = b"x") -> label_service_pb2.CreateLabelRequest:
    request = label_service_pb2.CreateLabelRequest()
    request.label.image = sign * image_bytes
    return request


def told(result: Confirmed) -> tuple[delivery_service_pb2.Completion, list[Any]]:
    return whole_completion(DELIVERY, 1, CALL, result, Exchange())


class Ledger:
    """Keeps what it is told, in order, and fails as it is made to."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.held: dict[str, bytes] = {}
        self.content_types: list[str] = []
        self.completions: list[delivery_service_pb2.Completion] = []
        self.hold_fails: Callable[[str], None] = lambda key: None
        self.refuses_facts = False

    async def hold(
        self, source: str, payload: bytes, content_type: str, reason: str, key: str
    ) -> str:
        self.calls.append("hold")
        self.hold_fails(key)
        self.held.setdefault(key, payload)
        self.content_types.append(content_type)
        return str(uuid.uuid5(uuid.NAMESPACE_OID, key))

    async def complete(
        self, completions: list[delivery_service_pb2.Completion]
    ) -> list[delivery_service_pb2.CompletionResult]:
        self.calls.append("complete")
        if self.refuses_facts and any(each.facts for each in completions):
            raise HubRefused("a fact is wrong")
        self.completions += completions
        return [delivery_service_pb2.CompletionResult() for _ in completions]

    async def begin(self, begins: list[Any]) -> list[Any]:
        raise AssertionError

    async def renew(self, renewals: list[Any]) -> list[Any]:
        raise AssertionError


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "FIRST_PAUSE_SECONDS", 0.001)


def test_what_is_left_out_stands_before_the_vendor_s_words() -> None:
    """Proves that a long note of the vendor does not push out what was cut and how many."""
    many = [Reference("booking", str(number)) for number in range(57)]
    facts = [label(1)] * 52 + [label(600 * 1024)]
    answer, apart = told(Confirmed(many, facts, "so it is; " * 300, many[:51]))
    wanted = "3 of 53 facts, 7 of 57 references, 1 of 51 duplicates"
    assert wanted in answer.reason[:200]
    assert (len(answer.facts), len(answer.vendor_references), len(answer.duplicates)) == (50,) * 3
    by_reason = {each.reason.split(" of ")[0]: each for each in apart}
    assert vendor_json.loads(by_reason["duplicates"].payload) == {
        "duplicates": [{"type": "booking", "value": "50"}]
    }
    assert len(vendor_json.loads(by_reason["references"].payload)["references"]) == 7


def test_what_fits_is_told_as_before() -> None:
    """Proves that a completion with room for everything says nothing more and holds nothing."""
    answer, apart = told(Confirmed([Reference("booking", "1")], [label(10)], "booked"))
    assert (answer.reason, apart, len(answer.facts)) == ("booked", [], 1)


def test_a_large_fact_is_held_whole_in_parts_with_keys_that_repeat() -> None:
    """Proves that the parts together are the fact, that each is small enough to be held, that a
    repeat has the same keys, and that another fact at the same place has others."""
    _, apart = told(Confirmed(facts=[label(1_200_000)]))
    assert len(apart) == 3 and all(len(each.payload) <= 512 * 1024 for each in apart)
    whole = b"".join(each.payload for each in apart)
    fact = delivery_service_pb2.Fact.FromString(whole)
    assert fact.method == "/crossdock.label.v1.LabelService/CreateLabel"
    kept = label_service_pb2.CreateLabelRequest.FromString(fact.request)
    assert kept.label.image == b"x" * 1_200_000 and kept.request_id
    assert [each.content_type for each in apart] == [
        f"{FACT_CONTENT_TYPE}; part={number}/3" for number in (1, 2, 3)
    ]
    again = told(Confirmed(facts=[label(1_200_000)]))[1]
    other = told(Confirmed(facts=[label(1_200_000, b"y")]))[1]
    keys = [each.key for each in apart]
    assert keys == [each.key for each in again] and len(set(keys)) == 3
    assert not set(keys) & {each.key for each in other}


async def test_it_is_held_before_the_outcome_is_told_and_once() -> None:
    """Proves the order that loses nothing, over a hub that is away, and that a repeat adds none."""
    ledger = Ledger()
    away = iter([HubAway("away"), HubAway("away")])

    def fails(key: str) -> None:
        if gone := next(away, None):
            raise gone

    ledger.hold_fails = fails
    known: list[str] = []
    attempts_of = Attempts(ledger, Presence("the hub"), known.extend)
    for _ in range(2):
        await attempts_of.complete(*told(Confirmed(facts=[label(600 * 1024)])))
    assert len(known) == 4 and known[:2] == known[2:]
    places = [place_of(each) for each in ledger.content_types[:2]]
    assert [each.after for each in places if each] == ["", known[0]]
    assert ledger.calls == ["hold"] * 4 + ["complete"] + ["hold"] * 2 + ["complete"]
    assert len(ledger.held) == 2


@pytest.mark.parametrize("fault", [False, True])
async def test_what_the_hub_does_not_hold_is_said_and_ends_nothing(fault: bool) -> None:
    """Proves that a refusal, and a fault of the hub at each try, lets the outcome be told, with how
    many are lost at the front of its reason."""
    ledger = Ledger()

    def fails(key: str) -> None:
        if not fault:
            raise HubRefused("no such source")
        raise HubAway("fault") from HubFaultError(REFUSAL, grpc.StatusCode.INTERNAL)

    ledger.hold_fails = fails
    result = Confirmed(facts=[label(600 * 1024)], note="so it is; " * 300)
    await Attempts(ledger, Presence("the hub")).complete(*told(result))
    (completion,) = ledger.completions
    assert completion.reason.startswith("LOST, the hub does not hold 2 of 2: ")
    assert len(completion.reason) <= 1_000
    assert ledger.calls.count("hold") == 2 * (FAULT_TELLS_MAX if fault else 1)


async def test_a_refused_completion_leaves_its_facts_held() -> None:
    """Proves that the facts which a bare completion drops are held before it is told, and that it
    still says what was apart from the beginning."""
    ledger = Ledger()
    ledger.refuses_facts = True
    result = Confirmed(facts=[label(10), label(20), label(600 * 1024)])
    await Attempts(ledger, Presence("the hub")).complete(*told(result))
    assert ledger.calls == ["hold", "hold", "complete", "hold", "hold", "complete"]
    (completion,) = ledger.completions
    assert completion.reason.startswith("2 facts stay behind, held as payloads of completion; ")
    assert "a fact is wrong" in completion.reason and "1 of 3 facts" in completion.reason
    assert len(ledger.held) == 4
