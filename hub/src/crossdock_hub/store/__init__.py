"""The database: the only package of the hub that imports one."""

from __future__ import annotations

from crossdock_hub.store.engine import Store, StoreFailure, Transaction
from crossdock_hub.store.reading import Reader

__all__ = ["Reader", "Store", "StoreFailure", "Transaction"]
