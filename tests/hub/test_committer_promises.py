"""What the committer promises whatever is decided: refusals leave nothing, answers have owners."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from crossdock.errors import Refusal
from crossdock.tracking.v1 import tracking_service_pb2
from crossdock_hub.commands import Command, Unread
from crossdock_hub.committer import Committer
from crossdock_hub.identity import Caller
from crossdock_hub.records import CursorRecord
from crossdock_hub.store import Store
from crossdock_hub.unit import Refused, Unit
from decisions import CONTRACT
from own_committer import committer, store

from tests.load.callers import order_request

__all__ = ["committer", "store"]

CREATE_ORDER = "/crossdock.order.v1.OrderService/CreateOrder"
UPS, DHL = Caller("ups", "CARRIER"), Caller("dhl", "CARRIER")
Answer = tracking_service_pb2.StreamTrackingEventsResponse


def command(caller: Caller, decide: Any, request_id: str = "", digest: bytes = b"1") -> Command:
    return Command(
        "/a/Method",
        caller,
        decide,
        asyncio.get_running_loop().create_future(),
        request_id=request_id,
        digest=digest,
        response_type=Answer,
    )


def put(name: str) -> Any:
    def decide(unit: Unit) -> Any:
        unit.get(("cursor", unit.caller.endpoint, name))
        cursor = CursorRecord(unit.caller.endpoint, name, b"1", 1)
        unit.put(("cursor", cursor.endpoint, name), cursor)
        return Answer(request_id=name)

    return decide


async def cursors(store: Store) -> list[str]:
    async with store.read() as connection:
        rows = await connection.exec_driver_sql("SELECT name FROM cursors ORDER BY name")
        return [row[0] for row in rows]


async def test_a_refusal_leaves_nothing_and_spares_its_neighbours(
    committer: Committer, store: Store
) -> None:
    """Proves that what a decision put before it refused is not kept, and its neighbours are."""

    def change_of_mind(unit: Unit) -> Any:
        put("refused")(unit)
        raise Refused(Refusal("STATE_TRANSITION", "no"))

    commands = [command(UPS, put("one")), command(UPS, change_of_mind), command(UPS, put("two"))]
    answers = [committer.submit(each) for each in commands]
    told = await asyncio.gather(*answers, return_exceptions=True)
    assert [type(each) for each in told] == [Answer, Refused, Answer]
    assert await cursors(store) == ["one", "two"]


@pytest.mark.parametrize(
    ("caller", "digest", "again"), [(UPS, b"1", True), (DHL, b"1", False), (UPS, b"2", False)]
)
async def test_an_answer_belongs_to_who_asked_and_what(
    committer: Committer, store: Store, caller: Caller, digest: bytes, again: bool
) -> None:
    """Proves that a request id answers its own caller and content once more, and nobody else."""
    first = await committer.submit(command(UPS, put("first"), "id-1"))
    second = committer.submit(command(caller, put("second"), "id-1", digest))
    if again:
        assert await second == first
    else:
        with pytest.raises(Refused) as refused:
            await second
        assert refused.value.refusal.reason == "REQUEST_ID_REUSED"
    assert await cursors(store) == ["first"]


async def test_what_waits_is_read_while_the_batch_before_it_commits(
    committer: Committer, store: Store
) -> None:
    """Proves that a request which can't be read has its answer before the batch in front of it is
    durable, has it once, and takes no other request with it."""
    told: list[str] = []

    def unread(raw: bytes) -> Command:
        made = command(UPS, put("read ahead"))
        made.unread = Unread(CONTRACT.methods[CREATE_ORDER], raw)
        return made

    malformed = unread(b"\xff")
    good = unread(order_request("SO-1"))

    def meanwhile(unit: Unit) -> Any:
        answer = put("first")(unit)
        if not told:
            told.append("first is decided")
            committer.submit(malformed).add_done_callback(lambda _: told.append("malformed"))
            committer.submit(good).add_done_callback(lambda _: told.append("good"))
        return answer

    first = committer.submit(command(UPS, meanwhile))
    first.add_done_callback(lambda _: told.append("first"))
    await asyncio.gather(first, good.answer)
    assert told == ["first is decided", "malformed", "first", "good"]
    error = malformed.answer.exception()
    assert isinstance(error, Refused)
    assert error.refusal.reason == "MALFORMED_MESSAGE"
    assert await cursors(store) == ["first", "read ahead"]
