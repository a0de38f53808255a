"""What an operator reads of parked work while other work of its shipment waits behind it."""

from __future__ import annotations

from typing import Any

from crossdock_hub.config import Limits
from crossdock_hub.reading.verdict import judge
from first_flow import Flow, order, package
from operator_says import say
from stored_flow import chain_of, situations_of
from told_commands import commands_in, refusal

LIMITS = Limits()


def verdict(flow: Flow, root_id: str) -> str:
    found = judge(chain_of(flow, root_id), situations_of(flow), LIMITS, flow.now)
    assert found.verdict == "NEEDS_PERSON"
    commands = commands_in(found.sentence)
    assert [refusal(command) for command in commands] == [""] * found.sentence.count("crossdock ")
    return found.sentence


def purchases(flow: Flow, boxes: int) -> tuple[str, Any, list[Any]]:
    """An order whose shipment has so many packages: its id, the shipment, the purchases in their
    order."""
    order_id, (part,) = flow.released(order(lines=boxes))
    cartons = [package(f"BOX-{number}", number) for number in range(1, boxes + 1)]
    shipment = flow.pack(part, *cartons).shipment
    found = {each.item: each for each in flow.deliveries("ups", "buy_label")}
    return order_id, shipment, [found[each.id] for each in shipment.packages]


def parked_in_doubt(flow: Flow, record: Any) -> Any:
    """Nobody knows whether it was bought, and asking fails until a person has to look."""
    flow.settle(record, "UNKNOWN", reason="the connection broke")
    flow.pass_time(LIMITS.settle_seconds_default + 1)
    flow.settle(flow.fresh(record), "PARKED", reason="the carrier lists two shipments")
    return flow.fresh(record)


def test_a_void_behind_a_purchase_in_doubt_says_what_to_do() -> None:
    """Proves that of a voided shipment of which one label is bought, and of another nobody knows,
    the trace names that package, where to look for what, what to type for either answer, and the
    voids that cannot go on; and that they go on once a person has typed it."""
    flow = Flow()
    order_id, shipment, (first, second) = purchases(flow, 2)
    flow.settle(first, references=[("tracking_number", "1Z1")])
    second = parked_in_doubt(flow, second)
    flow.void(shipment.id)
    told = verdict(flow, order_id)
    assert "buy_label of package BOX-2 at ups is parked since" in told
    assert (
        "the carrier lists two shipments; nobody wants it any more, for void_label came; look at "
        f"ups for {second.vendor_reference}; if it is there: crossdock resolve {second.id} "
        f"--reference TYPE=VALUE --reason …; if it is not: crossdock delivery skip {second.id} "
        "--reason …; void_label of package BOX-1 and void_label of package BOX-2 cannot go on "
        "before."
    ) in told
    say(flow, "SKIP", second)
    voids = flow.deliveries("ups", "void_label")
    assert {each.state for each in voids} == {"READY"}


def test_a_purchase_in_doubt_that_is_wanted_is_bought_if_it_is_not_there() -> None:
    """Proves that work in doubt which nothing takes back is to be asked for again, not skipped."""
    flow = Flow()
    order_id, _, (only,) = purchases(flow, 1)
    only = parked_in_doubt(flow, only)
    told = verdict(flow, order_id)
    assert f"not: crossdock delivery retry {only.id} --not-found-at-vendor --reason …" in told
    assert "nobody wants it" not in told and "cannot go on" not in told


def test_what_never_was_at_the_vendor_and_is_taken_back_is_skipped() -> None:
    """Proves that parked work of which nothing can be at the vendor is not looked for there."""
    flow = Flow()
    order_id, shipment, (first, second) = purchases(flow, 2)
    flow.settle(first, references=[("tracking_number", "1Z1")])
    flow.settle(second, "PARKED", reason="no row for the container")
    flow.void(shipment.id)
    told = verdict(flow, order_id)
    assert (
        "no row for the container; nobody wants it any more, for void_label came: "
        f"crossdock delivery skip {second.id} --reason …; " in told
    )
    assert "look at" not in told.removeprefix("A person has to look")


def test_many_that_wait_are_counted() -> None:
    """Proves that the sentence stays one: beyond three, what waits is counted and not named."""
    flow = Flow()
    order_id, shipment, boxes = purchases(flow, 5)
    for number, record in enumerate(boxes[:-1]):
        flow.settle(record, references=[("tracking_number", f"1Z{number}")])
    parked_in_doubt(flow, boxes[-1])
    flow.void(shipment.id)
    assert "5 deliveries cannot go on before." in verdict(flow, order_id)
