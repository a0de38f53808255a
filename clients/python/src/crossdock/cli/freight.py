"""`crossdock freight`: what carriers charge, and the audit's words: approve, dispute, finalise.

They are those of transport management: of its endpoint in `crossdock dev`, elsewhere of the
endpoint whose token is given.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from crossdock.cli.delivery import Reason
from crossdock.cli.hub_access import Data, Json, Place, Yes, confirm, find_place, open_hub
from crossdock.cli.names import name_of
from crossdock.cli.output import age, cell, message_json, print_json, print_table
from crossdock.cli.pages import PageToken, print_page, say_more
from crossdock.cli.problems import EXIT_USED_WRONGLY, CommandError
from crossdock.client import HubClient
from crossdock.freight.v1 import freight_pb2, freight_service_pb2
from crossdock.lineage.v1 import lineage_service_pb2
from crossdock.request_ids import new_request_id
from crossdock.types.v1 import types_pb2

app = typer.Typer(add_completion=False, no_args_is_help=True, help="What carriers charge.")

DESK: Final = "shipping-desk"
KIND: Final = "freight_charge"
PAGE: Final = 500
STATES: Final = [
    name_of(freight_pb2.FreightChargeState, number)
    for number in freight_pb2.FreightChargeState.values()
    if number
]
COLUMNS: Final = (
    "SINCE", "CARRIER", "INVOICE", "NUMBER", "STATE", "ESTIMATED", "INVOICED", "TO PAY", "BOOKED",
    "ID",
)  # fmt: skip

Charge = Annotated[
    str, typer.Argument(help="Its id, the invoice's number, or any id of an order that has one.")
]
# What a command calls, given the client and the charge as it was read.
Say = Callable[[HubClient, freight_pb2.FreightCharge], Awaitable[Any]]


@app.command("list")
def list_(
    state: Annotated[str, typer.Option(help=f"Only these: {', '.join(STATES)}.")] = "",
    carrier: Annotated[str, typer.Option(help="Only of this carrier, by its code.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=PAGE, help="Charges at most.")] = 100,
    page_token: PageToken = "",
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Freight charges, oldest first: what was expected, what is billed, what is to be paid."""
    request = freight_service_pb2.ListFreightChargesRequest(
        state=_state(state), carrier_code=carrier, page_size=limit, page_token=page_token
    )
    answer = asyncio.run(_list(find_place(data), request))
    if as_json:
        print_page("freight_charges", answer.freight_charges, answer.next_page_token)
        return
    if not answer.freight_charges:
        typer.echo("no freight charges")
        return
    print_table(COLUMNS, [_cells(each) for each in answer.freight_charges])
    say_more(answer.next_page_token)


@app.command()
def approve(
    charge: Charge,
    amount: Annotated[
        str, typer.Option(help="What is to be paid, in the invoice's currency; default: all of it.")
    ] = "",
    reason: Annotated[str, typer.Option(help="Why less than the invoice's amount.")] = "",
    as_json: Json = False,
    yes: Yes = False,
    data: Data = None,
) -> None:
    """Agree to what is invoiced, or to less."""
    if bool(amount) != bool(reason):
        raise CommandError(
            "--amount and --reason go together",
            "a reason says why another amount than the invoice's is paid",
            "give both, or neither to agree to what is invoiced",
            EXIT_USED_WRONGLY,
        )

    async def say(hub: HubClient, found: freight_pb2.FreightCharge) -> Any:
        request = freight_service_pb2.ApproveFreightChargeRequest(
            request_id=new_request_id(), freight_charge_id=found.id,
            expected_revision=found.revision,
        )  # fmt: skip
        if amount:
            currency = found.invoice.amount.currency
            request.audit.amount.CopyFrom(types_pb2.Money(amount=amount, currency=currency))
            request.audit.reason = reason
        return await hub.freight.ApproveFreightCharge(request)

    _do(charge, f"approve freight charge {charge}", say, as_json, yes, data)


@app.command()
def dispute(
    charge: Charge, reason: Reason, as_json: Json = False, yes: Yes = False, data: Data = None
) -> None:
    """Object to the invoice: a correction that the carrier sends, or has sent, replaces it."""

    async def say(hub: HubClient, found: freight_pb2.FreightCharge) -> Any:
        request = freight_service_pb2.DisputeFreightChargeRequest(
            request_id=new_request_id(), freight_charge_id=found.id,
            expected_revision=found.revision,
        )  # fmt: skip
        request.dispute.reason = reason
        return await hub.freight.DisputeFreightCharge(request)

    _do(charge, f"dispute freight charge {charge}", say, as_json, yes, data)


@app.command()
def finalise(charge: Charge, as_json: Json = False, yes: Yes = False, data: Data = None) -> None:
    """Have the ERP book what is approved, for good."""

    async def say(hub: HubClient, found: freight_pb2.FreightCharge) -> Any:
        request = freight_service_pb2.FinaliseFreightChargeRequest(
            request_id=new_request_id(), freight_charge_id=found.id,
            expected_revision=found.revision,
        )  # fmt: skip
        return await hub.freight.FinaliseFreightCharge(request)

    _do(charge, f"finalise freight charge {charge}", say, as_json, yes, data)


@app.command()
def cancel(
    charge: Charge, reason: Reason, as_json: Json = False, yes: Yes = False, data: Data = None
) -> None:
    """Say that nobody will be paid for it."""

    async def say(hub: HubClient, found: freight_pb2.FreightCharge) -> Any:
        request = freight_service_pb2.CancelFreightChargeRequest(
            request_id=new_request_id(), freight_charge_id=found.id, reason=reason,
            expected_revision=found.revision,
        )  # fmt: skip
        return await hub.freight.CancelFreightCharge(request)

    _do(charge, f"cancel freight charge {charge}", say, as_json, yes, data)


def _do(charge: str, what: str, say: Say, as_json: bool, yes: bool, data: Path | None) -> None:
    place = find_place(data)
    confirm(place, what, yes)
    after = asyncio.run(_said(place, charge, say)).freight_charge
    if as_json:
        print_json(message_json(after))
    else:
        print_table(COLUMNS, [_cells(after)])


async def _said(place: Place, charge: str, say: Say) -> Any:
    async with open_hub(place, DESK) as hub:
        return await say(hub, await _found(hub, charge))


async def _list(place: Place, request: freight_service_pb2.ListFreightChargesRequest) -> Any:
    async with open_hub(place, DESK) as hub:
        return await hub.freight.ListFreightCharges(request)


async def _found(hub: HubClient, any_id: str) -> freight_pb2.FreightCharge:
    """The charge that is meant. CommandError: there is none, or there are several."""
    answer = await hub.lineage.Trace(lineage_service_pb2.TraceRequest(id=any_id))
    charges = [each for each in answer.lineage.nodes if each.kind == KIND]
    named = [
        each
        for each in charges
        if any_id == each.id or any_id in {key.value for key in each.references}
    ]
    found = named or charges
    if len(found) != 1:
        known = ", ".join(each.id for each in found) or "none"
        raise CommandError(
            f"{any_id} names {len(found)} freight charges",
            f"charges of its order: {known}",
            "crossdock freight list shows them; name one by its id",
            EXIT_USED_WRONGLY,
        )
    request = freight_service_pb2.GetFreightChargeRequest(id=found[0].id)
    charge: freight_pb2.FreightCharge = (await hub.freight.GetFreightCharge(request)).freight_charge
    return charge


def _state(name: str) -> Any:
    if not name:
        return freight_pb2.FREIGHT_CHARGE_STATE_UNSPECIFIED
    if name.upper() not in STATES:
        raise CommandError(
            f"there is no state {name!r}",
            f"states are: {', '.join(STATES)}",
            exit_code=EXIT_USED_WRONGLY,
        )
    return freight_pb2.FreightChargeState.Value(f"FREIGHT_CHARGE_STATE_{name.upper()}")


def _cells(charge: freight_pb2.FreightCharge) -> tuple[str, ...]:
    return (
        age(charge.update_time),
        charge.carrier_code,
        cell(charge.invoice.number),
        cell(charge.tracking_number),
        name_of(freight_pb2.FreightChargeState, charge.state),
        _money(charge.estimate),
        _money(charge.invoice),
        _money(charge.audit),
        cell(charge.vendor_bill),
        charge.id,
    )


def _money(part: Any) -> str:
    amount = part.amount
    return f"{amount.amount} {amount.currency}" if part.HasField("amount") else ""
