"""How much a caller may send at once and how long a call may last; what lies beyond is refused."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import grpc
import pytest
from bare_calls import DEADLINE_SECONDS, bearer, raw, send
from crossdock.errors import ConfigurationError, TryAgainError
from crossdock.lineage.v1 import lineage_service_pb2
from crossdock.order.v1 import order_service_pb2
from crossdock_hub import config
from crossdock_hub.config import Limits
from fixtures_hub import RunningHub, deployment
from fixtures_nats import eventually

CONFIG = Path(config.__file__)
HUB = CONFIG.parent
MEBIBYTE = 1 << 20
CROWD, CROWD_SECONDS = 1200, 55.0
HELD, REFUSED = 8, 50
CREATE_ORDER = "/crossdock.order.v1.OrderService/CreateOrder"
GET_ORDER = "/crossdock.order.v1.OrderService/GetOrder"


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    """A hub that takes few calls at once."""
    limits = json.dumps({"concurrent_rpcs_max": HELD})
    directory = tmp_path_factory.mktemp("narrow")
    running = RunningHub(directory / "hub", deployment(1), limits=limits).start()
    yield running
    running.kill()


async def test_oversize_is_refused_by_the_hub_and_by_the_library(hub: RunningHub) -> None:
    """Proves that 1 MiB is the limit of a request, told in bytes, and 4 MiB that of the socket."""
    options = {"metadata": bearer(hub, "oms"), "timeout": DEADLINE_SECONDS}
    refused = await raw(hub, CREATE_ORDER, bytes(MEBIBYTE + 1), **options)
    assert refused is not None and refused.reason == "LIMIT_EXCEEDED"
    assert refused.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert refused.refusal.metadata == {"limit": str(MEBIBYTE), "value": str(MEBIBYTE + 1)}
    refused = await raw(hub, CREATE_ORDER, bytes(5 * MEBIBYTE), **options)
    assert refused is not None and refused.code is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_compressed_bomb_stays_small(hub: RunningHub) -> None:
    """Proves that 64 MiB of zeros in a small gzip are refused without the hub growing by them."""
    before = hub.resident_bytes()
    bomb = bytes(64 * MEBIBYTE)
    refused = await raw(
        hub,
        CREATE_ORDER,
        bomb,
        metadata=bearer(hub, "oms"),
        timeout=DEADLINE_SECONDS,
        compression=grpc.Compression.Gzip,
        channel_options=[("grpc.max_send_message_length", -1)],
    )
    assert refused is not None and refused.code is grpc.StatusCode.RESOURCE_EXHAUSTED, refused
    assert hub.resident_bytes() - before < 50 * MEBIBYTE


async def test_too_much_metadata_is_refused(hub: RunningHub) -> None:
    """Proves that 20 KiB of headers are refused with RESOURCE_EXHAUSTED, not taken or dropped."""
    headers = (*bearer(hub, "oms"), ("x-large", "a" * 20 * 1024))
    refused = await raw(hub, GET_ORDER, b"", metadata=headers, timeout=DEADLINE_SECONDS)
    assert refused is not None and refused.code is grpc.StatusCode.RESOURCE_EXHAUSTED, refused


@pytest.mark.parametrize("seconds", [None, 3600.0])
async def test_a_call_needs_a_deadline(hub: RunningHub, seconds: float | None) -> None:
    """Proves that a call without a deadline, or with one too far away, is told the limit."""
    data = order_service_pb2.GetOrderRequest(number="none").SerializeToString()
    refused = await raw(hub, GET_ORDER, data, metadata=bearer(hub, "oms"), timeout=seconds)
    assert refused is not None and refused.reason == "DEADLINE_MISSING", refused
    assert refused.refusal.metadata["limit_seconds"] == "60"


async def test_methods_the_contract_does_not_have(hub: RunningHub) -> None:
    """Proves that an unknown method is UNIMPLEMENTED."""
    async with hub.client("oms") as oms:
        refused = await send(oms, "/crossdock.order.v1.OrderService/DestroyOrder", b"")
        assert refused is not None and refused.code is grpc.StatusCode.UNIMPLEMENTED


async def test_a_crowd_is_turned_away(narrow: RunningHub) -> None:
    """Proves that of far more calls at once than the hub takes each is answered or refused as
    overloaded within its deadline, none with a fault, and that the next caller is served as
    ever."""
    data = order_service_pb2.GetOrderRequest(number="none").SerializeToString()
    hasty = narrow.client("oms", come_again=False)
    async with hasty, narrow.client("ups", deadline_seconds=45.0) as quiet:
        answers = await asyncio.gather(
            *[send(hasty, GET_ORDER, data, timeout=CROWD_SECONDS) for _ in range(CROWD)]
        )
        reasons = {answer.reason if answer else "" for answer in answers}
        assert reasons <= {"OBJECT_NOT_FOUND", "HUB_OVERLOADED"}, reasons
        refused = await send(quiet, GET_ORDER, data)
    assert refused is not None and refused.reason == "OBJECT_NOT_FOUND"


async def test_a_crowd_of_our_clients_is_served(narrow: RunningHub) -> None:
    """Proves that of far more calls at once than the hub takes each is answered, whose client comes
    again when it is asked to."""
    data = order_service_pb2.GetOrderRequest(number="none").SerializeToString()
    async with narrow.client("oms") as oms:
        answers = await asyncio.gather(
            *[send(oms, GET_ORDER, data, timeout=CROWD_SECONDS) for _ in range(CROWD)]
        )
    assert {answer.reason if answer else "" for answer in answers} == {"OBJECT_NOT_FOUND"}


async def test_who_is_turned_away_waits_for_nobody(tmp_path: Path) -> None:
    """Proves that a call beyond the limit is refused as overloaded while all that were taken are
    still held, so it waits for none of them, and that there is room again once they have ended."""
    limits = json.dumps({"concurrent_rpcs_max": HELD})
    running = RunningHub(tmp_path / "hub", deployment(1), limits=limits).start()
    data = order_service_pb2.GetOrderRequest(number="none").SerializeToString()
    try:
        hasty = running.client("oms", come_again=False)
        async with running.client("operator") as operator, hasty as oms:

            async def reason() -> str:
                refused = await send(oms, GET_ORDER, data)
                assert refused is not None
                if refused.reason == "HUB_OVERLOADED":
                    assert refused.refusal.metadata == {"cause": "concurrent_rpcs_max"}
                    assert refused.refusal.retry_after_seconds == 1.0
                return refused.reason

            async def overloaded() -> bool:
                return await reason() == "HUB_OVERLOADED"

            async def served() -> bool:
                return await reason() == "OBJECT_NOT_FOUND"

            async def hold() -> None:
                # A call that looks whether the hub is full may have the last place for a moment.
                while True:
                    with contextlib.suppress(TryAgainError):
                        async for _ in operator.lineage.Tail(lineage_service_pb2.TailRequest()):
                            pass

            held = [asyncio.create_task(hold()) for _ in range(HELD)]
            await eventually(overloaded, "a hub that is full")
            reasons = await asyncio.gather(*[reason() for _ in range(REFUSED)])
            assert set(reasons) == {"HUB_OVERLOADED"}
            assert not any(task.done() for task in held), "all that were taken are still held"
            for task in held:
                task.cancel()
            await asyncio.gather(*held, return_exceptions=True)
            await eventually(served, "room again")
    finally:
        running.kill()


def test_no_limit_is_for_nothing() -> None:
    """Proves that the hub's code reads every limit that a deployment may set."""
    code = "\n".join(path.read_text("utf-8") for path in HUB.rglob("*.py") if path != CONFIG)
    read = set(re.findall(r"\w+", code))
    assert [each.name for each in fields(Limits) if each.name not in read] == []


def test_limits_are_changed_by_name() -> None:
    """Proves that a drill may change limits by name and leaves the others and their kinds alone."""
    changed = Limits().with_changes({"lease_seconds_max": 3, "dispatch_slice": 7.0})
    assert changed.lease_seconds_max == 3.0 and changed.dispatch_slice == 7
    assert isinstance(changed.dispatch_slice, int)
    assert changed.with_changes({"lease_seconds_max": 600.0, "dispatch_slice": 200}) == Limits()


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("leese_seconds_max", 3.0, "there is no limit leese_seconds_max"),
        ("lease_seconds_max", -1.0, "lease_seconds_max must be a number from 0 up"),
        ("lease_seconds_max", float("inf"), "lease_seconds_max must be a number from 0 up"),
        ("dispatch_slice", 1.5, "dispatch_slice must be a whole number from 0 up"),
    ],
)
def test_a_wrong_limit_is_named(name: str, value: float, says: str) -> None:
    """Proves that a limit that does not exist, or can't be so, stops the start in one sentence."""
    with pytest.raises(ConfigurationError, match=says):
        Limits().with_changes({name: value})


def test_a_hub_refuses_an_unknown_limit(unstarted_hub: RunningHub) -> None:
    """Proves that the setting is read by the process, which says what is wrong and ends with 78."""
    code, said = unstarted_hub.run_to_its_end(limits='{"no_such_limit": 1}')
    assert code == 78, said
    assert "CROSSDOCK_LIMITS: there is no limit no_such_limit" in said
