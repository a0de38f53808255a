"""A company of which an endpoint leaves the endpoints file and is put back, without a store."""

from __future__ import annotations

from dataclasses import replace

from crossdock.order.v1 import order_pb2
from crossdock_hub.delivery import flows, removal
from crossdock_hub.identity import HUB
from crossdock_hub.records import DeliveryRecord
from decisions import ERP, Company
from first_flow import Flow, order


def take_out(company: Company, *records: DeliveryRecord, endpoint: str = ERP.endpoint) -> None:
    """An endpoint leaves the file: what a start makes of the registry, and of work there that never
    began."""
    row = company.records["endpoint", endpoint]
    company.records["endpoint", endpoint] = removal.removed(row)
    for record in records:
        known = company.fresh(record)
        let_go = replace(
            known,
            state="UNROUTED",
            hold_reason="",
            due_at=known.due_at if known.hold_reason == "RETRY" else None,
            pending=False,
            updated_at=company.now + 1,
        )
        company.records["delivery", record.id] = let_go


def put_back(company: Company, endpoint: str = ERP.endpoint) -> None:
    """It is in the file again: what a start makes of the registry."""
    row = company.records["endpoint", endpoint]
    company.records["endpoint", endpoint] = removal.returned(row)


def two_waiting(flow: Flow) -> tuple[str, DeliveryRecord, DeliveryRecord]:
    """An order and a change of it, both at the ERP, neither begun."""
    made = flow.create(order())
    flow.approve(made.id)
    flow.update_order(order_pb2.Order(id=made.id, channel="app"), "channel")
    create = flow.delivery("netsuite", "create_sales_order")
    return made.id, create, flow.delivery("netsuite", "change_order")


def reroute(company: Company, root_id: str) -> None:
    """What a start does with what nobody serves of a flow."""
    company.decide(HUB, "reroute", lambda unit: flows.reroute(unit, root_id))
