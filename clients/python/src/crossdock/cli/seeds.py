"""What no adapter brings in: the carrier accounts of transport management."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from google.protobuf.field_mask_pb2 import FieldMask

from crossdock.carrier.v1 import carrier_pb2, carrier_service_pb2
from crossdock.cli.network.vendor import CarrierAccount
from crossdock.cli.problems import CommandError
from crossdock.client import HubClient, request_id
from crossdock.customer.v1 import customer_service_pb2
from crossdock.item.v1 import item_service_pb2
from crossdock.location.v1 import location_service_pb2

MASTER_DATA_POLL_SECONDS: Final = 0.2
PAGE: Final = 500
_VERSION: Final = "1"
_FIELDS: Final = (
    "carrier_code", "account_number", "name", "billing", "services",
    "ship_from_location_numbers", "active",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class MasterData:
    """How much of what orders refer to the hub knows."""

    items: int
    customers: int
    locations: int


async def wait_for_master_data(hub: HubClient, docks: int, timeout_seconds: float) -> MasterData:
    """Until the ERP's items, customers and locations are in the hub, as many with a time zone as
    there are docks."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        found = await _master_data(hub)
        if found.items and found.customers and found.locations >= docks:
            return found
        if time.monotonic() > deadline:
            raise CommandError(
                f"the ERP's master data is not in the hub after {timeout_seconds:g} s",
                f"{found.items} items, {found.customers} customers, {found.locations} locations "
                "that could ship",
                "crossdock doctor; crossdock endpoint show netsuite",
            )
        await asyncio.sleep(MASTER_DATA_POLL_SECONDS)


async def seed_carrier_accounts(hub: HubClient, accounts: Sequence[CarrierAccount]) -> None:
    """Write the accounts; the same again changes nothing. hub: as the shipping desk."""
    entries = [
        carrier_service_pb2.CarrierAccountEntry(
            request_id=request_id("shipping-desk", account.number, _VERSION),
            carrier_account=_told(account),
            update_mask=FieldMask(paths=list(_FIELDS)),
        )
        for account in accounts
    ]
    request = carrier_service_pb2.UpsertCarrierAccountsRequest(entries=entries)
    answer = await hub.carriers.UpsertCarrierAccounts(request)
    for account, result in zip(accounts, answer.results, strict=True):
        if result.refusal.reason:
            raise CommandError(
                f"the hub refuses carrier account {account.number}: {result.refusal.reason}",
                result.refusal.message,
            )


def _told(account: CarrierAccount) -> carrier_pb2.CarrierAccount:
    return carrier_pb2.CarrierAccount(
        number=account.number,
        carrier_code=account.carrier_code,
        account_number=account.account_number,
        name=account.name,
        billing=carrier_pb2.CarrierBilling(
            payer=carrier_pb2.BILLING_PARTY_SHIPPER, currency=account.currency
        ),
        services=[
            carrier_pb2.ContractedService(service_code=code, name=name)
            for code, name in account.services.items()
        ],
        ship_from_location_numbers=list(account.docks),
        active=True,
    )


async def _master_data(hub: HubClient) -> MasterData:
    items = await hub.items.ListItems(item_service_pb2.ListItemsRequest(page_size=PAGE))
    customers = await hub.customers.ListCustomers(
        customer_service_pb2.ListCustomersRequest(page_size=PAGE)
    )
    locations = await hub.locations.ListLocations(
        location_service_pb2.ListLocationsRequest(page_size=PAGE)
    )
    ready = [each for each in locations.locations if each.active and each.time_zone]
    return MasterData(len(items.items), len(customers.customers), len(ready))
