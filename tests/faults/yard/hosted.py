"""An adapter process of the yard, on the real SDK: `python -m tests.faults.yard.hosted CONFIG`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from crossdock_adapters.sdk import hosting, http, logs, registry
from crossdock_adapters.sdk.config import load_adapters

from tests.faults.yard.adapter import CLASSES, StampedRequest, adapter_name, yard_adapter
from tests.faults.yard.carrier import PURCHASES, carrier_adapter, carrier_name


def main(path: str) -> None:
    """Host the endpoints of a configuration file until SIGTERM."""
    adapters = {adapter_name(kind): yard_adapter(kind) for kind in CLASSES}
    adapters |= {carrier_name(kind): carrier_adapter(kind) for kind in PURCHASES}
    # No entry points: these adapters exist only in the tests.
    registry.adapter = adapters.__getitem__  # type: ignore[assignment]
    http._LeasedRequest = StampedRequest  # type: ignore[misc]
    logs.start()
    asyncio.run(hosting.host_endpoints(load_adapters(Path(path))))


if __name__ == "__main__":
    main(sys.argv[1])
