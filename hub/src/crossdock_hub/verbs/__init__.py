"""What each writing method of the contract decides: plain functions of a unit and a request.

Importing this package registers all of them; `DECISIONS` maps full method names to functions.
"""

from __future__ import annotations

from crossdock_hub.verbs import (
    confirmations,
    dead_letters,
    deliveries,
    differences,
    endpoints,
    freight,
    fulfillments,
    inventory,
    labels,
    mappings,
    master_data,
    orders,
    replays,
    returns,
    shipments,
    tracking,
)
from crossdock_hub.verbs.registering import DECISIONS, PREPARATIONS, Decide

__all__ = [
    "DECISIONS",
    "PREPARATIONS",
    "Decide",
    "confirmations",
    "dead_letters",
    "deliveries",
    "differences",
    "endpoints",
    "freight",
    "fulfillments",
    "inventory",
    "labels",
    "mappings",
    "master_data",
    "orders",
    "replays",
    "returns",
    "shipments",
    "tracking",
]
