"""The tiny adapter with a poll instead of its webhook: one that conforms, and some that do not.

polling()                     conforms
polling("advances_first")     the same, with one fault; `FAULTS` says what each is
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from dataclasses import replace
from typing import Any

from crossdock.client import request_id
from crossdock.tracking.v1 import tracking_service_pb2
from crossdock_adapters.sdk import vendor_json
from crossdock_adapters.sdk.conformance.stage import until
from crossdock_adapters.sdk.conformance.subject import Delivered, Subject, WayIn, World
from crossdock_adapters.sdk.sandbox import Call, VendorRoute, json_response
from crossdock_adapters.sdk.work import Poll
from sdk_tiny_conformance import NUMBER, TinyClient, scan, tiny, translated
from sdk_tiny_sandbox import TinySandbox
from starlette.requests import Request
from starlette.responses import Response

FAULTS = {
    "advances_first": "moves its cursor before its facts are durable",
    "advances_long_before": "the same, and asks its vendor for more in between",
    "goes_on": "logs that the hub took nothing, and reads on",
    "forgets_unread": "gives up what the hub does not hold",
    "never_stops": "does not end when it is told to",
}
# Far more than the kit needs to see that the cursor has moved.
CALLS_BETWEEN = 30


class ScannedSandbox(TinySandbox):
    """The vendor that is asked for its scans: GET /scans gives all there are, oldest first."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.scans: list[bytes] = []

    def routes(self) -> list[VendorRoute]:
        return [*super().routes(), VendorRoute("GET", "/scans", self.list, "scans")]

    async def list(self, request: Request, call: Call) -> Response:
        return json_response({"scans": [base64.b64encode(each).decode() for each in self.scans]})


def polling(fault: str = "") -> Subject:
    """The subject; only its way in is described, and of that what these checks need."""
    assert fault in ("", *FAULTS)
    subject = tiny()
    adapter = subject.adapter
    adapter.webhooks.clear()

    @adapter.poll("scans", "pages_interval_seconds")
    async def scans(poll: Poll, vendor: TinyClient) -> None:
        await _read(poll, vendor, fault)
        while fault == "never_stops":
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(3600)

    way = WayIn(
        "poll:scans",
        payloads=[scan("L", "2026-03-05T17:00:00Z"), scan("D", "2026-03-05T22:00:00Z")],
        deliver=_shown,
        needed=["/code"],
    )
    return replace(subject, sandbox=ScannedSandbox, ways_in=[way])


async def _read(poll: Poll, vendor: TinyClient, fault: str) -> None:
    listed = (await vendor.http.get("/scans")).json()["scans"]
    for at in range(int(poll.cursor or b"0"), len(listed)):
        if fault in ("advances_first", "advances_long_before"):
            await poll.advance(str(at + 1))
        for _ in range(CALLS_BETWEEN if fault == "advances_long_before" else 0):
            await vendor.http.get("/scans")
        try:
            await _tell(poll, base64.b64decode(listed[at]), at, fault)
        except Exception:
            if fault != "goes_on":
                raise
        await poll.advance(str(at + 1))


async def _tell(poll: Poll, payload: bytes, at: int, fault: str) -> None:
    try:
        body = vendor_json.loads(payload)
        event = translated(body)
    except (ValueError, RecursionError) as error:
        try:
            await poll.hold(payload, str(error), key=str(at))
        except Exception:
            if fault != "forgets_unread":
                raise
        return
    version = f"{body['code']} {body['at']}"
    await poll.hub.tracking.ReportTrackingEvents(
        tracking_service_pb2.ReportTrackingEventsRequest(
            request_id=request_id("tiny", NUMBER, version), tracking_events=[event]
        )
    )


async def _shown(world: World, payload: bytes) -> Delivered:
    """The vendor shows one scan more, until the poll has read past it."""
    world.sandbox.scans.append(payload)
    wanted = len(world.sandbox.scans)

    def read() -> bool:
        return int(world.hub.cursors.get("scans", (b"0", 0))[0]) >= wanted

    await until(read, "the poll has read past the scan")
    return Delivered()


# What another process finds by name.
CONFORMANCE = polling()
NEVER_STOPS = polling("never_stops")
