"""What a batch makes goes as soon as it is answered: none of it waits for the collector, which
would have to look through all that a hub has in hand to find it."""

from __future__ import annotations

import gc
import uuid
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from crossdock.endpoint.v1 import endpoint_service_pb2
from crossdock_hub.commands import Command, Unread
from crossdock_hub.committer import Committer
from crossdock_hub.config import Limits
from crossdock_hub.door.intake import Intake
from crossdock_hub.door.services import Services
from crossdock_hub.store.loading import Loader
from crossdock_hub.unit import Changes, Unit, View
from decisions import CONTRACT, ERP
from own_committer import committer, store

__all__ = ["committer", "store"]

PUT_CURSOR = "/crossdock.endpoint.v1.EndpointService/PutCursor"
CALLS = 20
# Of the batch under way, and of the one that a frame of the committer still names.
KEPT_MAX = 2


@pytest.fixture
def put_cursor(committer: Committer) -> Any:
    """The handler of one call, without a socket in front of it."""
    door: Any = SimpleNamespace(
        contract=CONTRACT, limits=Limits(), admit=lambda _method, _context: ERP
    )
    unused: Any = None
    intake = Intake(CONTRACT, door.limits)
    services = Services(door, intake, committer, _Anything(), {}, None, unused, unused)
    details: Any = SimpleNamespace(method=PUT_CURSOR, invocation_metadata=())
    (found,) = filter(None, (each.service(details) for each in services.handlers()))
    return found.unary_unary


class _Anything(dict[str, Any]):
    """An answer to every query: this test asks none."""

    def __missing__(self, _name: str) -> Any:
        return lambda *_: None


@pytest.fixture
def without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def alive() -> Counter[str]:
    kinds = (View, Changes, Loader, Unit, Command, Unread)
    return Counter(type(each).__name__ for each in gc.get_objects() if type(each) in kinds)


@pytest.mark.usefixtures("without_collector")
async def test_nothing_of_a_batch_is_left_to_the_collector(put_cursor: Any) -> None:
    """Proves that records, changes and requests of batches that are answered are gone by
    themselves: a loader's methods and a request's decision held what held them, so that each
    report of 500 scans left thousands of objects behind."""
    before = alive()
    for number in range(CALLS):
        asked = endpoint_service_pb2.PutCursorRequest(
            request_id=str(uuid.uuid4()), name=f"page-{number}", value=b"1"
        )
        await put_cursor(asked.SerializeToString(), None)
    left = alive() - before
    assert all(count <= KEPT_MAX for count in left.values()), left
