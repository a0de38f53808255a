"""A batch reads its requests together, and judges each by itself."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
from crossdock.contracts import digest
from crossdock.order.v1 import order_service_pb2
from crossdock_hub.commands import Command, Unread
from crossdock_hub.config import Limits
from crossdock_hub.door.intake import Intake
from crossdock_hub.identity import Caller
from decisions import CONTRACT
from story import create_order, order

METHOD = CONTRACT.methods["/crossdock.order.v1.OrderService/CreateOrder"]
CALLER = Caller("oms", "OMS")


def command(raw: bytes) -> Command:
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    return Command(METHOD.full_name, CALLER, lambda _: None, future, unread=Unread(METHOD, raw))


async def test_a_bad_request_takes_no_neighbour_with_it() -> None:
    """Proves that each kind of bad request gets its own refusal, in one batch with good ones that
    are read in their order."""
    good = [create_order(order("bu-01")) for _ in range(2)]
    without_id = order_service_pb2.CreateOrderRequest(order=order("bu-01"))
    broken = create_order(order("bu-01"))
    broken.order.lines[0].quantity.value = "two"
    bad = {
        "MALFORMED_MESSAGE": b"\xff\xff\xff",
        "UNKNOWN_FIELD": good[0].SerializeToString() + b"\xf8\x7f\x01",
        "REQUEST_ID_MISSING": without_id.SerializeToString(),
        "INVALID_FIELD": broken.SerializeToString(),
    }
    batch = [command(good[0].SerializeToString())]
    batch += [command(raw) for raw in bad.values()]
    batch.append(command(good[1].SerializeToString()))
    ready, refused = Intake(CONTRACT, Limits()).read(batch)
    assert [c.request_id for c in ready] == [r.request_id for r in good]
    assert [c.digest for c in ready] == [digest(r) for r in good]
    assert all(("request", c.request_id) in c.keys and c.unread is None for c in ready)
    assert {no.refusal.reason for _, no in refused} == set(bad)
    assert len(refused) == len(bad)


async def test_a_fault_is_one_caller_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves that a fault of ours while one request is read is answered with an incident, and the
    others of the batch are read."""
    intake = Intake(CONTRACT, Limits())
    first, second = (command(create_order(order("bu-01")).SerializeToString()) for _ in range(2))
    check = intake.check

    def faulty(message_name: str, raw: bytes, request: Any) -> None:
        if first.unread is not None and raw == first.unread.raw:
            raise ZeroDivisionError("a secret")
        check(message_name, raw, request)

    monkeypatch.setattr(intake, "check", faulty)
    ready, refused = intake.read([first, second])
    assert ready == [second]
    assert [(c, no.refusal.reason) for c, no in refused] == [(first, "INTERNAL_FAULT")]
    assert "secret" not in refused[0][1].refusal.message


async def test_what_was_read_is_not_read_again() -> None:
    """Proves that a batch which is tried again command by command keeps what it read."""
    intake = Intake(CONTRACT, Limits())
    one = command(create_order(order("bu-01")).SerializeToString())
    assert one.unread is not None
    what = one.unread
    ready, _ = intake.read([one])
    request = what.request
    again, refused = intake.read(ready)
    assert again == [one]
    assert what.request is request
    assert refused == []
    assert uuid.UUID(one.request_id)
