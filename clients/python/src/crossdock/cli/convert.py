"""`crossdock convert`: how much of another unit a quantity is, and who says so."""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import Annotated, Final

import typer

from crossdock.cli.hub_access import Data, Json, Place, find_place, open_hub
from crossdock.cli.output import message_json, print_json, print_table
from crossdock.unit.v1 import unit_service_pb2 as service_pb2

app = typer.Typer(add_completion=False, help="How much of another unit a quantity is.")

DIGITS_MAX: Final = 9
COLUMNS: Final = ("ONE", "IS", "OF", "SAID BY")


class Round(Enum):
    """How a result is rounded, as a person writes it."""

    UP = "up"
    DOWN = "down"
    HALF_EVEN = "half-even"


# A negative quantity is no option.
@app.command(context_settings={"ignore_unknown_options": True})
def convert(
    value: Annotated[str, typer.Argument(help="How much, for example 2.5.")],
    from_unit: Annotated[str, typer.Argument(help="Its unit, for example CS or LBR.")],
    to_unit: Annotated[str, typer.Argument(help="The other unit, for example EA or KGM.")],
    item: Annotated[
        str, typer.Option(help="Item number: also what is said of this item holds.")
    ] = "",
    rounding: Annotated[
        Round | None, typer.Option("--round", help="Round the result; else it is exact or none.")
    ] = None,
    digits: Annotated[
        int, typer.Option(min=0, max=DIGITS_MAX, help="Digits after the point, when rounded.")
    ] = 0,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Convert by the item's unit conversions, those for every item, and UN/ECE Rec 20.

    Exit 0: there is a result; 3: it has no exact decimal, and was not to be rounded.
    """
    request = service_pb2.ConvertQuantityRequest(
        to_unit=to_unit.upper(), item_number=item, digits=digits
    )
    request.quantity.value, request.quantity.unit = value, from_unit.upper()
    if rounding is not None:
        request.rounding = service_pb2.QuantityRounding.Value(f"QUANTITY_ROUNDING_{rounding.name}")
    answer = asyncio.run(_ask(find_place(data), request))
    if as_json:
        print_json(message_json(answer))
    else:
        _show(request, answer)
    if not answer.HasField("quantity"):
        raise typer.Exit(3)


async def _ask(
    place: Place, request: service_pb2.ConvertQuantityRequest
) -> service_pb2.ConvertQuantityResponse:
    async with open_hub(place) as hub:
        return await hub.units.ConvertQuantity(request)


def _show(
    request: service_pb2.ConvertQuantityRequest, answer: service_pb2.ConvertQuantityResponse
) -> None:
    asked = f"{request.quantity.value} {request.quantity.unit}"
    if answer.HasField("quantity"):
        sign = "=" if answer.exact else "is about"
        typer.echo(f"{asked} {sign} {answer.quantity.value} {answer.quantity.unit}")
    else:
        each = f"one {request.quantity.unit} is {_ratio(answer)} {request.to_unit}"
        typer.echo(f"{asked} has no exact decimal in {request.to_unit}: {each}; see --round")
    rows = [(step.from_unit, _ratio(step), step.to_unit, _said_by(step)) for step in answer.steps]
    if rows:
        print_table(COLUMNS, rows)


def _ratio(of: service_pb2.ConversionStep | service_pb2.ConvertQuantityResponse) -> str:
    return of.numerator if of.denominator == "1" else f"{of.numerator}/{of.denominator}"


def _said_by(step: service_pb2.ConversionStep) -> str:
    if step.origin == service_pb2.CONVERSION_ORIGIN_STANDARD:
        return "UN/ECE Rec 20"
    return f"unit conversion {step.number}"
