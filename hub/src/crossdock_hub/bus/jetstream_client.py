"""nats-py's client as the hub uses it."""

from __future__ import annotations

from crossdock.bus_connection import ClosesAbandoned
from nats.aio.client import Client as NatsClient


class Client(ClosesAbandoned, NatsClient):
    """A connection to the bus."""
