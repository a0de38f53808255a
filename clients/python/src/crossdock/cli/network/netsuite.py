"""NetSuite: the ERP that master data comes from."""

from __future__ import annotations

from typing import Any, Final

from crossdock.cli.network.vendor import SandboxPace, Site, Vendor, reference, vendor_url

ERP_ID_PREFIX: Final = "xd-"
_CLIENT: Final = "crossdock-integration"
_CERTIFICATE: Final = "crossdock-certificate-1"
_KEY: Final = "netsuite-client-key.pem"


def _sandbox(site: Site, _: SandboxPace) -> dict[str, Any]:
    # The sandbox makes this key where it is missing, as if somebody had mapped the certificate.
    return {
        "client_key_file": str(site.secret_file(_KEY)),
        "client_id": _CLIENT,
        "certificate_id": _CERTIFICATE,
        "skipped_numbers": (site.seed - 1) * 10_000,
    }


def _adapter(site: Site, _: SandboxPace) -> dict[str, Any]:
    return {
        "base_url": vendor_url(site, "netsuite"),
        "client_id": _CLIENT,
        "certificate_id": _CERTIFICATE,
        "private_key": reference(site, _KEY),
        "external_id_prefix": ERP_ID_PREFIX,
        "master_data_interval_seconds": 30,
    }


VENDOR: Final = Vendor("netsuite", "ERP", _sandbox, _adapter)
