"""The database: the only package of the hub that imports one."""

from __future__ import annotations

from crossdock_hub.store.engine import Store, Transaction
from crossdock_hub.store.failures import StoreFailure
from crossdock_hub.store.postgresql import Access
from crossdock_hub.store.reading import Reader

__all__ = ["Access", "Reader", "Store", "StoreFailure", "Transaction"]
