"""The day, and so the period, in which an ERP posts what left near midnight: no zone is guessed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from crossdock_adapters.legacy_file import adapter as legacy
from crossdock_adapters.netsuite import adapter as netsuite
from crossdock_adapters.sap import adapter as sap
from crossdock_adapters.sdk.adapter import Adapter
from crossdock_adapters.sdk.erp_documents import Rules
from crossdock_adapters.sdk.settings import Settings, SettingsError, check
from sap_world import approved, manifested, running, voided

SECRET = "POSTING_DAYS_SECRET"
SAP: Mapping[str, Any] = {
    "base_url": "https://127.0.0.1:1", "sales_areas": {}, "plants": {}, "user": "U",
    "password": f"env:{SECRET}",
}  # fmt: skip
NETSUITE: Mapping[str, Any] = {
    "base_url": "https://127.0.0.1:1", "client_id": "C", "certificate_id": "C",
    "private_key": f"env:{SECRET}",
}  # fmt: skip
OF_SAP = (sap.ADAPTER, sap.connect, SAP, "time_zone")
OF_NETSUITE = (netsuite.ADAPTER, netsuite.connect, NETSUITE, "account_time_zone")


@pytest.mark.parametrize(("adapter", "connect", "given", "name"), [OF_SAP, OF_NETSUITE])
async def test_an_erp_without_a_zone_is_not_started(
    monkeypatch: pytest.MonkeyPatch,
    adapter: Adapter,
    connect: Any,
    given: Mapping[str, Any],
    name: str,
) -> None:
    """Proves that no zone is taken for granted: without one, and with one that nobody knows, the
    error names the setting, the rule and what to give."""
    monkeypatch.setenv(SECRET, "secret")
    with pytest.raises(SettingsError, match=f"{name} is required: IANA zone .* America/Denver"):
        check(adapter.manifest.settings, given)
    for wrong in ("", "Mars/Base"):
        own = check(adapter.manifest.settings, {**given, name: wrong})
        with pytest.raises(SettingsError, match=f"{name} is '{wrong}', .* give one as America"):
            await connect(*own)


def test_a_legacy_erp_is_told_which_zone_is_none() -> None:
    """Proves that a zone which nobody knows is named with its setting and what to give, and that
    none at all may stay unknown at an ERP whose days are left blank then."""
    given = {"time_zone": "Mars/Base", "units": {}, "warehouses": {}}
    with pytest.raises(SettingsError, match=r"time_zone is 'Mars/Base', .* give one as America"):
        Rules.of(Settings(given), legacy.ADAPTER.mappings, "legacy_file")
    unknown = Settings({**given, "time_zone": ""})
    assert Rules.of(unknown, legacy.ADAPTER.mappings, "legacy_file").zone is None


@pytest.mark.parametrize(
    ("zone", "left_on", "reversed_on"),
    [
        ("America/New_York", date(2026, 3, 31), date(2026, 3, 31)),
        ("UTC", date(2026, 3, 31), date(2026, 4, 1)),
        ("Asia/Tokyo", date(2026, 4, 1), date(2026, 4, 1)),
    ],
)
async def test_what_left_near_midnight_is_posted_in_the_period_of_the_books(
    tmp_path: Path, zone: str, left_on: date, reversed_on: date
) -> None:
    """Proves that the zone that was given decides the posting day of a goods issue and of its
    reversal, at the end of a month the period."""
    async with running(tmp_path, time_zone=zone) as desk:
        await desk.do("create_sales_order", approved({}))
        event: Any = manifested()
        event.shipment.manifest_time.instant.FromJsonString("2026-03-31T23:30:00Z")
        await desk.do("post_goods_issue", event)
        void: Any = voided({})
        void.metadata.record_time.FromJsonString("2026-04-01T00:30:00Z")
        await desk.do("reverse_goods_issue", void)
        days = {each["GoodsMovementType"]: each["PostingDate"] for each in desk.documents()}
        assert days == {"601": left_on, "602": reversed_on}
