"""Packages of a goods issue in NetSuite: which sublist they go to, and how its fields are spelt."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from crossdock_adapters.netsuite import adapter
from crossdock_adapters.sdk.outcomes import Reject
from crossdock_adapters.sdk.settings import SettingsError
from netsuite_account import running_account
from netsuite_hub import HubNotebook, settings_for
from test_netsuite_adapter import Desk, approved, manifested

pytestmark = pytest.mark.asyncio


@pytest.mark.parametrize(
    ("sublists", "accepted", "fields"),
    [
        ({}, False, set()),
        ({"UPS": "none"}, True, set()),
        (
            {"UPS/03": "packageUps"},
            True,
            {"packageWeightUps", "packageTrackingNumberUps", "packageDescrUps"},
        ),
        ({"UPS/03": "packageFedEx"}, False, set()),
    ],
)
async def test_packages_go_to_the_sublist_of_the_ship_method(
    tmp_path: Path, sublists: dict[str, str], accepted: bool, fields: set[str]
) -> None:
    """With an integrated carrier the plain sublist and another carrier's are refused."""
    async with running_account(tmp_path, integrated_ship_methods={"41": "packageUps"}) as account:
        settings, secrets = settings_for(
            account, ship_methods={"UPS": "41"}, package_sublists=sublists
        )
        vendor = await adapter.connect(settings, secrets)
        desk = Desk(account, vendor, settings, HubNotebook())
        await adapter.pull_master_data(desk.hub.poll(settings), vendor)
        await desk.do("create_sales_order", approved())
        event = manifested()
        event.shipment.carrier_code, event.shipment.service_code = "UPS", "03"
        if accepted:
            await desk.do("post_goods_issue", event)
            (record,) = account.fulfillments()
            assert {name for row in record["fields"]["packages"] for name in row} == fields
        else:
            with pytest.raises(Reject, match="does not apply to this ship method"):
                await desk.do("post_goods_issue", event)
            assert account.fulfillments() == []
        await vendor.close()


async def test_packages_of_fedex_are_spelt_as_its_sublist_spells_them(tmp_path: Path) -> None:
    """Proves that the sublist is packageFedex, however a setting writes it, and its fields end with
    FedEx: NetSuite refuses names that differ in a capital letter."""
    async with running_account(tmp_path, integrated_ship_methods={"41": "packageFedex"}) as account:
        settings, secrets = settings_for(
            account, ship_methods={"UPS": "41"}, package_sublists={"UPS": "packageFedEx"}
        )
        vendor = await adapter.connect(settings, secrets)
        desk = Desk(account, vendor, settings, HubNotebook())
        await adapter.pull_master_data(desk.hub.poll(settings), vendor)
        await desk.do("create_sales_order", approved())
        event = manifested()
        event.shipment.carrier_code = "UPS"
        await desk.do("post_goods_issue", event)
        ((package,),) = (each["fields"]["packages"] for each in account.fulfillments())
        assert package == {
            "packageWeightFedEx": Decimal("4.4092"),
            "packageTrackingNumberFedEx": "1Z999AA10123456784",
        }
        await vendor.close()


async def test_a_sublist_that_is_none_is_refused_at_the_start(tmp_path: Path) -> None:
    """A misspelt sublist is named before anything is sent."""
    async with running_account(tmp_path) as account:
        settings, secrets = settings_for(account, package_sublists={"UPS": "pakageUps"})
        with pytest.raises(SettingsError, match="package_sublists: 'pakageUps' of UPS"):
            await adapter.connect(settings, secrets)
