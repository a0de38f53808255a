"""Whether a shipment was voided since: what comes of a hub that does not say."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import grpc
import pytest
from crossdock.errors import CallError, InvalidRequestError, NotFoundError, Refusal
from crossdock.shipment.v1 import shipment_events_pb2
from crossdock_adapters.sdk.outcomes import Retry, Untranslatable, VendorOutcome
from crossdock_adapters.sdk.voided_shipments import is_voided
from crossdock_adapters.sdk.work import Work


@pytest.mark.parametrize(
    ("answer", "becomes"),
    [
        (NotFoundError(Refusal("NOT_FOUND", "none"), grpc.StatusCode.NOT_FOUND), Untranslatable),
        (
            InvalidRequestError(Refusal("INVALID_FIELD", "id"), grpc.StatusCode.INVALID_ARGUMENT),
            Untranslatable,
        ),
        (CallError(Refusal("HUB_BUSY", "no leader"), grpc.StatusCode.UNAVAILABLE), Retry),
    ],
)
async def test_only_a_hub_that_may_answer_later_is_asked_again(
    answer: CallError, becomes: type[VendorOutcome]
) -> None:
    """Proves that an event whose shipment the hub does not have, or of which it takes no id, goes
    to a person, and that only a hub that is away is asked again."""

    async def refuse(_: Any) -> Any:
        raise answer

    hub = SimpleNamespace(shipments=SimpleNamespace(GetShipment=refuse))
    work = SimpleNamespace(hub=hub, event=shipment_events_pb2.ShipmentManifested())
    with pytest.raises(becomes):
        await is_voided(cast(Work, work))
