"""NetSuite: the ERP that master data comes from."""

from __future__ import annotations

from typing import Any, Final

from crossdock.cli.network.vendor import SandboxPace, Site, Vendor, reference, vendor_url

ERP_ID_PREFIX: Final = "xd-"
_CLIENT: Final = "crossdock-integration"
_CERTIFICATE: Final = "crossdock-certificate-1"
_TIME_ZONE: Final = "America/Los_Angeles"
_KEY: Final = "netsuite-client-key.pem"
# As the adapter has them, and the column in which this account keeps a customer's currency.
_CUSTOMER_COLUMNS: Final = {
    "number": "entityid",
    "name": "companyname",
    "credit_limit": "creditlimit",
    "credit_hold": "creditholdoverride",
    "terms": "BUILTIN.DF(terms)",
    "inactive": "isinactive",
    "currency": "currency",
}


def _sandbox(site: Site, _: SandboxPace) -> dict[str, Any]:
    # The sandbox makes this key where it is missing, as if somebody had mapped the certificate.
    return {
        "client_key_file": str(site.secret_file(_KEY)),
        "client_id": _CLIENT,
        "certificate_id": _CERTIFICATE,
        "skipped_numbers": (site.seed - 1) * 10_000,
        "countries": sorted({dock.country for dock in site.docks.values()}),
        "account_time_zone": _TIME_ZONE,
    }


def _adapter(site: Site, _: SandboxPace) -> dict[str, Any]:
    return {
        "base_url": vendor_url(site, "netsuite"),
        "client_id": _CLIENT,
        "certificate_id": _CERTIFICATE,
        "private_key": reference(site, _KEY),
        "account_time_zone": _TIME_ZONE,
        "external_id_prefix": ERP_ID_PREFIX,
        "master_data_interval_seconds": 30,
        "customer_columns": _CUSTOMER_COLUMNS,
        "timeout_seconds": 4,
    }


VENDOR: Final = Vendor(
    "netsuite",
    "ERP",
    _sandbox,
    _adapter,
    settle_after_seconds=dict.fromkeys(
        (
            "create_sales_order",
            "change_order",
            "cancel_order",
            "post_goods_issue",
            "reverse_goods_issue",
        ),
        5,
    ),
)
