"""`crossdock load`: master data from a file, and a file of the rows that were refused."""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from crossdock.cli.backfilling import EXIT_INTERRUPTED
from crossdock.cli.hub_access import Data, Json, Yes, confirm, find_place, open_hub
from crossdock.cli.loading.refusing import RefusedRows
from crossdock.cli.loading.rows import KINDS, Row, read_rows
from crossdock.cli.loading.sending import Counts, Loader, batches, settle
from crossdock.cli.output import print_json
from crossdock.cli.problems import EXIT_FAILED
from crossdock.cli.progress import ProgressLine, bar
from crossdock.errors import CallError

app = typer.Typer(add_completion=False, no_args_is_help=True)


class What(StrEnum):
    """What can be loaded."""

    ITEMS = "items"
    CUSTOMERS = "customers"
    LOCATIONS = "locations"


class Shown:
    """How far a load is, as its line says it. size: of the file, in bytes."""

    def __init__(self, progress: ProgressLine, counts: Counts, size: int) -> None:
        self._progress = progress
        self._counts = counts
        self._size = size
        self._before, self._begun, self._end = counts.done, time.monotonic(), 0

    def show(self, row: Row) -> None:
        """All is done up to this row."""
        self._end = row.end
        rate = (self._counts.done - self._before) / max(0.001, time.monotonic() - self._begun)
        self._progress.show(
            f"{bar(self._end / self._size)}  {self._rows}, {rate:,.0f}/s{self._bad}"
        )

    def wait(self, why: CallError) -> None:
        """A call is repeated. Without the bar, beside which the reason would have no room."""
        self._progress.show(f"{self._rows}{self._bad}, tried again: {why}")

    @property
    def _rows(self) -> str:
        return f"{self._counts.done:,} rows"

    @property
    def _bad(self) -> str:
        return f", {self._counts.refused:,} refused" if self._counts.refused else ""


@app.command()
def load(
    what: Annotated[What, typer.Argument(help="items, customers or locations.")],
    file: Annotated[Path, typer.Argument(help="A .csv or .jsonl file.", exists=True)],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check every row by the contract; send nothing.")
    ] = False,
    from_row: Annotated[int, typer.Option(min=1, help="Leave out the rows before.")] = 1,
    refused: Annotated[
        Path | None, typer.Option(help="File for refused rows; default: beside the file.")
    ] = None,
    endpoint: Annotated[
        str, typer.Option(help="Whose word it is, at crossdock dev; else the token says.")
    ] = "netsuite",
    as_json: Json = False,
    yes: Yes = False,
    data: Data = None,
) -> None:
    """Create or change master data, as the endpoint whose token is used; ends with 1 if refused."""
    kind = KINDS[what]
    begun, counts = time.monotonic(), Counts(done=from_row - 1)
    progress = ProgressLine(beside_result=as_json)
    shown = Shown(progress, counts, max(1, file.stat().st_size))
    rows = itertools.islice(read_rows(file, kind), from_row - 1, None)
    with RefusedRows(file, refused, goes_on=from_row > 1) as left:
        try:
            if dry_run:
                _check(rows, left, shown.show, counts)
            else:
                place = find_place(data)
                confirm(place, f"load {what} of {file}", yes)
                asyncio.run(
                    _load(
                        place,
                        endpoint,
                        Loader(kind, left.add, shown.show, shown.wait, counts),
                        rows,
                    )
                )
        except KeyboardInterrupt:
            progress.end()
            _say_interrupted(counts, left, dry_run=dry_run)
            raise typer.Exit(EXIT_INTERRUPTED) from None
        finally:
            progress.end()
            left.say_kept()
    _tell(counts, left, time.monotonic() - begun, dry_run=dry_run, as_json=as_json)
    if counts.refused:
        raise typer.Exit(EXIT_FAILED)


def _say_interrupted(counts: Counts, left: RefusedRows, *, dry_run: bool) -> None:
    which = "would be refused" if dry_run else "refused"
    what = f" ({counts.refused:,} of them {which}, in {left.path})" if counts.refused else ""
    came_to = f"up to row {counts.done} all are {'checked' if dry_run else 'done'}{what}"
    typer.echo(
        f"interrupted: {came_to}{', nothing was sent' if dry_run else ''}; the same with "
        f"--from-row {counts.done + 1} goes on",
        err=True,
    )


def _check(rows: Any, left: RefusedRows, show: Any, counts: Counts) -> None:
    for batch in batches(rows):
        settle(batch, left.add, counts)
        show(batch[-1])


async def _load(place: Any, endpoint: str, loader: Loader, rows: Any) -> None:
    async with open_hub(place, endpoint) as hub:
        await loader.run(hub, rows)


def _tell(
    counts: Counts, left: RefusedRows, seconds: float, *, dry_run: bool, as_json: bool
) -> None:
    where = str(left.path) if counts.refused else ""
    if as_json:
        print_json(asdict(counts) | {"seconds": round(seconds, 2), "refused_file": where})
        return
    if dry_run:
        typer.echo(f"{counts.done:,} rows read, {counts.refused:,} would be refused; nothing sent")
    else:
        typer.echo(
            f"{counts.created:,} created, {counts.changed:,} changed, {counts.unchanged:,} as they "
            f"were, {counts.waiting:,} wait for what they name, {counts.refused:,} refused; "
            f"{counts.done:,} rows in {seconds:.1f} s"
        )
    for row in left.first:
        why = row.problems[0]
        typer.echo(f"  row {row.number}: {why.field or 'row'}: {why.why} ({why.rule})")
    if where:
        typer.echo(f"mend {where} and load it again")
