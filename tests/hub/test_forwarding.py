"""How calls find the hub that leads what they are about, over sockets: hubs here are doors that
pass on, and note what reaches them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any

import grpc
import pytest
from crossdock.delivery.v1 import delivery_service_pb2
from crossdock.errors import CallError, from_rpc_error
from crossdock_hub.config import Limits
from crossdock_hub.door.forwarding import PASSED_ON_BY, Forwarder
from crossdock_hub.door.intake import Intake
from crossdock_hub.door.led_methods import DECIDERS, GET_ENDPOINT, NAMED_IN, Decider, finding
from crossdock_hub.identity import Identities, token_digest
from crossdock_hub.leading.terms import Seen
from decisions import CARRIER, CONTRACT, ERP, OPERATOR
from fixtures_nats import eventually

LIMITS = Limits()
CALLERS = {caller.endpoint: caller for caller in (ERP, CARRIER, OPERATOR)}
IDENTITIES = Identities({token_digest(f"token of {name}"): CALLERS[name] for name in CALLERS})
DELIVERY = "/crossdock.delivery.v1.DeliveryService/"
ENDPOINT = "/crossdock.endpoint.v1.EndpointService/"
BEGIN = f"{DELIVERY}BeginAttempts"
STATUS = "/crossdock.hub.v1.HubService/GetHubStatus"
OFFICE, FIRST, SECOND, FRONT = "office", "first", "second", "front"
# It answers no call of these bytes until it is let.
SLOW = delivery_service_pb2.BeginAttemptsRequest(instance="slow").SerializeToString()
DEADLINE_SECONDS = 20.0
SOON_SECONDS = 5.0


class PlayedHub:
    """One hub's door: what is not passed on is noted, and answered with the hub's name."""

    def __init__(self, name: str, house: House) -> None:
        self.name = name
        self.house = house
        self.address = ""
        self.handled: list[tuple[str, dict[str, Any]]] = []
        self.answers: dict[str, bytes] = {}
        self.stuck: set[str] = set()
        """Methods that it does not answer until it is let."""
        self.slow = asyncio.Event()
        self.mistaken: dict[str, str] = {}
        """What this hub alone takes for true of who leads."""
        self.server = grpc.aio.server()
        self.forwarder = Forwarder(
            lambda endpoint: self._leader_of(endpoint) == name,
            self._seen,
            lambda: {house.hubs[each].address for each in house.leaders.values() if each},
            None,
            LIMITS,
            name,
        )

    def _leader_of(self, endpoint: str) -> str | None:
        return self.mistaken.get(endpoint) or self.house.leader_of(endpoint)

    def _seen(self, endpoint: str) -> Seen | None:
        leader = self._leader_of(endpoint)
        return Seen(1, leader, self.house.hubs[leader].address, 1.0) if leader else None

    async def start(self) -> None:
        intake = Intake(CONTRACT, LIMITS)
        services: dict[str, dict[str, Any]] = {}
        for name in DECIDERS:
            method = CONTRACT.methods[name]
            find = finding(method, IDENTITIES, intake)
            handle = self.forwarder.around(name, partial(self._handle, name), find)
            services.setdefault(method.service, {})[method.name] = (
                grpc.unary_unary_rpc_method_handler(handle)
            )
        self.server.add_generic_rpc_handlers(
            tuple(grpc.method_handlers_generic_handler(*each) for each in services.items())
        )
        self.address = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"
        await self.server.start()

    async def stop(self) -> None:
        self.slow.set()
        await self.server.stop(None)
        await self.forwarder.close()

    async def _handle(self, method: str, raw: bytes, context: Any) -> bytes:
        self.handled.append((method, dict(context.invocation_metadata())))
        if raw == SLOW or method in self.stuck:
            await self.slow.wait()
        return self.answers.get(method, self.name.encode())


class House:
    """Hubs that share a database. leaders: by endpoint, "" the office; None: nobody leads it."""

    def __init__(self) -> None:
        self.leaders: dict[str, str | None] = {
            "": OFFICE,
            ERP.endpoint: FIRST,
            CARRIER.endpoint: SECOND,
        }
        self.hubs = {name: PlayedHub(name, self) for name in (OFFICE, FIRST, SECOND, FRONT)}

    def leader_of(self, endpoint: str) -> str | None:
        return self.leaders.get(endpoint, self.leaders[""])

    def move(self, endpoint: str, to: str | None) -> None:
        """Another hub leads from now on, and all of them are told."""
        self.leaders[endpoint] = to
        for hub in self.hubs.values():
            hub.forwarder.look_again()

    async def call(
        self,
        method: str,
        raw: bytes = b"",
        caller: str = OPERATOR.endpoint,
        at: str = FRONT,
        *,
        more: Sequence[tuple[str, str]] = (),
        seconds: float = DEADLINE_SECONDS,
    ) -> str:
        """The name of the hub that answered. Raises CallError."""
        metadata = (("authorization", f"Bearer token of {caller}"), *more)
        async with grpc.aio.insecure_channel(self.hubs[at].address) as channel:
            send: Any = channel.unary_unary(method)
            try:
                answer: bytes = await send(raw, timeout=seconds, metadata=metadata)
            except grpc.aio.AioRpcError as error:
                raise from_rpc_error(error, method) from None
        return answer.decode()


@pytest.fixture
async def house() -> AsyncIterator[House]:
    made = House()
    for hub in made.hubs.values():
        await hub.start()
    yield made
    for hub in made.hubs.values():
        await hub.stop()


def of(decider: Decider) -> list[str]:
    return [method for method, each in DECIDERS.items() if each is decider]


@pytest.mark.parametrize("method", of(Decider.OF_CALLER))
async def test_what_an_endpoint_says_of_itself_goes_to_its_leader(
    house: House, method: str
) -> None:
    """Proves that each call of an endpoint about its own work reaches the hub that leads its
    system, from any hub, at once with another endpoint's that another one leads, and with the
    caller's own token."""
    for at in house.hubs:
        for caller, leader in ((ERP, FIRST), (CARRIER, SECOND)):
            assert await house.call(method, caller=caller.endpoint, at=at) == leader
            _, metadata = house.hubs[leader].handled[-1]
            assert metadata["authorization"] == f"Bearer token of {caller.endpoint}"
            assert metadata.get(PASSED_ON_BY) == (None if at == leader else at)
    assert not house.hubs[FRONT].handled
    assert not house.hubs[OFFICE].handled


@pytest.mark.parametrize("method", of(Decider.OF_NAMED))
async def test_what_is_said_of_an_endpoint_goes_to_its_leader(house: House, method: str) -> None:
    """Proves that calls which name an endpoint reach the hub that leads that one's system, whoever
    calls, and the office for an endpoint that no hub knows."""
    request_type: Any = CONTRACT.generated_class(CONTRACT.methods[method].request_type)
    for named, leader in ((ERP.endpoint, FIRST), (CARRIER.endpoint, SECOND), ("nobody", OFFICE)):
        raw = request_type(**{NAMED_IN[method]: named}).SerializeToString()
        for caller in (OPERATOR, CARRIER):
            assert await house.call(method, raw, caller.endpoint) == leader


@pytest.mark.parametrize("method", of(Decider.OFFICE))
async def test_everything_else_goes_to_the_office(house: House, method: str) -> None:
    """Proves that what belongs to no system is decided at the office, whoever calls."""
    for caller in (OPERATOR, ERP):
        assert await house.call(method, caller=caller.endpoint) == OFFICE


@pytest.mark.parametrize(
    ("method", "raw", "caller"),
    [
        (BEGIN, b"", "a stranger"),
        (GET_ENDPOINT, b"\x0a\xff", OPERATOR.endpoint),
        (f"{ENDPOINT}PauseEndpoint", b"\xff", OPERATOR.endpoint),
    ],
    ids=["a stranger's", "cut off", "no message"],
)
async def test_what_every_door_refuses_is_passed_on_to_none(
    house: House, method: str, raw: bytes, caller: str
) -> None:
    """Proves that a call of which nobody can say whom it is about ends at the door it came to."""
    assert await house.call(method, raw, caller) == FRONT


async def refusal_of(call: Any) -> tuple[str, float | None]:
    with pytest.raises(CallError) as refused:
        await call
    return refused.value.refusal.reason, refused.value.refusal.retry_after_seconds


NOBODY_LEADS = ("HUB_UNAVAILABLE", 0.5)


async def test_what_nobody_leads_is_to_be_repeated(house: House) -> None:
    """Proves that calls of a system without a leader are refused with when to repeat them, while
    those of other systems and of the office go on."""
    house.move(ERP.endpoint, None)
    assert await refusal_of(house.call(BEGIN, caller=ERP.endpoint)) == NOBODY_LEADS
    assert await house.call(BEGIN, caller=CARRIER.endpoint) == SECOND
    assert await house.call(STATUS) == OFFICE


async def test_a_leader_that_is_gone_is_no_leader(house: House) -> None:
    """Proves that a call to a hub which does not answer any more is refused as one to repeat."""
    await house.hubs[FIRST].server.stop(None)
    assert await refusal_of(house.call(BEGIN, caller=ERP.endpoint)) == NOBODY_LEADS
    assert await house.call(BEGIN, caller=CARRIER.endpoint) == SECOND


async def test_a_call_is_passed_on_once(house: House) -> None:
    """Proves that a call which was passed on is not passed on again, and is refused as one to
    repeat, by hubs of which each believes that the other one leads."""
    hubs = house.hubs
    hubs[FIRST].mistaken = {ERP.endpoint: SECOND}
    hubs[SECOND].mistaken = {ERP.endpoint: FIRST}
    for at in (FIRST, SECOND, FRONT):
        assert await refusal_of(house.call(BEGIN, caller=ERP.endpoint, at=at)) == NOBODY_LEADS
    told = ((PASSED_ON_BY, "another"),)
    assert await refusal_of(house.call(STATUS, more=told)) == NOBODY_LEADS
    assert await house.call(STATUS, at=OFFICE, more=told) == OFFICE
    assert not hubs[FIRST].handled and not hubs[SECOND].handled


async def under_way(house: House, caller: str, leader: str) -> asyncio.Task[str]:
    """A call that has reached its leader, which does not answer it for now."""
    before = len(house.hubs[leader].handled)
    calling = asyncio.create_task(house.call(BEGIN, SLOW, caller))
    await eventually(lambda: len(house.hubs[leader].handled) > before, "the call at its leader")
    return calling


async def test_calls_to_a_hub_that_leads_nothing_more_are_cut_and_no_others(house: House) -> None:
    """Proves that a call flying to a hub which leads nothing any more is refused at once as one to
    repeat, that its repeat reaches the new leader, and that calls to hubs which lead something
    still are answered, those of a system that moved among them."""
    house.leaders["other"] = SECOND
    of_erp = await under_way(house, ERP.endpoint, FIRST)
    of_carrier = await under_way(house, CARRIER.endpoint, SECOND)
    house.move(CARRIER.endpoint, OFFICE)
    house.move(ERP.endpoint, OFFICE)
    assert await asyncio.wait_for(refusal_of(of_erp), SOON_SECONDS) == NOBODY_LEADS
    assert await house.call(BEGIN, caller=ERP.endpoint) == OFFICE
    assert not of_carrier.done()
    house.hubs[SECOND].slow.set()
    assert await of_carrier == SECOND
    house.move(ERP.endpoint, FIRST)
    assert await house.call(BEGIN, caller=ERP.endpoint) == FIRST


async def test_a_caller_that_goes_is_not_waited_for(house: House) -> None:
    """Proves that a call whose caller gives up ends as that and not as one without a leader, and
    that the way stays open for the next one."""
    calling = await under_way(house, ERP.endpoint, FIRST)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    assert await house.call(BEGIN, caller=ERP.endpoint) == FIRST
