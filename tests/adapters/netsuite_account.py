"""A simulated NetSuite account and a client that may use it, for the tests of this folder."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossdock_adapters.netsuite.client import TOKEN_PATH, Login, NetSuiteClient
from crossdock_adapters.netsuite.sandbox import (
    DEFAULT_CERTIFICATE_ID,
    DEFAULT_CLIENT_ID,
    NetSuiteSandbox,
)
from crossdock_adapters.sdk.http import VendorHttp
from crossdock_adapters.sdk.sandbox import SandboxConfig

QUICK = {"save_seconds_min": 0.0, "save_seconds_max": 0.002}


@dataclass(frozen=True)
class Account:
    """The running sandbox, a client of it, and where its key lies."""

    sandbox: NetSuiteSandbox
    client: NetSuiteClient
    key_file: Path

    def fault(self, kind: str, **details: Any) -> None:
        """Make the vendor misbehave."""
        self.sandbox.faults.add({"kind": kind, **details})

    def orders(self) -> list[dict[str, Any]]:
        """Sales orders in the vendor's own books."""
        return list(self.sandbox.books()["sales_orders"])

    def fulfillments(self) -> list[dict[str, Any]]:
        """Item fulfillments in the vendor's own books, deleted ones left out."""
        held = self.sandbox.books()["item_fulfillments"]
        return [record for record in held if not record["deleted"]]

    def id_of(self, kind: str, number: str) -> str:
        """Internal id of an item, customer or location."""
        for record in self.sandbox.books()["master_data"][kind]:
            if record["number"] == number:
                return str(record["internal_id"])
        raise LookupError(number)


@asynccontextmanager
async def running_account(folder: Path, **settings: Any) -> AsyncIterator[Account]:
    """Start an account on free ports; settings as NetSuiteSandbox describes them."""
    key_file = folder / "netsuite-key.pem"
    config = SandboxConfig(
        "netsuite", settings={"client_key_file": str(key_file), **QUICK, **settings}
    )
    sandbox = NetSuiteSandbox(config)
    async with sandbox:
        client = client_of(sandbox.vendor_url, key_file)
        try:
            yield Account(sandbox, client, key_file)
        finally:
            await client.close()


def client_of(
    url: str, key_file: Path, *, timeout_seconds: float = 5.0, concurrency: int = 3
) -> NetSuiteClient:
    """A client of the account at `url`."""
    login = Login(
        DEFAULT_CLIENT_ID, DEFAULT_CERTIFICATE_ID, "ES256", url + TOKEN_PATH, key_file.read_text
    )
    return NetSuiteClient(
        VendorHttp(url, timeout_seconds=timeout_seconds), login, concurrency=concurrency
    )
