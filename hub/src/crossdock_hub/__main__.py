"""`python -m crossdock_hub`: starts a hub, stops it on SIGTERM or SIGINT, nothing else."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys

import structlog
from crossdock import supervision
from crossdock.errors import CrossdockError
from crossdock.telemetry import start_tracing
from pydantic import ValidationError

from crossdock_hub import logs
from crossdock_hub.config import Settings, unknown_variables
from crossdock_hub.exits import EXIT_CONFIGURATION, status_of
from crossdock_hub.hub import Hub
from crossdock_hub.store import StoreFailure
from crossdock_hub.telemetry import default_sampling

# New objects before the youngest are looked through, then collections before the older ones are.
COLLECTION_THRESHOLDS = (10_000, 20, 50)


async def _serve(settings: Settings) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    _leave_in_peace()
    hub = Hub(settings)
    if not await _is_started(hub, stopping):
        return
    # Callers are there: what was looked through before the start would keep them waiting now.
    _leave_in_peace()
    supervision.tell(supervision.READY)
    alive = asyncio.create_task(supervision.show_life())
    await stopping.wait()
    supervision.tell(supervision.STOPPING)
    await hub.stop()
    alive.cancel()


async def _is_started(hub: Hub, stopping: asyncio.Event) -> bool:
    """Start a hub. False: it was told to stop meanwhile, and what had begun is taken apart again.

    A start may take long: a migration, a bus that does not come up.
    """
    starting = asyncio.create_task(hub.start(), name="start")
    told = asyncio.create_task(stopping.wait(), name="stop")
    await asyncio.wait({starting, told}, return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    if starting.done():
        starting.result()
        return True
    supervision.tell(supervision.STOPPING)
    starting.cancel()
    await asyncio.wait({starting})
    error = None if starting.cancelled() else starting.exception()
    if not starting.cancelled() and error is None:
        # It was done before it could be cancelled.
        await hub.stop()
    log = structlog.get_logger("crossdock.hub")
    log.info("hub stopped before it served", **({"cause": str(error)} if error else {}))
    return False


def _leave_in_peace() -> None:
    """Keep the collector away from what lives as long as the process, and from every batch.

    Modules, contract and statements are some hundred thousand objects; a batch makes thousands
    that are gone by themselves. Looking through either for cycles costs a tenth of all time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTION_THRESHOLDS)


def main() -> int:
    """Run until told to stop. 0: stopped. 78, 69: it can't start, the sentence says why."""
    try:
        settings = Settings()
    except ValidationError as error:
        for problem in error.errors():
            name = "_".join(str(part) for part in problem["loc"]).upper()
            print(f"CROSSDOCK_{name}: {problem['msg']}", file=sys.stderr)
        return EXIT_CONFIGURATION
    logs.start(settings.log_level)
    for name, meant in unknown_variables(os.environ):
        log = structlog.get_logger("crossdock.hub")
        log.warning("no setting has this name", variable=name, meant=meant)
    default_sampling(settings.trace_sample_ratio)
    stop_tracing = start_tracing("crossdock-hub")
    try:
        asyncio.run(_serve(settings))
    except (CrossdockError, StoreFailure, OSError) as error:
        print(f"the hub can't start: {error}", file=sys.stderr)
        return status_of(error)
    finally:
        stop_tracing()
    return 0


if __name__ == "__main__":
    sys.exit(main())
