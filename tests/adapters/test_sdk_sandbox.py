"""The sandbox framework: its faults are real, its books and logs tell the truth."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from crossdock_adapters.sdk import vendor_json
from crossdock_adapters.sdk.faults import FaultKind, FaultRefused, Faults
from crossdock_adapters.sdk.sandbox import SandboxConfig
from crossdock_adapters.sdk.sandbox_server import Listener
from sdk_tiny_sandbox import TinySandbox
from sdk_waiting import until
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


@pytest.fixture
async def tiny() -> AsyncIterator[TinySandbox]:
    sandbox = TinySandbox(SandboxConfig(name="tiny", seed=7, tick_seconds=0.01))
    async with sandbox:
        yield sandbox


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def fault(session: aiohttp.ClientSession, sandbox: TinySandbox, **spec: Any) -> Any:
    async with session.post(f"{sandbox.control_url}/faults", json=spec) as answer:
        assert answer.status == 201, await answer.text()
        return await answer.json()


async def book(session: aiohttp.ClientSession, sandbox: TinySandbox, key: str) -> int:
    url = f"{sandbox.vendor_url}/bookings"
    async with session.post(url, json={"key": key}) as answer:
        await answer.read()
        return answer.status


async def control(session: aiohttp.ClientSession, sandbox: TinySandbox, path: str) -> Any:
    async with session.get(sandbox.control_url + path) as answer:
        return vendor_json.loads(await answer.read())


@pytest.mark.parametrize("after", ["x", "-1", "1.5", "%C2%B2", "9" * 5000])
async def test_calls_after_no_number_are_a_bad_request(
    tiny: TinySandbox, session: aiohttp.ClientSession, after: str
) -> None:
    """What is no id of a call is refused with the parameter's name."""
    async with session.get(f"{tiny.control_url}/calls?after={after}") as answer:
        assert answer.status == 400
        assert "after" in vendor_json.loads(await answer.read())["error"]


async def test_calls_are_logged_with_their_effect(
    tiny: TinySandbox, session: aiohttp.ClientSession
) -> None:
    """Every call is in the log, with key, status and whether it changed the books."""
    assert await book(session, tiny, "a") == 201
    async with session.post(f"{tiny.vendor_url}/bookings", json={}) as answer:
        assert answer.status == 422
    async with session.get(f"{tiny.vendor_url}/bookings/a") as answer:
        assert answer.status == 200
    calls = (await control(session, tiny, "/calls"))["calls"]
    seen = [(c["operation"], c["key"], c["status"], c["effect"], c["outcome"]) for c in calls]
    assert seen == [
        ("book", "a", 201, True, "ok"),
        ("book", "", 422, False, "refused"),
        ("find", "a", 200, False, "ok"),
    ]
    assert (await control(session, tiny, "/books"))["bookings"] == [{"key": "a", "number": 1}]


async def test_down_refuses_connections_and_comes_back_on_the_same_port(
    tiny: TinySandbox, session: aiohttp.ClientSession
) -> None:
    """While down the port is closed, kept connections are cut, and time ends the outage."""
    assert await book(session, tiny, "a") == 201
    await fault(session, tiny, kind="down", seconds=3)
    with pytest.raises(aiohttp.ClientError):
        await book(session, tiny, "kept connection")
    with pytest.raises(aiohttp.ClientConnectorError):
        await book(session, tiny, "new connection")
    assert not (await control(session, tiny, "/health"))["listening"]

    async def works() -> bool:
        try:
            return await book(session, tiny, "c") == 201
        except aiohttp.ClientError:
            return False

    await until(works)
    assert [b["key"] for b in tiny.bookings] == ["a", "c"]


async def test_down_can_be_ended_by_hand(tiny: TinySandbox, session: aiohttp.ClientSession) -> None:
    """DELETE /faults reopens the port before it answers."""
    await fault(session, tiny, kind="down")
    async with session.delete(f"{tiny.control_url}/faults") as answer:
        assert (await answer.json()) == {"cleared": 1}
    assert await book(session, tiny, "a") == 201


async def test_reply_lost_does_the_work_and_closes_the_connection(
    tiny: TinySandbox, session: aiohttp.ClientSession
) -> None:
    """The booking is in the books, the caller gets no byte of an answer."""
    await fault(session, tiny, kind="reply_lost", count=1, operation="book")
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await book(session, tiny, "a")
    assert [b["key"] for b in tiny.bookings] == ["a"]
    call = (await control(session, tiny, "/calls"))["calls"][-1]
    assert (call["outcome"], call["effect"], call["status"]) == ("reply_lost", True, None)
    assert await book(session, tiny, "b") == 201


async def test_errors_before_and_after_differ_in_the_books(
    tiny: TinySandbox, session: aiohttp.ClientSession
) -> None:
    """Both answer 5xx; only error_after did the work."""
    await fault(session, tiny, kind="error_before", count=1, status=503)
    assert await book(session, tiny, "before") == 503
    await fault(session, tiny, kind="error_after", count=1)
    assert await book(session, tiny, "after") == 500
    assert [b["key"] for b in tiny.bookings] == ["after"]


async def test_slow_after_has_done_the_work_before_it_answers(
    tiny: TinySandbox, session: aiohttp.ClientSession
) -> None:
    """The booking is in the books while the caller still waits; then it gets its answer."""
    await fault(session, tiny, kind="slow_after", count=1, delay_seconds=2)
    asked = asyncio.create_task(book(session, tiny, "a"))
    await until(lambda: bool(tiny.bookings), what="the booking")
    assert tiny.calls[-1].end is None
    assert await asked == 201
    assert (tiny.calls[-1].fault, tiny.calls[-1].effect) == ("slow_after", True)


async def test_throttle_says_when_to_come_back(
    tiny: TinySandbox, session: aiohttp.ClientSession
) -> None:
    """429 carries Retry-After, does nothing, and only strikes the operation named."""
    await fault(session, tiny, kind="throttle", operation="book", retry_after_seconds=2)
    url = f"{tiny.vendor_url}/bookings"
    async with session.post(url, json={"key": "a"}) as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (429, "2")
    async with session.get(f"{url}/a") as answer:
        assert answer.status == 200
    assert tiny.bookings == []


async def test_slow_delays_and_then_works(
    tiny: TinySandbox, session: aiohttp.ClientSession
) -> None:
    """A slow call that the caller gave up on is done all the same."""
    await fault(session, tiny, kind="slow", delay_seconds=2, count=1)
    asked = asyncio.create_task(book(session, tiny, "a"))
    await until(lambda: bool(tiny.calls), what="the call")
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    assert tiny.bookings == []
    await until(lambda: len(tiny.bookings) == 1)


async def test_faults_are_refused_with_a_reason(
    tiny: TinySandbox, session: aiohttp.ClientSession
) -> None:
    """A fault that makes no sense is answered 400 and does nothing."""
    for spec in ({"kind": "rain"}, {"kind": "slow", "rate": 2}, {"kind": "slow", "x": 1}):
        async with session.post(f"{tiny.control_url}/faults", json=spec) as answer:
            assert answer.status == 400
            assert (await answer.json())["error"]
    assert (await control(session, tiny, "/faults"))["faults"] == []


def test_rates_repeat_with_the_seed() -> None:
    """The same seed strikes the same calls, another seed others."""

    def strikes(seed: int) -> list[bool]:
        faults = Faults(seed)
        faults.add({"kind": "slow", "rate": 0.3})
        return [faults.take(FaultKind.SLOW, "x") is not None for _ in range(200)]

    assert strikes(1) == strikes(1)
    assert strikes(1) != strikes(2)
    assert 30 <= sum(strikes(1)) <= 90


def test_counts_and_seconds_end_a_fault() -> None:
    """A fault with a count strikes exactly that often; one with seconds ends by the clock."""
    now = [0.0]
    faults = Faults(1, clock=lambda: now[0])
    faults.add({"kind": "throttle", "count": 2})
    struck = [faults.take(FaultKind.THROTTLE, "x") is not None for _ in range(3)]
    assert struck == [True, True, False]
    faults.add({"kind": "down", "seconds": 5})
    assert faults.down() is not None
    now[0] = 5.1
    assert faults.down() is None
    with pytest.raises(FaultRefused):
        faults.add({"kind": "slow", "count": 0})
    with pytest.raises(FaultRefused):
        faults.add({"kind": "down", "count": 1})


async def test_a_fault_of_an_operation_that_nobody_calls_is_refused(
    tiny: TinySandbox, session: aiohttp.ClientSession
) -> None:
    """Proves that a misspelt operation is refused by name with those there are, instead of a fault
    that never strikes, and so is a look at the calls of one."""
    wrong = {"kind": "reply_lost", "operation": "boook"}
    async with session.post(f"{tiny.control_url}/faults", json=wrong) as answer:
        assert answer.status == 400
        said = vendor_json.loads(await answer.read())["error"]
    assert said == (
        "there is no operation 'boook'; there are: book, confirm, draft, find, inflating, large, "
        "token"
    )
    assert tiny.faults.active() == []
    async with session.get(f"{tiny.control_url}/calls?operation=boook") as answer:
        assert answer.status == 400
        assert vendor_json.loads(await answer.read())["error"] == said
    assert (await control(session, tiny, "/calls?operation=book"))["calls"] == []


class Receiver:
    """A webhook receiver that remembers what came and answers as told."""

    def __init__(self) -> None:
        self.bodies: list[Any] = []
        self.refuse_first = 0
        self.statuses = [200]

    async def receive(self, request: Request) -> Response:
        if self.refuse_first:
            self.refuse_first -= 1
            return Response(status_code=503)
        self.bodies.append(await request.json())
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        return Response(status_code=status)


@pytest.fixture
async def receiver() -> AsyncIterator[tuple[Receiver, str]]:
    target = Receiver()
    app = Starlette(routes=[Route("/hook", target.receive, methods=["POST"])])
    listener = Listener(app, "127.0.0.1", 0)
    await listener.start()
    yield target, f"http://127.0.0.1:{listener.port}/hook"
    await listener.stop()


async def notify(
    session: aiohttp.ClientSession, sandbox: TinySandbox, url: str, count: int, key: str = "k"
) -> None:
    body = {"url": url, "count": count, "key": key}
    async with session.post(f"{sandbox.control_url}/commands/notify", json=body) as answer:
        assert answer.status == 200, await answer.text()


async def test_webhooks_keep_the_order_of_their_key(
    tiny: TinySandbox, session: aiohttp.ClientSession, receiver: tuple[Receiver, str]
) -> None:
    """Webhooks of one key arrive in order, also when the first ones had to be repeated."""
    target, url = receiver
    target.refuse_first = 2
    await notify(session, tiny, url, 10)
    await until(lambda: len(target.bodies) == 10)
    assert [b["number"] for b in target.bodies] == list(range(10))
    log = (await control(session, tiny, "/webhooks"))["webhooks"]
    assert log[0]["attempts"] == 3


@pytest.mark.parametrize(("status", "comes_again"), [(200, 0), (202, 0), (204, 1), (400, 0)])
async def test_a_webhook_is_taken_by_what_vendors_call_a_success(
    tiny: TinySandbox,
    session: aiohttp.ClientSession,
    receiver: tuple[Receiver, str],
    status: int,
    comes_again: int,
) -> None:
    """Proves that a simulated vendor repeats what was answered 204, as FedEx does, which counts
    200 and 202 alone; what is refused for good does not come again."""
    target, url = receiver
    target.statuses = [status, 200]
    await notify(session, tiny, url, 2)
    await until(lambda: len(target.bodies) == 2 + comes_again)
    numbers = [each["number"] for each in target.bodies]
    assert numbers == [0] * comes_again + [0, 1]


async def test_duplicate_and_late_webhooks(
    tiny: TinySandbox, session: aiohttp.ClientSession, receiver: tuple[Receiver, str]
) -> None:
    """A doubled webhook arrives twice; a late one is overtaken by those after it."""
    target, url = receiver
    await fault(session, tiny, kind="late_webhooks", count=1, delay_seconds=3)
    await notify(session, tiny, url, 5)
    await until(lambda: len(target.bodies) == 5)
    assert [b["number"] for b in target.bodies] == [1, 2, 3, 4, 0]
    await fault(session, tiny, kind="duplicate_webhooks", count=1)
    await notify(session, tiny, url, 2)
    await until(lambda: len(target.bodies) == 8)
    assert [b["number"] for b in target.bodies[5:]] == [0, 0, 1]


async def test_the_world_moves_by_itself_and_commands_explain_errors(
    tiny: TinySandbox, session: aiohttp.ClientSession
) -> None:
    """tick() runs at its pace; an unknown command names those that exist."""
    await until(lambda: tiny.ticks >= 3)
    async with session.post(f"{tiny.control_url}/commands/fly") as answer:
        assert (answer.status, (await answer.json())["commands"]) == (404, ["notify"])
    async with session.post(f"{tiny.control_url}/commands/notify", json={}) as answer:
        assert answer.status == 400


async def test_closing_is_quick_with_a_call_in_flight(
    session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopping a sandbox does not wait for a caller who never ends."""
    monkeypatch.undo()  # the grace that is shipped
    sandbox = TinySandbox(SandboxConfig(name="tiny"))
    await sandbox.start()
    sandbox.faults.add({"kind": "slow", "delay_seconds": 30})
    task = asyncio.create_task(book(session, sandbox, "a"))
    await until(lambda: len(sandbox.calls) == 1)
    started = time.monotonic()
    await sandbox.stop()
    assert time.monotonic() - started < 5
    with pytest.raises(aiohttp.ClientError):
        await task
