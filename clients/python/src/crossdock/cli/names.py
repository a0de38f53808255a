"""Names of the contract's enumerations without their prefixes, for people and for options."""

from __future__ import annotations

from typing import Any

from crossdock.cli.problems import EXIT_USED_WRONGLY, CommandError
from crossdock.delivery.v1 import delivery_pb2, operator_word_pb2
from crossdock.endpoint.v1 import endpoint_pb2
from crossdock.lineage.v1 import lineage_pb2
from crossdock.options.v1 import options_pb2
from crossdock.order.v1 import order_pb2
from crossdock.shipment.v1 import shipment_pb2


def name_of(enum: Any, number: int) -> str:
    """The value's name without the enumeration's prefix; a number from the future as it is."""
    prefix = _prefix(enum)
    try:
        return str(enum.Name(number)).removeprefix(prefix)
    except ValueError:
        return str(number)


def delivery_state(number: int) -> str:
    """For example "IN_FLIGHT"."""
    return name_of(delivery_pb2.DeliveryState, number)


def hold_reason(number: int) -> str:
    """For example "PAUSE"; empty when nothing holds it."""
    return "" if not number else name_of(delivery_pb2.HoldReason, number)


def attempt_kind(number: int) -> str:
    """For example "LOOK_UP"."""
    return name_of(delivery_pb2.AttemptKind, number)


def attempt_outcome(number: int) -> str:
    """For example "CONFIRMED"; "RUNNING" before the end."""
    return "RUNNING" if not number else name_of(delivery_pb2.AttemptOutcome, number)


def operator_verb(number: int) -> str:
    """For example "RESUBMIT"."""
    return name_of(operator_word_pb2.OperatorVerb, number)


def verdict(number: int) -> str:
    """For example "COMPLETE"."""
    return name_of(lineage_pb2.Verdict, number)


def endpoint_state(number: int) -> str:
    """For example "PAUSED"."""
    return name_of(endpoint_pb2.EndpointState, number)


def role(number: int) -> str:
    """For example "ERP"."""
    return name_of(options_pb2.SystemRole, number)


def order_state(number: int) -> str:
    """For example "RELEASED"."""
    return name_of(order_pb2.OrderState, number)


def shipment_state(number: int) -> str:
    """For example "MANIFESTED"."""
    return name_of(shipment_pb2.ShipmentState, number)


def milestone(number: int) -> str:
    """For example "IN_TRANSIT"."""
    return name_of(shipment_pb2.Milestone, number)


def delivery_state_numbers(names: list[str]) -> list[int]:
    """The states that a person wrote, in any case. CommandError names those there are."""
    enum = delivery_pb2.DeliveryState
    known = {name_of(enum, number): number for number in enum.values() if number}
    found: list[int] = []
    for name in names:
        wanted = name.strip().upper().replace("-", "_")
        if wanted not in known:
            raise CommandError(
                f"there is no delivery state {name!r}",
                f"there are: {', '.join(known)}",
                exit_code=EXIT_USED_WRONGLY,
            )
        found.append(known[wanted])
    return found


def _prefix(enum: Any) -> str:
    name = str(enum.DESCRIPTOR.name)
    words = [character if character.islower() else f"_{character}" for character in name]
    return "".join(words).strip("_").upper() + "_"
