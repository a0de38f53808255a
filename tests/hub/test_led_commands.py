"""What becomes a leader's command at a hub's door, whose it is, and where it is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from crossdock.delivery.v1 import delivery_operations_service_pb2, delivery_service_pb2
from crossdock.endpoint.v1 import endpoint_service_pb2
from crossdock_hub.commands import Command
from crossdock_hub.committer import Committed, Committer
from crossdock_hub.config import SECOND, Limits
from crossdock_hub.delivery.registry import compile_endpoint
from crossdock_hub.delivery.silence import SilenceWatch
from crossdock_hub.door.intake import Intake
from crossdock_hub.door.services import Services
from crossdock_hub.identity import HUB, Caller
from crossdock_hub.lanes import Lanes
from crossdock_hub.records import AttemptRecord
from crossdock_hub.refusals import NO_LEADER
from crossdock_hub.unit import Changes, Refused
from decisions import CONTRACT, ERP, OPERATOR, START
from fixtures_nats import eventually
from own_committer import committer, store
from story import request_id
from test_silence import BARE, CALL

__all__ = ["committer", "store"]

LIMITS = Limits()
DELIVERY = "/crossdock.delivery.v1.DeliveryService/"
ENDPOINT = "/crossdock.endpoint.v1.EndpointService/"


class Aborted(Exception):
    """A call ended with a refusal."""


class Asked:
    """A committer that notes each command, and answers none with anything but a refusal."""

    def __init__(self) -> None:
        self.commands: list[Command] = []
        self.failure = None
        self.lanes = Lanes(LIMITS)
        # For reports of scans, of which none comes here.
        self.foresights = SimpleNamespace(answered=self.submit)

    def submit(self, command: Command) -> asyncio.Future[Any]:
        self.commands.append(command)
        command.answer.set_exception(Refused(NO_LEADER))
        return command.answer


class _Anything(dict[str, Any]):
    """An answer to every query: these tests ask none."""

    def __missing__(self, _name: str) -> Any:
        return lambda *_: None


def services_of(caller: Caller, asked: Any, tie: Callable[[str], Any]) -> Services:
    door: Any = SimpleNamespace(
        contract=CONTRACT, admit=lambda _method, _context: caller, limits=LIMITS
    )
    unused: Any = None
    intake = Intake(CONTRACT, LIMITS)
    return Services(door, intake, asked, _Anything(), {}, None, unused, tie)


async def said(services: Services, method: str, request: Any) -> None:
    """Make a call without a socket in front; it ends with a refusal."""

    async def end(*_: Any) -> None:
        raise Aborted

    details: Any = SimpleNamespace(method=method, invocation_metadata=())
    (found,) = filter(None, (each.service(details) for each in services.handlers()))
    handle: Any = found.unary_unary
    with pytest.raises(Aborted):
        await handle(request.SerializeToString(), SimpleNamespace(abort=end))


def _begins() -> Any:
    request = delivery_service_pb2.BeginAttemptsRequest(endpoint=ERP.endpoint, instance="one")
    begin = request.begins.add(delivery_id=request_id(), dispatch_number=1, attempt_id=request_id())
    begin.lease.seconds = 5
    return request


@pytest.mark.parametrize(
    ("method", "caller", "request_of", "of_endpoint"),
    [
        (f"{DELIVERY}BeginAttempts", ERP, _begins, ERP.endpoint),
        (
            f"{ENDPOINT}RegisterEndpoint",
            ERP,
            lambda: endpoint_service_pb2.RegisterEndpointRequest(endpoint="another"),
            "",
        ),
        (
            f"{ENDPOINT}Heartbeat",
            ERP,
            lambda: endpoint_service_pb2.HeartbeatRequest(endpoint="another"),
            "",
        ),
        (
            f"{ENDPOINT}PauseEndpoint",
            OPERATOR,
            lambda: endpoint_service_pb2.PauseEndpointRequest(
                request_id=request_id(), endpoint="ups", reason="a look"
            ),
            "ups",
        ),
        (
            f"{ENDPOINT}ResumeEndpoint",
            OPERATOR,
            lambda: endpoint_service_pb2.ResumeEndpointRequest(
                request_id=request_id(), endpoint="ups"
            ),
            "ups",
        ),
        (
            "/crossdock.delivery.v1.DeliveryOperationsService/RetryDelivery",
            OPERATOR,
            lambda: delivery_operations_service_pb2.RetryDeliveryRequest(
                request_id=request_id(), delivery_id=request_id(), reason="try"
            ),
            "",
        ),
    ],
)
async def test_a_command_names_whose_leader_decides_it(
    method: str, caller: Caller, request_of: Callable[[], Any], of_endpoint: str
) -> None:
    """Proves that a led call becomes a command of the caller's system, of the system of the
    endpoint that it names, or of the office; and that a begin asks the tie of its caller."""
    asked = Asked()
    tied: list[str] = []
    bus: Any = SimpleNamespace(require_bus=lambda: None)

    def tie(endpoint: str) -> Any:
        tied.append(endpoint)
        return bus

    await said(services_of(caller, asked, tie), method, request_of())
    (command,) = asked.commands
    assert (command.of_endpoint, command.leads) == (of_endpoint, not of_endpoint)
    assert set(tied) <= {caller.endpoint}
    assert bool(tied) == (method == f"{DELIVERY}BeginAttempts")


@pytest.mark.parametrize("marked", [{"leads": True}, {"of_endpoint": ERP.endpoint}])
@pytest.mark.parametrize("caller", [ERP, HUB])
async def test_a_hub_that_follows_decides_nothing_of_a_leader(
    committer: Committer, marked: dict[str, Any], caller: Caller
) -> None:
    """Proves that a command of the office and one of an endpoint's system are refused as ones to
    repeat by a hub that leads neither, whoever sends them, and decided by one that does; and that
    those of nobody are decided anywhere, but for the hub's own."""

    def command(**fields: Any) -> Command:
        future = asyncio.get_running_loop().create_future()
        return Command("a", caller, lambda _unit: "decided", future, **fields)

    assert await committer.submit(command(**marked)) == "decided"
    committer.follow()
    with pytest.raises(Refused) as refused:
        await committer.submit(command(**marked))
    assert refused.value.refusal == NO_LEADER
    if caller is ERP:
        assert await committer.submit(command()) == "decided"


@pytest.mark.parametrize("caller", [ERP, HUB])
async def test_the_leader_of_a_system_need_not_be_the_office(
    committer: Committer, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that a hub which leads an endpoint's system, and is not the office, decides what is of
    that system, the hub's own commands among it, and nothing of the office's."""
    monkeypatch.setattr(committer, "leads_endpoint", lambda endpoint: endpoint == ERP.endpoint)
    committer.follow()

    def command(**fields: Any) -> Command:
        future = asyncio.get_running_loop().create_future()
        return Command("a", caller, lambda _unit: "decided", future, **fields)

    assert await committer.submit(command(of_endpoint=ERP.endpoint)) == "decided"
    for marked in ({"of_endpoint": "ups"}, {"leads": True}):
        with pytest.raises(Refused) as refused:
            await committer.submit(command(**marked))
        assert refused.value.refusal == NO_LEADER


async def test_a_silent_endpoint_is_its_leaders_to_judge() -> None:
    """Proves that the watch lets the leader of a silent endpoint's system open its breaker, whoever
    is the office then."""
    limits = replace(LIMITS, breaker_look_seconds=0.01)
    asked: Any = Asked()
    asked.endpoints = (compile_endpoint(BARE, limits),)
    watch = SilenceWatch(asked, limits, lambda _endpoint: 0, lambda: START + 100 * SECOND)
    for number in range(2 * limits.breaker_deliveries_needed):
        record = replace(CALL, id=f"d{number}", token=1, lease_until=START + 10**12)
        attempt = AttemptRecord(record.id, 1, "CALL", 1, "a", "test", START, "")
        records = {("delivery", record.id): record, ("attempt", record.id, 1): attempt}
        watch.committed(Committed(START, Changes(records=records)))
    watch.start()
    try:
        await eventually(lambda: asked.commands, "a look")
    finally:
        await watch.stop()
    command = asked.commands[0]
    assert (command.of_endpoint, command.leads) == (BARE.id, False)
