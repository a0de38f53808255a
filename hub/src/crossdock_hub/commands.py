"""A command on its way through a batch: what is asked, by whom, and the future of its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from crossdock.contracts import Contract, Method
from google.protobuf.message import Message

from crossdock_hub.archive.records import number_key
from crossdock_hub.identity import Caller
from crossdock_hub.objects.resources import KINDS
from crossdock_hub.unit import Key, NotYet, Unit

Decision = Callable[[Unit], Any]

# Whose changes of an order are told.
ORDER_OWNER: Final = "OMS"


@dataclass(slots=True, eq=False)
class Unread:
    """A request as it came; its batch reads it. request: what it says; None until then.

    Its command's decision reads it here: one that held its own command would be a circle, which
    waits for the collector with all that hangs on it.
    """

    method: Method
    raw: bytes
    request: Any = None


@dataclass(slots=True, eq=False)
class Command:
    """One decision to make and its answer.

    unread: a request whose batch sets `request_id`, `digest` and `keys`; None where they are known.
    request_id, digest: of a request that is answered once; "" for those fenced by
    tokens. encoded: the answer is the response's bytes, not the response. on_hold: answers a fact
    that does not fit yet, after keeping it; None for commands. weight: how much of a batch it
    takes. leads: only the office decides it, the hub that leads what there is only one of.
    of_endpoint: only the hub that leads the system of this endpoint decides it; "": no endpoint's.
    keys: what it will most likely read, so that most need one round. decide: its answer, or `Steps`
    to it when it is long.
    """

    name: str
    caller: Caller
    decide: Decision
    answer: asyncio.Future[Any]
    unread: Unread | None = None
    request_id: str = ""
    digest: bytes = b""
    response_type: type[Any] | None = None
    encoded: bool = False
    on_hold: Callable[[Unit, NotYet], Any] | None = None
    traceparent: str = ""
    weight: int = 1
    bulk: bool = False
    leads: bool = False
    of_endpoint: str = ""
    keys: frozenset[Key] = field(default_factory=frozenset)


def hinted_keys(contract: Contract, resource_field: str, request: Any, role: str) -> frozenset[Key]:
    """What a request will most likely read: its id, the objects it names, its number, and the
    deliveries of an order that it names. What it does not need costs one row or one index; what is
    missing here, a round. role: the caller's."""
    keys: set[Key] = set()
    request_id = getattr(request, "request_id", "")
    if request_id:
        keys.add(("request", request_id))
    for descriptor, value in request.ListFields():
        kind = descriptor.name.removesuffix("_id")
        if kind != descriptor.name and kind in KINDS:
            keys.add(("object", kind, value))
    target: Any = getattr(request, resource_field, None) if resource_field else None
    # A batch call has many; what they need is read when they are decided.
    is_one = isinstance(target, Message) and request.HasField(resource_field)
    if is_one:
        for reference in contract.references(target):
            by = "number" if reference.by == "number" else "object"
            keys.add((by, reference.kind, reference.value))
        if target.id:
            keys.add(("object", resource_field, target.id))
        elif getattr(target, "number", ""):
            # A new object takes the number only if no archived one had it.
            archived = number_key(resource_field, target.number)
            keys |= {("number", resource_field, target.number), ("archived", archived)}
    orders = {key[2] for key in keys if key[0] == "object" and key[1] == "order"}
    if is_one and resource_field == "order" and role != ORDER_OWNER:
        # What is done to an order mostly goes to whoever has work of it. Of an update only the
        # content is told: what others write on it tells nobody.
        orders.discard(target.id)
    return frozenset((*keys, *(("flow", order) for order in orders)))
