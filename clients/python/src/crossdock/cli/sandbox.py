"""`crossdock sandbox`: make simulated vendors of `crossdock dev` misbehave; read their books."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any

import typer

from crossdock.cli.hub_access import Data, Json, find_place
from crossdock.cli.output import cell, print_json, print_table
from crossdock.cli.problems import EXIT_USED_WRONGLY, CommandError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Make simulated vendors misbehave; read their books.",
)

KINDS = (
    "down", "slow", "throttle", "error_before", "error_after", "slow_after", "reply_lost",
    "duplicate_webhooks", "late_webhooks", "unknown_status",
)  # fmt: skip
SHOWN_CALLS = 30
Name = Annotated[
    str,
    typer.Argument(help="A simulated vendor, for example ups; a wrong name lists them."),
]


@app.command()
def fault(
    name: Name,
    kind: Annotated[str, typer.Argument(help=", ".join(KINDS))],
    operation: Annotated[str | None, typer.Option(help="Only this operation of its log.")] = None,
    count: Annotated[int | None, typer.Option(min=1, help="So many times.")] = None,
    rate: Annotated[float | None, typer.Option(min=0, max=1, help="For this share.")] = None,
    seconds: Annotated[float | None, typer.Option(min=0, help="For so long.")] = None,
    delay_seconds: Annotated[float | None, typer.Option(min=0, help="For slow and late.")] = None,
    retry_after_seconds: Annotated[float | None, typer.Option(min=0, help="For throttle.")] = None,
    status: Annotated[int | None, typer.Option(help="For errors: the HTTP status.")] = None,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Begin a fault at a simulated vendor; without --count or --seconds it lasts until clear."""
    wanted = _known_kind(kind)
    begun = asyncio.run(
        find_place(data)
        .sandbox(name)
        .fault(
            wanted,
            operation=operation,
            count=count,
            rate=rate,
            seconds=seconds,
            delay_seconds=delay_seconds,
            retry_after_seconds=retry_after_seconds,
            status=status,
        )
    )
    if as_json:
        print_json(begun)
    else:
        typer.echo(f"{name}: {_told(begun)}; crossdock sandbox clear {name} ends it")


@app.command()
def faults(name: Name, as_json: Json = False, data: Data = None) -> None:
    """The faults in force at a simulated vendor."""
    found = asyncio.run(find_place(data).sandbox(name).faults())
    if as_json:
        print_json(found)
    elif not found:
        typer.echo(f"{name} behaves")
    else:
        for each in found:
            typer.echo(_told(each))


@app.command()
def clear(
    name: Name,
    kind: Annotated[str, typer.Argument(help="Only this kind; default: all.")] = "",
    as_json: Json = False,
    data: Data = None,
) -> None:
    """End faults."""
    wanted = _known_kind(kind) if kind else ""
    count = asyncio.run(find_place(data).sandbox(name).clear(wanted))
    if as_json:
        print_json({"cleared": count})
    else:
        typer.echo(f"{count} faults ended; {name} behaves" if not kind else f"{count} ended")


@app.command()
def books(
    name: Name,
    part: Annotated[str, typer.Argument(help="Only this part, such as sales_orders.")] = "",
    data: Data = None,
) -> None:
    """The vendor's own books, as JSON: what proofs compare the hub with."""
    found = asyncio.run(find_place(data).sandbox(name).books())
    if part and part not in found:
        raise CommandError(
            f"the books of {name} have no part {part!r}",
            f"there are: {', '.join(found)}",
            exit_code=EXIT_USED_WRONGLY,
        )
    print_json(found[part] if part else found)


@app.command()
def calls(
    name: Name,
    operation: Annotated[str, typer.Option(help="Only this operation.")] = "",
    as_json: Json = False,
    data: Data = None,
) -> None:
    """The vendor's own log of the calls it got, newest last."""
    found = asyncio.run(find_place(data).sandbox(name).calls(operation=operation))
    if as_json:
        print_json(found)
        return
    rows = [
        (
            str(each["start"])[11:23],
            each["operation"],
            str(each["status"] or "-"),
            each["outcome"] or "-",
            "yes" if each["effect"] else "no",
            cell(each["fault"]),
            cell(each["key"]),
        )
        for each in found[-SHOWN_CALLS:]
    ]
    print_table(("WHEN", "OPERATION", "STATUS", "OUTCOME", "EFFECT", "FAULT", "KEY"), rows)


@app.command()
def command(
    name: Name,
    verb: Annotated[str, typer.Argument(help="For example handover, retrigger, close_period.")],
    arguments: Annotated[str, typer.Argument(help="A JSON object.")] = "{}",
    data: Data = None,
) -> None:
    """Do what people at the vendor do by hand; prints JSON."""
    try:
        given: Any = json.loads(arguments)
    except ValueError as error:
        raise CommandError(
            "the arguments are not JSON", str(error), exit_code=EXIT_USED_WRONGLY
        ) from None
    if not isinstance(given, dict):
        raise CommandError("the arguments are no JSON object", exit_code=EXIT_USED_WRONGLY)
    print_json(asyncio.run(find_place(data).sandbox(name).command(verb, given)))


def _known_kind(kind: str) -> str:
    wanted = kind.replace("-", "_")
    if wanted in KINDS:
        return wanted
    raise CommandError(
        f"there is no fault {kind!r}",
        f"there are: {', '.join(KINDS)}",
        exit_code=EXIT_USED_WRONGLY,
    )


def _told(fault: dict[str, Any]) -> str:
    parts = [str(fault.get("kind", ""))]
    for field, text in (("operation", "of {}"), ("count", "{} times"), ("seconds", "for {} s")):
        if fault.get(field) is not None:
            parts.append(text.format(fault[field]))
    if fault.get("rate") not in (None, 1, 1.0):
        parts.append(f"at rate {fault['rate']}")
    if fault.get("used"):
        parts.append(f"({fault['used']} so far)")
    return " ".join(parts)
