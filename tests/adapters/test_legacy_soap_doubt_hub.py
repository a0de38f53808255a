"""The legacy ERP by SOAP at a hub: what it may have done is not sent again on a word alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from crossdock.delivery.v1 import delivery_operations_service_pb2 as operations_pb2
from crossdock.errors import PreconditionError
from crossdock_adapters.legacy_soap.adapter import ADAPTER
from crossdock_adapters.legacy_soap.sandbox import LegacySoapSandbox
from crossdock_adapters.sdk.sandbox import SandboxConfig
from fixtures_hub import Lane, RunningHub
from fixtures_nats import eventually
from hosted_adapter import hosted
from legacy_soap_world import PASSWORD
from story import CUSTOMER, ITEM, Story, request_id
from test_legacy_soap_hub import CREATE, WAIT_SECONDS, settings

pytestmark = pytest.mark.timeout(600)


async def test_a_document_without_a_number_is_parked_in_doubt(
    hub: RunningHub, lane: Lane, tmp_path: Path
) -> None:
    """Proves at a real hub that an order which the ERP posted and tells no number of is parked in
    doubt: `resubmit`, which would book it once more, is refused, and `retry` looks it up first."""
    config = SandboxConfig(
        "legacy-soap",
        settings={
            "username": "crossdock", "password": PASSWORD, "soap_version": "1.2",
            "items": [ITEM], "customers": [CUSTOMER],
        },
    )  # fmt: skip
    async with (
        LegacySoapSandbox(config) as sandbox,
        Story(hub, lane) as story,
        hosted(hub, lane.erp, ADAPTER, settings(sandbox, tmp_path)) as runner,
    ):
        await eventually(lambda: runner.state == "serving", "the endpoint", WAIT_SECONDS)
        await sandbox.commands()["misbehave"]({"kind": "no_number", "count": 1_000})
        order_id = await story.approved()

        async def ended(state: str) -> bool:
            return await story.state(order_id, CREATE) == state

        await eventually(lambda: ended("PARKED"), "it is parked", WAIT_SECONDS)
        delivery = await story.delivery(order_id, CREATE)
        operations = story.operator.delivery_operations
        again = {"request_id": request_id(), "delivery_id": delivery.id, "reason": "once more"}
        with pytest.raises(PreconditionError) as refused:
            await operations.ResubmitDelivery(operations_pb2.ResubmitDeliveryRequest(**again))
        assert refused.value.refusal.reason == "OUTCOME_UNKNOWN"
        await sandbox.commands()["behave"]({})
        again["request_id"] = request_id()
        await operations.RetryDelivery(operations_pb2.RetryDeliveryRequest(**again))
        await eventually(lambda: ended("CONFIRMED"), "it is found", WAIT_SECONDS)
        books = sandbox.books()
        assert len(books["asked"]) == len(books["documents"]) == 1
