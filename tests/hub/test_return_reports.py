"""Reports of carriers that bring many returns back at once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from decisions import outcome
from first_flow import TRACKING, scan
from returned_flow import ReturnedFlow, customer_return

KIND = "customer_return"


def sent_back(flow: ReturnedFlow, count: int) -> list[str]:
    """Numbers of parcels that had left, each of an order of its own with a return that the number
    leads to: one played, and the others copied from it, as nothing else about them matters."""
    order_id = flow.shipped(number="SO-000")
    made = flow.initiate(customer_return(order_id))
    flow.send_back(parcel="1Z-SO-000")
    _, key = keys = [key for key in flow.records if "1Z-SO-000" in key and key[0] != "scan"]
    assert [each[0] for each in keys] == ["parcel", "reference"]
    numbers = [f"1Z-SO-{index:03}" for index in range(count)]
    for index, number in enumerate(numbers[1:], start=1):
        # Of another version: one that ends like a copy's would be written over by it.
        ids = {old: f"{old[:14]}8{old[15:-4]}{index:04x}" for old in family(flow, order_id)}
        copy_family(flow, order_id, {**ids, "1Z-SO-000": number})
        back = replace(flow.records[key], value=number, object_id=ids[made.id])
        flow.records["reference", back.system, back.type, number] = back
    return numbers


def family(flow: ReturnedFlow, order_id: str) -> list[str]:
    """The ids of an order and all that belongs to it."""
    return [key[2] for key, record in objects(flow) if record.root_id == order_id]


def objects(flow: ReturnedFlow) -> list[tuple[Any, Any]]:
    return [(key, record) for key, record in flow.records.items() if key[0] == "object"]


def copy_family(flow: ReturnedFlow, order_id: str, names: dict[str, str]) -> None:
    """Store an order once more with other ids, each as long as the one it is for."""
    for key, record in objects(flow):
        if record.root_id != order_id:
            continue
        body = record.message.SerializeToString()
        for old, new in names.items():
            body = body.replace(old.encode(), new.encode())
        message = type(record.message).FromString(body)
        flow.records["object", key[1], names[key[2]]] = replace(
            record, id=names[key[2]], root_id=names[order_id], message=message
        )
        siblings: Any = ("children", key[1], names[order_id])
        if key[1] != "order":
            flow.records[siblings] = (*flow.records.get(siblings, ()), names[key[2]])
    parcel = flow.records["parcel", "UPSN", "1Z-SO-000"]
    number = names["1Z-SO-000"]
    flow.records["parcel", "UPSN", number] = replace(
        parcel,
        tracking_number=number,
        shipment_id=names[parcel.shipment_id],
        order_id=names[order_id],
    )


def rounds_of_report(count: int) -> int:
    """Rounds in which a report reads that brings as many returns back."""
    flow = ReturnedFlow()
    numbers = sent_back(flow, count)
    scans = [scan("RETURNING", flow.now, number=number, return_leg=True) for number in numbers]
    for key, record in objects(flow):
        if key[1] == KIND:
            record.message.ClearField("parcels")
    assert {outcome(each) for each in flow.report(*scans)} == {"APPLIED"}
    brought = [[each.tracking_number for each in back.parcels] for back in flow.all(KIND)]
    assert sorted(brought) == [[number] for number in numbers]
    return flow.rounds[f"/crossdock.{TRACKING}/ReportTrackingEvents"]


def test_a_report_that_brings_many_returns_reads_as_often_as_for_one() -> None:
    """Proves that a full report of parcels which come back, each with a return of its own, brings
    all of them and reads in no more rounds than a report of one: it does not fail for good."""
    assert rounds_of_report(500) == rounds_of_report(1)
