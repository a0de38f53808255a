"""Facts that a completion has no room for: held, and written by the adapter, through a real hub."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from crossdock.dead_letter.v1 import dead_letter_service_pb2
from crossdock.delivery.v1 import delivery_service_pb2
from crossdock.endpoint.v1 import held_fact_pb2
from crossdock.item.v1 import item_service_pb2
from crossdock.label.v1 import label_pb2, label_service_pb2
from crossdock_adapters.sdk import facts_apart, held_payloads
from crossdock_adapters.sdk.adapter import Adapter
from crossdock_adapters.sdk.carrying import FACT_CONTENT_TYPE, MAX_PART_BYTES, place_of
from crossdock_adapters.sdk.config import EndpointConfig
from crossdock_adapters.sdk.consumer import PullConsumer
from crossdock_adapters.sdk.hub_link import HubLink, Registration
from crossdock_adapters.sdk.manifest import parse
from crossdock_adapters.sdk.outcomes import Confirmed, Reference
from crossdock_adapters.sdk.runner import EndpointRunner
from crossdock_adapters.sdk.settings import Secrets, Settings
from crossdock_adapters.sdk.telemetry import Telemetry
from crossdock_adapters.sdk.work import HeldPayload, Work
from fixtures_hub import Lane, RunningHub
from fixtures_nats import eventually
from story import Story, label, request_id, scan, scans, state_of, unique

WAIT_SECONDS = 60.0
IMAGE_BYTES = 240 * 1024
SCANS = 500
# Carriers write in every script: 300 signs of four bytes.
WORDS = "🚚" * 300
MANIFEST = """
name = "bulky"
title = "Bulky"
version = "1.0"
owner = "tests"
role = "CARRIER"
[limits]
concurrency = 1
[operations.buy_label]
class = "natural"
timeout_seconds = 20
[grades.dock]
manifest = "done"
pure_translation = "done"
connection_test = "done"
redelivery = "done"
begin_attempt = "done"
poison_parked = "done"
drains = "done"
owned_fields = "done"
secrets = "done"
"""


class Vendor:
    """Answers everything at once."""

    async def test(self) -> None:
        return None

    async def close(self) -> None:
        return None


class Bulky:
    """A carrier that sells the labels of all parcels with the first, and tells their whole way."""

    def __init__(self, *, broken: bool = False) -> None:
        """broken: it adds a label whose image is larger than an image may be."""
        self.numbers = [unique("1Z") for _ in range(4)]
        self._broken = broken
        self._calls = itertools.count()

    def result(self, work: Work) -> Confirmed:
        if next(self._calls):
            return Confirmed()
        shipment = work.event.shipment
        sold_ones: list[Any] = []
        for package, number in zip(shipment.packages, self.numbers, strict=True):
            sold = label(shipment.id, package.id, number)
            sold.label.image, sold.label.format = b"x" * IMAGE_BYTES, label_pb2.LABEL_FORMAT_GIF
            sold_ones.append(sold)
        way = [scan(self.numbers[3], "IN_TRANSIT", seconds) for seconds in range(SCANS)]
        for each in way:
            each.description = WORDS
        many = [Reference("booking", str(number)) for number in range(51)]
        if self._broken:
            sold = label(shipment.id, shipment.packages[0].id, unique("1Z"))
            sold.label.image = b"x" * (2 * IMAGE_BYTES)
            sold_ones.append(sold)
        return Confirmed(many, [*sold_ones, scans(*way)], "sold")


def bulky_adapter(bulky: Bulky) -> Adapter:
    adapter = Adapter(parse(MANIFEST), "bulky")

    @adapter.connect
    async def connect(settings: Settings, secrets: Secrets) -> Vendor:
        return Vendor()

    @adapter.operation("buy_label")
    async def buy_label(work: Work, vendor: Vendor) -> Confirmed:
        return bulky.result(work)

    return adapter


@asynccontextmanager
async def running(hub: RunningHub, lane: Lane, bulky: Bulky) -> AsyncIterator[None]:
    """One process's worth of the carrier's endpoint, on the hub's own bus."""

    async def open_source(registration: Registration, prefetch: int) -> PullConsumer:
        return await PullConsumer(
            hub.nats_url,
            hub.bus_credentials(lane.carrier),
            stream=registration.stream,
            durable=registration.consumer,
            prefetch=prefetch,
        ).start()

    config = EndpointConfig(lane.carrier, "bulky", hub.token_file(lane.carrier))
    stopping = asyncio.Event()
    async with hub.client(lane.carrier) as client:
        link = HubLink(lane.carrier, client, "test")
        runner = EndpointRunner(config, bulky_adapter(bulky), link, open_source, Telemetry())
        task = asyncio.create_task(runner.run(stopping))
        try:
            deadline = time.monotonic() + WAIT_SECONDS
            while runner.state != "serving":
                assert time.monotonic() < deadline and not task.done(), runner.state
                await asyncio.sleep(0.02)
            yield
        finally:
            stopping.set()
            await task


@pytest.fixture(autouse=True)
def quick_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_payloads, "HELD_ROUND_SECONDS", 0.2)


async def held(story: Story) -> list[tuple[str, str]]:
    """(content type up to its first parameter, state) of what the endpoint has held."""
    request = held_fact_pb2.ListHeldFactsRequest(endpoint=story.lane.carrier)
    found: list[tuple[str, str]] = []
    while True:
        page = await story.operator.endpoints.ListHeldFacts(request)
        for each in page.held_facts:
            state = held_fact_pb2.HeldFactState.Name(each.state)
            kind = each.content_type.partition(";")[0]
            found.append((kind, state.removeprefix("HELD_FACT_STATE_")))
        request.page_token = page.next_page_token
        if not page.next_page_token:
            return sorted(found)


def facts(**states: int) -> list[tuple[str, str]]:
    """So many payloads of facts in each state, beside the references, which are for people."""
    of_facts = [(FACT_CONTENT_TYPE, state) for state, count in states.items() for _ in range(count)]
    return sorted([("application/json", "HELD"), *of_facts])


async def is_whole(story: Story, bulky: Bulky) -> None:
    """The last label has its image, and every scan of its parcel is there."""
    request = label_service_pb2.GetLabelRequest(tracking_number=bulky.numbers[3])
    sold = (await story.operator.labels.GetLabel(request)).label
    assert len(sold.image) == IMAGE_BYTES
    (row,) = story.hub.query(
        "SELECT count(*) FROM scans WHERE tracking_number = ?", bulky.numbers[3]
    )
    assert row[0] == SCANS


async def test_what_has_no_room_is_written_by_itself(hub: RunningHub, lane: Lane) -> None:
    """Proves, from an adapter's result to the objects, that a label beyond what a completion takes
    and a report of scans in two parts are held, then written by the adapter that told the outcome,
    and closed; the delivery says how many, and the references wait for a person."""
    bulky = Bulky()
    async with Story(hub, lane) as story, running(hub, lane, bulky):
        shipment = await story.packed(packages=4)

        async def is_written() -> bool:
            return await held(story) == facts(APPLIED=3)

        await eventually(is_written, "the facts are written", WAIT_SECONDS)
        await is_whole(story, bulky)
        bought = await story.deliveries(shipment.id, "buy_label")
        said = [attempt.reason for d in bought for attempt in d.attempt_log]
        assert any("2 of 5 facts, 1 of 51 references" in each for each in said), said
        assert {state_of(each) for each in bought} == {"CONFIRMED"}


async def test_a_process_that_died_leaves_it_to_the_next(
    hub: RunningHub, lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that what a process had held and did not live to write is written by the next one when
    it starts, that a fact which the hub refuses stays with the hub's words, and that it is tried
    again when an operator drives it."""
    bulky = Bulky(broken=True)
    with monkeypatch.context() as died:
        died.setattr(held_payloads.HeldPayloads, "add", lambda *_: None)
        async with Story(hub, lane) as story, running(hub, lane, bulky):
            shipment = await story.packed(packages=4)

            async def is_told() -> bool:
                bought = await story.deliveries(shipment.id, "buy_label")
                return {state_of(each) for each in bought} == {"CONFIRMED"}

            await eventually(is_told, "the outcome is told", WAIT_SECONDS)
            assert await held(story) == facts(HELD=4)
    async with Story(hub, lane) as story, running(hub, lane, bulky):

        async def is_written() -> bool:
            return await held(story) == facts(APPLIED=3, HELD=1)

        await eventually(is_written, "the facts are written", WAIT_SECONDS)
        await is_whole(story, bulky)
        refused = await is_refused(story)
        await story.operator.dead_letters.DriveHeldFact(
            dead_letter_service_pb2.DriveHeldFactRequest(
                request_id=request_id(), held_fact_id=refused.id, reason="once more"
            )
        )

        async def is_tried() -> bool:
            now = await is_refused(story)
            return now.drives > refused.drives and now.awaits == "translation:completion"

        await eventually(is_tried, "it is tried again", WAIT_SECONDS)


async def is_refused(story: Story) -> held_fact_pb2.HeldFact:
    """The fact that is held still, once the hub's words are its reason."""
    found: held_fact_pb2.HeldFact | None = None

    async def is_said() -> bool:
        nonlocal found
        request = held_fact_pb2.ListHeldFactsRequest(
            endpoint=story.lane.carrier, state=held_fact_pb2.HELD_FACT_STATE_HELD
        )
        facts_held = (await story.operator.endpoints.ListHeldFacts(request)).held_facts
        found = next(each for each in facts_held if place_of(each.content_type) is not None)
        return "label.image" in found.refusal.message

    await eventually(is_said, "the hub's words are told", WAIT_SECONDS)
    assert found is not None
    return found


REQUEST = label_service_pb2.CreateLabelRequest(request_id=request_id())


def fact_bytes(image_bytes: int) -> bytes:
    request = label_service_pb2.CreateLabelRequest(request_id=REQUEST.request_id)
    request.label.image = b"x" * image_bytes
    return delivery_service_pb2.Fact(
        method="/crossdock.label.v1.LabelService/CreateLabel", request=request.SerializeToString()
    ).SerializeToString()


class Link:
    """A hub that holds the parts of facts, and takes or refuses what it is told."""

    def __init__(self, content: bytes, gone: Sequence[int] = ()) -> None:
        parts = [content[at : at + MAX_PART_BYTES] for at in range(0, len(content), MAX_PART_BYTES)]
        self.parts: list[HeldPayload] = []
        for number, part in enumerate(parts, 1):
            after = f"; after={self.parts[-1].id}" if self.parts else ""
            place = f"; part={number}/{len(parts)}{after}" if len(parts) > 1 else ""
            self.parts.append(
                HeldPayload(
                    request_id(), "completion", part, f"{FACT_CONTENT_TYPE}{place}", asked=False
                )
            )
        self._gone = {self.parts[at].id for at in gone}
        self.told: list[Any] = []
        self.closed: list[str] = []

    async def held_payload(self, held_id: str) -> HeldPayload | None:
        found = (each for each in self.parts if each.id == held_id)
        return None if held_id in self._gone else next(found)

    async def tell(self, method: str, request: Any, response_type: Any) -> Any:
        self.told.append((method, request))
        return response_type()

    async def close_held(self, held_id: str) -> None:
        self.closed.append(held_id)


async def write(link: Any, at: int = -1) -> str:
    return await facts_apart.write(link, link.parts[at])


async def test_parts_are_put_together_in_their_order() -> None:
    """Proves that a fact in parts is told once, whole, with its last part, that the parts before it
    are closed after that, and that no other part tells anything."""
    link = Link(fact_bytes(900 * 1024))
    with pytest.raises(facts_apart.ByHand, match="part 1 of 2"):
        await write(link, 0)
    assert await write(link) == ""
    ((method, request),) = link.told
    assert method.endswith("/CreateLabel") and request.label.image == b"x" * 900 * 1024
    assert link.closed == [link.parts[0].id]


@pytest.mark.parametrize(
    ("link", "why"),
    [
        (Link(fact_bytes(1100 * 1024)), "larger than a request"),
        (Link(fact_bytes(2000 * 1024)), "a fact of 4 parts is larger"),
        (Link(fact_bytes(900 * 1024), gone=[0]), "an earlier part .* not there any more"),
        (Link(b"\xff\xff"), "no application/x-crossdock-fact"),
        (Link(delivery_service_pb2.Fact(method="/x.Y/Z").SerializeToString()), "no method"),
    ],
)
async def test_what_is_not_written_by_itself_says_why(link: Any, why: str) -> None:
    """Proves that what no request can carry, or is not whole, is left to people with the reason,
    and nothing of it is told or closed."""
    with pytest.raises(facts_apart.ByHand, match=why):
        await write(link)
    assert not link.told and not link.closed


def test_a_content_type_says_its_place() -> None:
    """Proves that places are read as they are written, and that other content is no fact."""
    held_id = request_id()
    one = place_of(f"{FACT_CONTENT_TYPE}; part=2/3; after={held_id}")
    assert one is not None and (one.number, one.count, one.after) == (2, 3, held_id)
    whole = place_of(FACT_CONTENT_TYPE)
    assert whole is not None and (whole.number, whole.count) == (1, 1)
    assert place_of("application/json") is None


def test_entries_that_are_refused_are_said() -> None:
    """Proves that of an answer with several entries the refused ones are told in the hub's words,
    and that one which is held by itself is none."""
    answer = item_service_pb2.UpsertItemsResponse()
    answer.results.add()
    answer.results.add().refusal.reason = "INVALID_FIELD"
    held_one = answer.results.add(held_fact_id=request_id())
    held_one.refusal.reason = "UNKNOWN_REFERENCE"
    assert facts_apart.refusals(answer) == ["INVALID_FIELD: "]
