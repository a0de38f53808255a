"""The small parts: shared calls, pacing, outcomes as completions, presence."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
import uuid
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from crossdock import contracts
from crossdock.client import HubClient
from crossdock.delivery.v1 import delivery_pb2, delivery_service_pb2
from crossdock.errors import Refusal, UnreachableError
from crossdock.label.v1 import label_pb2, label_service_pb2
from crossdock_adapters.sdk.attempts import Attempts, HubAway, HubRefused
from crossdock_adapters.sdk.coalesce import Coalescer
from crossdock_adapters.sdk.completion import CALL, LOOK_UP, completion
from crossdock_adapters.sdk.exchange import Exchange
from crossdock_adapters.sdk.http import Answer
from crossdock_adapters.sdk.hub_link import MAX_HELD_BYTES, HubLink
from crossdock_adapters.sdk.outcomes import (
    AnswerLater,
    Confirmed,
    FoundRejected,
    NeedsPerson,
    NotFound,
    OutcomeUnknown,
    Reference,
    Reject,
    Retry,
    Untranslatable,
)
from crossdock_adapters.sdk.presence import Presence
from crossdock_hub.config import Limits
from opentelemetry import trace
from opentelemetry.trace import TraceFlags
from sdk_ledger_hub import LedgerHub, serving, token_file
from sdk_waiting import until

DELIVERY = str(uuid.uuid4())
UNREACHABLE = UnreachableError(Refusal("HUB_UNAVAILABLE", "gone"), grpc.StatusCode.UNAVAILABLE)


async def test_a_lone_caller_waits_for_nobody_and_many_share() -> None:
    """One item is one call at once; what arrives meanwhile shares the next."""
    batches: list[list[int]] = []
    open_gate = asyncio.Event()

    async def send(items: list[int]) -> list[int]:
        batches.append(items)
        await open_gate.wait()
        return [item * 10 for item in items]

    shared = Coalescer(send, max_calls_in_flight=1, max_batch=5)
    first = asyncio.create_task(shared.call(1))
    await until(lambda: bool(batches))
    assert batches == [[1]]
    rest = [asyncio.create_task(shared.call(number)) for number in range(2, 9)]
    open_gate.set()
    assert await asyncio.gather(first, *rest) == [number * 10 for number in range(1, 9)]
    assert batches == [[1], [2, 3, 4, 5, 6], [7, 8]]


async def test_a_failed_call_reaches_each_of_its_callers_and_no_other() -> None:
    """What send raises is raised for the batch; the next batch is untouched by it."""

    async def send(items: list[int]) -> list[int]:
        if 1 in items:
            raise ConnectionError("away")
        return items

    shared = Coalescer(send)
    results = await asyncio.gather(shared.call(1), shared.call(2), return_exceptions=True)
    assert [type(result) for result in results] == [ConnectionError, ConnectionError]
    assert await shared.call(3) == 3


async def test_a_shared_call_stands_in_the_trace_of_one_who_shares_it() -> None:
    """A call runs in the context of its first caller whose trace is recorded, also when it had to
    wait for a call of others to end: it never lands in a trace that it has nothing to do with."""
    seen: list[tuple[list[int], int]] = []

    async def send(items: list[int]) -> list[int]:
        seen.append((items, trace.get_current_span().get_span_context().trace_id))
        await asyncio.sleep(0)
        return items

    async def within(item: int, flags: int) -> int:
        context = trace.SpanContext(item, item, is_remote=False, trace_flags=TraceFlags(flags))
        with trace.use_span(trace.NonRecordingSpan(context)):
            return await shared.call(item)

    shared = Coalescer(send, max_calls_in_flight=1, max_batch=2)
    calls = [within(1, 1), within(2, 1), within(3, 0), within(4, 1), within(5, 0), within(6, 0)]
    assert await asyncio.gather(*calls) == [1, 2, 3, 4, 5, 6]
    assert seen == [([1, 2], 1), ([3, 4], 4), ([5, 6], 5)]


async def test_a_cancelled_caller_is_not_sent() -> None:
    """An item nobody waits for any more never leaves."""
    sent: list[int] = []

    async def send(items: list[int]) -> list[int]:
        sent.extend(items)
        return items

    shared = Coalescer(send)
    task = asyncio.create_task(shared.call(1))
    await asyncio.sleep(0)
    task.cancel()
    assert await shared.call(2) == 2
    assert sent == [2]


@pytest.mark.parametrize(
    ("kind", "ended", "effect_left", "outcome"),
    [
        (CALL, Confirmed(), True, "CONFIRMED"),
        (CALL, Retry(2, "x"), True, "RETRY"),
        (CALL, Reject("E1", "x"), True, "REJECTED"),
        (CALL, NeedsPerson("x"), False, "PARKED"),
        (CALL, Untranslatable("x"), False, "PARKED"),
        (CALL, OutcomeUnknown("x"), False, "UNKNOWN"),
        (CALL, AnswerLater("x"), True, "UNKNOWN"),
        (CALL, ValueError("x"), True, "UNKNOWN"),
        (CALL, ValueError("x"), False, "PARKED"),
        (CALL, TimeoutError("x"), True, "UNKNOWN"),
        (CALL, TimeoutError("x"), False, "RETRY"),
        (CALL, None, False, "PARKED"),
        (CALL, HubAway("x"), False, "RETRY"),
        (CALL, HubAway("x"), True, "UNKNOWN"),
        (CALL, UNREACHABLE, False, "RETRY"),
        (CALL, UNREACHABLE, True, "UNKNOWN"),
        (CALL, HubRefused("x"), False, "PARKED"),
        (CALL, None, True, "UNKNOWN"),
        (CALL, NotFound(), True, "UNKNOWN"),
        (LOOK_UP, Confirmed(), False, "CONFIRMED"),
        (LOOK_UP, NotFound(), False, "NOT_FOUND"),
        (LOOK_UP, Retry(2, "x"), False, "UNKNOWN"),
        (LOOK_UP, Reject("E1", "x"), False, "UNKNOWN"),
        (LOOK_UP, FoundRejected("E1", "x"), False, "REJECTED"),
        (CALL, FoundRejected("E1", "x"), True, "UNKNOWN"),
        (LOOK_UP, NeedsPerson("x"), False, "PARKED"),
        (LOOK_UP, AnswerLater("x"), False, "UNKNOWN"),
        (LOOK_UP, ValueError("x"), False, "UNKNOWN"),
        (LOOK_UP, TimeoutError("x"), False, "UNKNOWN"),
        (LOOK_UP, HubAway("x"), False, "UNKNOWN"),
        (LOOK_UP, None, False, "UNKNOWN"),
    ],
)
def test_every_end_has_its_outcome(
    kind: int, ended: object, effect_left: bool, outcome: str
) -> None:
    """The whole table: what was returned or raised, and what the ledger is told."""
    told = completion(DELIVERY, 7, kind, ended, Exchange(effect_left=effect_left))
    name = delivery_pb2.AttemptOutcome.Name(told.outcome)
    assert (told.token, name) == (7, f"ATTEMPT_OUTCOME_{outcome}")


@pytest.mark.parametrize("kind", [CALL, LOOK_UP])
def test_a_hub_that_is_away_says_nothing_about_the_vendor(kind: int) -> None:
    """Proves that an attempt which ends because the hub did not answer has the code that the hub
    does not count against the vendor."""
    for away in (HubAway("no answer"), UNREACHABLE):
        assert completion(DELIVERY, 7, kind, away, Exchange()).code == "not_tried"


@pytest.mark.parametrize("kind", [CALL, LOOK_UP])
def test_an_answer_that_comes_later_has_a_code_of_its_own(kind: int) -> None:
    """Proves that the hub can tell work that was taken from work that nobody answers for."""
    told = completion(DELIVERY, 7, kind, AnswerLater("file 12 waits"), Exchange(effect_left=True))
    assert (told.code, told.reason) == ("answer_later", "file 12 waits")


@pytest.mark.parametrize("kind", [CALL, LOOK_UP])
def test_the_vendors_wish_goes_with_an_unknown_outcome(kind: int) -> None:
    """Proves that a vendor that fails and asks for rest is left alone as long, also where nobody
    knows what it has done."""
    answer = Answer(503, {"Retry-After": "90"}, b"")
    ended = answer.unclear("the vendor answers 503", effect=True)
    assert isinstance(ended, OutcomeUnknown)
    told = completion(DELIVERY, 7, kind, ended, Exchange(effect_left=True))
    assert told.outcome == delivery_pb2.ATTEMPT_OUTCOME_UNKNOWN
    assert told.retry_after.ToSeconds() == 90
    harmless = answer.unclear("the vendor answers 503", effect=False)
    assert isinstance(harmless, Retry) and harmless.after_seconds == 90


@pytest.mark.parametrize(
    ("number", "said", "in_doubt"),
    [(1, None, False), (2, None, True), (2, False, False), (1, True, True)],
)
async def test_the_hub_says_whether_an_attempt_is_in_doubt(
    number: int, said: bool | None, in_doubt: bool
) -> None:
    """Proves that an attempt is in doubt where the hub says so, and that under a hub which does not
    say it any repeat is."""

    async def begin(begins: list[Any]) -> list[Any]:
        one = delivery_service_pb2.BeginResult(token=1, attempt=number, in_doubt=said)
        return [one for _ in begins]

    ledger: Any = SimpleNamespace(begin=begin, renew=None, complete=None)
    work = delivery_pb2.Dispatch(delivery_id=DELIVERY, dispatch_number=1)
    begun = await Attempts(ledger, Presence("hub")).begin(work, 5.0, "")
    assert begun.in_doubt is in_doubt


def test_facts_get_the_same_request_id_each_time() -> None:
    """A delivery that is completed again reports the same facts under the same ids."""
    fact = label_service_pb2.CreateLabelRequest()
    told = [
        completion(DELIVERY, token, CALL, Confirmed(facts=[fact, fact]), Exchange())
        for token in (1, 2)
    ]
    ids = [
        [label_service_pb2.CreateLabelRequest.FromString(each.request).request_id
         for each in answer.facts]
        for answer in told
    ]  # fmt: skip
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == 2
    own = label_service_pb2.CreateLabelRequest(request_id=DELIVERY)
    answer = completion(DELIVERY, 1, CALL, Confirmed(facts=[own]), Exchange())
    carried = label_service_pb2.CreateLabelRequest.FromString(answer.facts[0].request)
    assert carried.request_id == DELIVERY


def test_a_fact_that_cannot_be_carried_does_not_lose_the_outcome() -> None:
    """Something that is no request, or too large, is left out and said so."""
    large = label_service_pb2.CreateLabelRequest()
    large.label.image = b"x" * (600 * 1024)
    wrong = label_pb2.Label()
    answer = completion(DELIVERY, 1, CALL, Confirmed(facts=[wrong, large]), Exchange())
    assert answer.outcome == delivery_pb2.ATTEMPT_OUTCOME_CONFIRMED
    assert not answer.facts
    assert "2 of 2 facts" in answer.reason


def test_a_completion_is_never_too_large_for_the_hub() -> None:
    """Proves that facts which are small enough each, and not together, do not make a request that
    the hub refuses whole, outcome and all: what fits is carried, what does not is counted."""
    label = label_service_pb2.CreateLabelRequest()
    label.label.image = b"x" * (300 * 1024)
    answer = completion(DELIVERY, 1, CALL, Confirmed(facts=[label] * 5), Exchange())
    request = delivery_service_pb2.CompleteAttemptsRequest(completions=[answer])
    assert request.ByteSize() <= Limits().request_bytes_max
    assert len(answer.facts) == 2
    assert "3 of 5 facts" in answer.reason


@pytest.mark.parametrize("ended", [Confirmed(note="\0"), Reject("E\0", "no\0"), ValueError("\0")])
def test_what_a_vendor_says_is_always_taken(ended: Any) -> None:
    """Proves that U+0000 in words, excerpts and references of a vendor does not make a completion
    that the hub refuses, and with it the outcome's details."""
    if isinstance(ended, Confirmed):
        kept = [Reference("order\0", "SO\0 1")]
        ended = replace(ended, references=kept, duplicates=kept)
    exchange = Exchange(effect_left=True)
    exchange.note("POST /\0", "200 a\0b")
    answer = completion(DELIVERY, 1, CALL, ended, exchange)
    request = delivery_service_pb2.CompleteAttemptsRequest(endpoint="ups", completions=[answer])
    name = request.DESCRIPTOR.full_name
    assert contracts.validate(name, request.SerializeToString()) == []
    assert answer.response_excerpt == "200 a\ufffdb"
    if isinstance(ended, Confirmed):
        assert [each.value for each in answer.vendor_references] == ["SO\ufffd 1"]


def test_presence_speaks_once_each_way(caplog: pytest.LogCaptureFixture) -> None:
    """A hundred failures and a hundred successes are two lines."""
    caplog.set_level(logging.WARNING)
    presence = Presence("the vendor")
    presence.back()
    for _ in range(100):
        presence.gone("refused")
    for _ in range(100):
        presence.back()
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2
    assert messages[0] == "the vendor is gone: refused"
    assert messages[1].startswith("the vendor is back")


def test_an_answer_to_an_older_question_is_not_news(caplog: pytest.LogCaptureFixture) -> None:
    """A call that began before the vendor went and ends well after it does not bring it back."""
    caplog.set_level(logging.WARNING)
    presence = Presence("the vendor")
    asked_at = time.monotonic()
    presence.gone("refused")
    presence.back(asked_at)
    assert not presence.here and presence.trouble == "refused"
    presence.back(time.monotonic())
    assert presence.here
    presence.back(asked_at)
    assert presence.here and len(caplog.records) == 2


def test_a_failure_of_an_older_question_is_not_news(caplog: pytest.LogCaptureFixture) -> None:
    """Proves that a call which began while the vendor was away, and whose failure is told after one
    that succeeded, does not take it away again, however old a success is told in between; and that
    what fails later than some seconds after that success is news, whenever it began."""
    caplog.set_level(logging.WARNING)
    now = 0.0
    presence = Presence("the vendor", lambda: now)
    now = 1.0
    presence.gone("refused", asked_at=0.5)
    now = 2.0
    presence.back(asked_at=1.5)
    presence.back(asked_at=1.2)
    for _ in range(3):
        presence.gone("refused", asked_at=1.4)
        presence.doubt("timed out", asked_at=1.4)
    assert presence.here and len(caplog.records) == 2
    presence.doubt("timed out", asked_at=1.5)
    assert presence.here
    presence.gone("refused", asked_at=1.5)
    assert not presence.here
    now = 3.0
    presence.back()
    now = 7.9
    presence.gone("refused", asked_at=2.9)
    assert presence.here
    now = 8.0
    presence.gone("refused", asked_at=2.9)
    assert not presence.here and len(caplog.records) == 5


async def test_of_a_payload_too_large_to_hold_the_beginning_is_held(tmp_path: Path) -> None:
    """Proves that it is not refused for ever: what is left out is named, by size and digest."""
    hub, payload = LedgerHub(), b"x" * (MAX_HELD_BYTES + 1)
    async with (
        serving(hub) as server,
        HubClient(server.address, token_file=token_file(tmp_path)) as client,
    ):
        link = HubLink("tiny", client, "test")
        for _ in range(2):
            await link.hold("/hook", payload, "text/plain", "cannot be read", "")
        await link.hold("/hook", payload + b"y", "text/plain", "cannot be read", "")
    first, second = hub.held.values()
    for held in (first, second):
        assert not contracts.validate(held.DESCRIPTOR.full_name, held.SerializeToString())
        assert held.payload == payload[:MAX_HELD_BYTES]
    assert hashlib.sha256(payload).hexdigest() in first.reason
    assert f"of {len(payload)} bytes" in first.reason
    assert first.reason.endswith("cannot be read")
