"""Payloads that UPS's adapter could not translate, and what a mended one makes of them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from crossdock.dead_letter.v1 import dead_letter_service_pb2
from crossdock.endpoint.v1 import held_fact_pb2
from crossdock.tracking.v1 import tracking_service_pb2
from crossdock_adapters.sdk import held_payloads, vendor_json
from crossdock_adapters.sdk.attempts import HubAway
from crossdock_adapters.sdk.config import EndpointConfig
from crossdock_adapters.sdk.hub_link import HubLink
from crossdock_adapters.sdk.inbound import described
from crossdock_adapters.sdk.runner import EndpointRunner
from crossdock_adapters.sdk.sandbox import SandboxConfig
from crossdock_adapters.sdk.telemetry import Telemetry
from crossdock_adapters.ups import adapter, translate_scans
from crossdock_adapters.ups.sandbox import UpsSandbox
from fixtures_hub import Lane, RunningHub
from fixtures_nats import eventually
from sdk_ledger_hub import Queue
from story import CARRIER_CODE, Story, label, request_id, unique
from ups_world import ACCOUNT, CALLBACK_CREDENTIAL, SANDBOX_SETTINGS

HELD = held_fact_pb2.HELD_FACT_STATE_HELD
APPLIED = held_fact_pb2.HELD_FACT_STATE_APPLIED
PATH = "/ups/track-alert"
AUTHORIZED = {"authorization": f"Bearer {CALLBACK_CREDENTIAL}"}
WAIT_SECONDS = 60.0
UNDERSTOOD = translate_scans.alert_event


def alert(number: str, hour: int, shape: str = "status") -> bytes:
    """A callback of a shape that the adapter does not know: activityStatus under another name."""
    status = {"type": "I", "code": "AR", "description": "Arrived", "descriptionCode": "010"}
    return vendor_json.dumps(
        {
            "trackingNumber": number,
            "localActivityDate": "20260305",
            "localActivityTime": f"{hour:02}0000",
            shape: status,
        }
    )


def mended(payload: Any, *rest: Any) -> Any:
    """The better translation: the shape "status" is understood as well."""
    if isinstance(payload, dict) and "status" in payload:
        payload = {**payload, "activityStatus": payload["status"]}
    return UNDERSTOOD(payload, *rest)


async def open_source(*_: Any) -> Queue:
    return Queue()


@asynccontextmanager
async def running(hub: RunningHub, lane: Lane, sandbox: UpsSandbox) -> AsyncIterator[str]:
    """One process's worth of the UPS endpoint; yields its web address."""
    settings = {
        "base_url": sandbox.vendor_url,
        "client_id": "env:UPS_TEST_CLIENT_ID",
        "client_secret": "env:UPS_TEST_CLIENT_SECRET",
        "callback_credential": "env:UPS_TEST_CALLBACK",
        "account_number": ACCOUNT,
        "carrier_code": CARRIER_CODE,
        "calls_per_second": 2000,
    }
    token = hub.token_file(lane.carrier)
    config = EndpointConfig(lane.carrier, "ups", token, webhook_port=0, settings=settings)
    stopping = asyncio.Event()
    async with hub.client(lane.carrier) as client:
        link = HubLink(lane.carrier, client, "test")
        runner = EndpointRunner(config, adapter.ADAPTER, link, open_source, Telemetry())
        task = asyncio.create_task(runner.run(stopping))
        try:
            deadline = time.monotonic() + WAIT_SECONDS
            while runner.state != "serving":
                assert time.monotonic() < deadline and not task.done(), runner.state
                await asyncio.sleep(0.02)
            yield runner.webhook_url
        finally:
            stopping.set()
            await task


@pytest.fixture
async def sandbox() -> AsyncIterator[UpsSandbox]:
    async with UpsSandbox(SandboxConfig(name="ups", settings=SANDBOX_SETTINGS)) as running_one:
        yield running_one


@pytest.fixture(autouse=True)
def quick_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_payloads, "HELD_ROUND_SECONDS", 0.1)


@pytest.fixture
def first_round(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Set when what was held at start has been gone through."""
    over = asyncio.Event()
    one_round = held_payloads.HeldPayloads.one_round

    async def noted(self: held_payloads.HeldPayloads, *, asked: bool) -> str:
        left = await one_round(self, asked=asked)
        if not asked and not left:
            over.set()
        return left

    monkeypatch.setattr(held_payloads.HeldPayloads, "one_round", noted)
    return over


async def post(url: str, *bodies: bytes) -> None:
    async with aiohttp.ClientSession() as vendor:
        for body in bodies:
            answer = await vendor.post(url + PATH, data=body, headers=AUTHORIZED)
            assert answer.status == 200, await answer.text()


async def payloads(story: Story) -> list[held_fact_pb2.HeldFact]:
    request = held_fact_pb2.ListHeldFactsRequest(endpoint=story.lane.carrier, payloads_only=True)
    return list((await story.operator.endpoints.ListHeldFacts(request)).held_facts)


async def scanned(story: Story, number: str) -> list[Any]:
    request = tracking_service_pb2.ListTrackingEventsRequest(tracking_number=number)
    return list((await story.oms.tracking.ListTrackingEvents(request)).tracking_events)


async def parcel(story: Story) -> str:
    number = unique("1Z")
    packed = await story.packed()
    await story.manifest(packed.id)
    await story.carrier.labels.CreateLabel(label(packed.id, packed.packages[0].id, number))
    return number


async def all_in(story: Story, states: Sequence[int]) -> bool:
    return [each.state for each in await payloads(story)] == list(states)


async def test_a_mended_adapter_translates_what_was_held(
    hub: RunningHub,
    lane: Lane,
    sandbox: UpsSandbox,
    monkeypatch: pytest.MonkeyPatch,
    first_round: asyncio.Event,
) -> None:
    """Proves that callbacks of an unknown shape are held, tried again at a restart (one that still
    fails stays, with its reason, and holds up none), and that two processes of a mended adapter at
    once write each scan once, in the order they came, and close the dead letters."""
    async with Story(hub, lane) as story:
        number = await parcel(story)
        async with running(hub, lane, sandbox) as url:
            await asyncio.wait_for(first_round.wait(), WAIT_SECONDS)
            await post(url, *(alert(number, hour) for hour in (8, 9)), alert(number, 10, "odd"))
            assert await all_in(story, [HELD] * 3)
            assert await scanned(story, number) == []
        reported: list[str] = []
        monkeypatch.setattr(translate_scans, "alert_event", mended)
        report = HubLink.report_held

        async def note(link: HubLink, held_id: str, reason: str, *codes: Any) -> None:
            reported.append(held_id)
            await report(link, held_id, reason, *codes)

        monkeypatch.setattr(HubLink, "report_held", note)
        async with running(hub, lane, sandbox), running(hub, lane, sandbox):
            done = [APPLIED, APPLIED, HELD]
            await eventually(lambda: all_in(story, done), "translating", WAIT_SECONDS)

            async def last_tried() -> bool:
                return (await payloads(story))[2].drives >= 1

            await eventually(last_tried, "the one that still fails", WAIT_SECONDS)
        first, second, odd = await payloads(story)
        assert sorted(dict.fromkeys(reported)) == list(dict.fromkeys(reported))
        assert odd.refusal.message == "/activityStatus: is missing or not an object"
        assert (first.drives, second.drives) == (1, 1)
        events = await scanned(story, number)
        assert [event.event_time.local[11:13] for event in events] == ["08", "09"]
        request = dead_letter_service_pb2.ListDeadLettersRequest(endpoint=lane.carrier)
        (group,) = (await story.operator.dead_letters.ListDeadLetters(request)).groups
        assert group.open_count == 1


async def test_an_operator_has_it_tried_again(
    hub: RunningHub,
    lane: Lane,
    sandbox: UpsSandbox,
    monkeypatch: pytest.MonkeyPatch,
    first_round: asyncio.Event,
) -> None:
    """Proves that a running adapter tries again what an operator asks for, and nothing else, keeps
    asking while the hub is away, and closes it once it fits."""
    async with Story(hub, lane) as story:
        number = await parcel(story)
        async with running(hub, lane, sandbox) as url:
            await asyncio.wait_for(first_round.wait(), WAIT_SECONDS)
            await post(url, alert(number, 8), alert(number, 9))
            one, other = await payloads(story)
            away = iter([HubAway("away"), HubAway("away")])
            report = HubLink.report_held

            async def sometimes(link: HubLink, held_id: str, reason: str, *codes: Any) -> None:
                if gone := next(away, None):
                    raise gone
                await report(link, held_id, reason, *codes)

            monkeypatch.setattr(HubLink, "report_held", sometimes)
            monkeypatch.setattr(translate_scans, "alert_event", mended)
            await story.operator.dead_letters.DriveHeldFact(
                dead_letter_service_pb2.DriveHeldFactRequest(
                    request_id=request_id(), held_fact_id=other.id, reason="the table was mended"
                )
            )
            wanted = [HELD, APPLIED]
            await eventually(lambda: all_in(story, wanted), "what was asked for", WAIT_SECONDS)
            assert next(away, None) is None
        assert [each.drives for each in await payloads(story)] == [one.drives, 1]
        assert len(await scanned(story, number)) == 1


async def test_no_credential_reaches_reason_or_log(
    hub: RunningHub,
    lane: Lane,
    sandbox: UpsSandbox,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Proves that an unexpected error whose words repeat a credential is held and logged with the
    place where it arose, without those words; and that a credential is checked before anything."""
    caplog.set_level(logging.DEBUG, "crossdock_adapters")

    def careless(*_: Any) -> Any:
        raise KeyError(CALLBACK_CREDENTIAL)

    monkeypatch.setattr(translate_scans, "alert_event", careless)
    async with Story(hub, lane) as story, running(hub, lane, sandbox) as url:
        async with aiohttp.ClientSession() as stranger:
            answer = await stranger.post(url + PATH, data=b"{}")
        assert answer.status == 401
        assert await payloads(story) == []
        await post(url, b"{}")
        (held,) = await payloads(story)
        reason = held.refusal.message
        assert reason.startswith("KeyError in careless (test_sdk_held_payloads.py, line ")
        assert CALLBACK_CREDENTIAL not in reason + caplog.text


def test_an_error_that_was_never_raised_is_named() -> None:
    """Proves that the description needs no traceback and says nothing of the error's words."""
    assert described(ValueError("secret")) == "ValueError"


async def test_a_polled_payload_is_translated_by_what_its_poll_names(
    hub: RunningHub, lane: Lane, sandbox: UpsSandbox
) -> None:
    """Proves that a payload held by a poll is given to the function that it names; that one of a
    poll without such is left alone at start, and that an operator who asks is told what to do."""
    async with Story(hub, lane) as story:
        number = await parcel(story)
        activity = {"date": "20260305", "time": "080000", "status": {"type": "I", "code": "AR"}}
        package = vendor_json.dumps({"trackingNumber": number, "activity": [activity]})
        link = HubLink(lane.carrier, story.carrier, "test")
        await link.hold("poll:tracking", package, "application/json", "no table", unique("key"))
        await link.hold("poll:renew_subscriptions", b"{}", "", "what is it", unique("key"))
        async with running(hub, lane, sandbox):
            wanted = [APPLIED, HELD]
            await eventually(lambda: all_in(story, wanted), "the package", WAIT_SECONDS)
            assert len(await scanned(story, number)) == 1
            left = (await payloads(story))[1]
            assert (left.drives, left.refusal.message) == (0, "what is it")
            await story.operator.dead_letters.DriveHeldFact(
                dead_letter_service_pb2.DriveHeldFactRequest(
                    request_id=request_id(), held_fact_id=left.id, reason="try"
                )
            )

            async def told() -> bool:
                return (await payloads(story))[1].drives == 1

            await eventually(told, "an answer", WAIT_SECONDS)
        answer = (await payloads(story))[1]
        assert answer.awaits == "translation:poll:renew_subscriptions"
        assert "does not translate held payloads" in answer.refusal.message


async def test_each_endpoint_and_source_keeps_what_came_to_it(hub: RunningHub, lane: Lane) -> None:
    """Proves that the same bytes are kept once for each endpoint and source they came to, that a
    key is one source's own, and that what is held is not kept beside itself."""
    async with Story(hub, lane) as story, hub.client(lane.wms) as other_client:
        link = HubLink(lane.carrier, story.carrier, "test")
        other = HubLink(lane.wms, other_client, "test")
        body, key = unique("body").encode(), unique("key")
        for _ in range(2):
            await link.hold("/hook", body, "application/json", "no table", "")
            await link.hold("/returns", body, "application/json", "no table", "")
            await other.hold("/hook", body, "application/json", "no table", "")
            await link.hold("/hook", unique("first").encode(), "", "no table", key)
            await link.hold("/returns", unique("second").encode(), "", "no table", key)
        kept = [each.awaits for each in await payloads(story)]
        assert kept == ["translation:/hook", "translation:/returns"] * 2
        request = held_fact_pb2.ListHeldFactsRequest(endpoint=lane.wms, payloads_only=True)
        (theirs,) = (await story.operator.endpoints.ListHeldFacts(request)).held_facts
        assert theirs.payload == body


@pytest.mark.parametrize("key", ["", "message-17", "k" * 300])
async def test_what_comes_again_after_it_was_closed_is_held(
    hub: RunningHub, lane: Lane, key: str
) -> None:
    """Proves that a payload which comes again after its first copy was discarded or translated is
    held once more, and a key too long for the contract does not keep it out."""
    async with Story(hub, lane) as story:
        link = HubLink(lane.carrier, story.carrier, "test")
        hold = ("/hook", b"{}", "application/json", "no table", key)
        await link.hold(*hold)
        (first,) = await payloads(story)
        await story.operator.dead_letters.DiscardHeldFact(
            dead_letter_service_pb2.DiscardHeldFactRequest(
                request_id=request_id(), held_fact_id=first.id, reason="the vendor sends it again"
            )
        )
        await link.hold(*hold)
        second = (await payloads(story))[1]
        await link.report_held(second.id, "")
        await link.hold(*hold)
        await link.hold(*hold)
        discarded = held_fact_pb2.HELD_FACT_STATE_DISCARDED
        assert [each.state for each in await payloads(story)] == [discarded, APPLIED, HELD]
