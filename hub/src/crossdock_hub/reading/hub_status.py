"""Answers how the hub is: its bus, its streams, and what differs between bus and database."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Final

from crossdock.hub.v1 import hub_service_pb2

from crossdock_hub.bus.address import BusHealth
from crossdock_hub.bus.outlet import Outlet
from crossdock_hub.bus.relay import Relay
from crossdock_hub.expiring import Expiries, Expiry
from crossdock_hub.identity import Caller
from crossdock_hub.reading.difference_messages import difference_message
from crossdock_hub.store import Store, leadership
from crossdock_hub.store.attempt_logs import words_of
from crossdock_hub.store.bus_rows import differences

GET_HUB_STATUS: Final = "/crossdock.hub.v1.HubService/GetHubStatus"


class HubStatus:
    """What the method needs. health: of the bus, now. shared: there may be other hubs."""

    def __init__(
        self,
        store: Store,
        relay: Relay,
        health: Callable[[], BusHealth],
        expiries: Expiries,
        *,
        shared: bool,
    ) -> None:
        self._expiries = expiries
        self._shared = shared
        self._store = store
        self._relay = relay
        self._health = health

    async def answer(self, _caller: Caller, _request: Any, _context: Any) -> Any:
        """The response. Raises StoreFailure."""
        health = self._health()
        response = hub_service_pb2.GetHubStatusResponse(bus_ok=health.ok, bus_reason=health.reason)
        response.bus_since.FromDatetime(health.since)
        response.streams.extend(map(_stream, (self._relay.events, self._relay.scans)))
        async with self._store.read() as connection:
            found = await differences(connection)
            words = await words_of(connection, [each.kind for each in found])
            held = await leadership.held(connection) if self._shared else ()
        response.expiries.extend(map(_expiry, self._expiries.found()))
        response.leads.extend(hub_service_pb2.Lead(**asdict(each)) for each in held)
        told = (difference_message(each, words.get(each.kind, ())) for each in found)
        response.differences.extend(told)
        return response


def _expiry(found: Expiry) -> hub_service_pb2.Expiry:
    told = hub_service_pb2.Expiry(setting=found.setting, soon=found.soon)
    told.expire_time.FromDatetime(found.at)
    return told


def _stream(outlet: Outlet) -> hub_service_pb2.StreamStatus:
    position = outlet.position
    return hub_service_pb2.StreamStatus(
        stream=outlet.stream,
        stored_sequence=position.stream_sequence if position else 0,
        published=outlet.published,
        strange_messages=outlet.strangers,
        sent_again=outlet.sent_again,
    )
