"""Returns of a line that left in several units."""

from __future__ import annotations

from decisions import refusal_of
from first_flow import package
from returned_flow import ReturnedFlow, customer_return
from test_packed_in_other_units import conversion, learn


def test_what_is_left_in_the_other_unit_is_said() -> None:
    """Proves that a return in a unit of which nothing is left is told what of the line may come
    back in the other one, and how much there is what it asked for, once a conversion says so; and
    that the return asked for so is taken."""
    flow = ReturnedFlow()
    order_id = flow.shipped(("12",))
    (part,) = flow.all("fulfillment_request")
    carton = package("LPN-CS")
    carton.contents[0].quantity.unit = "CS"
    flow.pack(part.id, carton, number="SHP-CS")
    flow.manifest("SHP-CS")
    flow.initiate(customer_return(order_id, "RMA-1", {1: "12"}))
    again = customer_return(order_id, "RMA-2", {1: "12"})
    message = refusal_of(lambda: flow.initiate(again)).message
    assert "; 1 CS of it may come back, asked for in CS" in message
    assert " are " not in message.partition("asked for in CS")[2]
    learn(flow, conversion("CS", "12"))
    message = refusal_of(lambda: flow.initiate(again)).message
    assert "0 may: 12 were shipped and 12 are in other returns" in message
    assert "1 CS of it may come back, asked for in CS (12 EA are 1 CS)" in message
    again.lines[0].quantity.value, again.lines[0].quantity.unit = "1", "CS"
    flow.initiate(again)
    again.number = "RMA-3"
    assert "of it may come back" not in refusal_of(lambda: flow.initiate(again)).message
