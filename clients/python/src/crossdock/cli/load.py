"""`crossdock load`: master data from a file, and a file of the rows that were refused."""

from __future__ import annotations

import asyncio
import csv
import itertools
import json
import time
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Final, Self, TextIO

import typer

from crossdock.cli.hub_access import Data, Json, Yes, confirm, find_place, open_hub
from crossdock.cli.loading.rows import KINDS, REFUSED, Kind, Row, read_rows
from crossdock.cli.loading.sending import Counts, Loader, batches
from crossdock.cli.output import print_json
from crossdock.cli.problems import EXIT_FAILED, EXIT_USED_WRONGLY, CommandError
from crossdock.cli.progress import ProgressLine, bar

app = typer.Typer(add_completion=False, no_args_is_help=True)

SHOWN_MAX: Final = 10


class What(StrEnum):
    """What can be loaded."""

    ITEMS = "items"
    CUSTOMERS = "customers"
    LOCATIONS = "locations"


class RefusedRows:
    """The file of rows that were not written; made with the first of them. Use it with `with`."""

    def __init__(self, source: Path, path: Path | None) -> None:
        self.path = path or source.with_name(f"{source.stem}.refused{source.suffix}")
        self.first: list[Row] = []
        self._is_csv = source.suffix.lower() == ".csv"
        self._file: TextIO | None = None
        if self.path.resolve() == source.resolve():
            raise CommandError(
                f"{source} is the file to load",
                next_step="name another one with --refused",
                exit_code=EXIT_USED_WRONGLY,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, row: Row) -> None:
        """Write a row as it was, with its number and why."""
        if len(self.first) < SHOWN_MAX:
            self.first.append(row)
        why = row.problems[0]
        told = {"row": row.number, "field": why.field, "rule": why.rule, "why": why.why}
        values = {k: v for k, v in row.values.items() if not k.startswith(REFUSED)}
        begins = self._file is None
        if self._file is None:
            self._file = self.path.open("w", encoding="utf-8", newline="")
        if not self._is_csv:
            line = json.dumps({**values, REFUSED: told}, ensure_ascii=False)
            self._file.write(line + "\n")
            return
        cells = values | {f"{REFUSED}_{name}": each for name, each in told.items()}
        writer = csv.writer(self._file)
        if begins:
            writer.writerow(cells)
        writer.writerow(cells.values())


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
    progress = ProgressLine(beside_result=as_json)
    begun = time.monotonic()
    size = max(1, file.stat().st_size)

    def show(counts: Counts, row: Row) -> None:
        rate = counts.done / max(0.001, time.monotonic() - begun)
        bad = f", {counts.refused:,} refused" if counts.refused else ""
        progress.show(f"{bar(row.end / size)}  {counts.done:,} rows, {rate:,.0f}/s{bad}")

    rows = itertools.islice(read_rows(file, kind), from_row - 1, None)
    with RefusedRows(file, refused) as left:
        try:
            if dry_run:
                counts = _check(rows, left, show)
            else:
                place = find_place(data)
                confirm(place, f"load {what} of {file}", yes)
                counts = asyncio.run(_load(place, endpoint, kind, rows, left, show))
        finally:
            progress.end()
    _tell(counts, left, time.monotonic() - begun, dry_run=dry_run, as_json=as_json)
    if counts.refused:
        raise typer.Exit(EXIT_FAILED)


def _check(rows: Any, left: RefusedRows, show: Any) -> Counts:
    counts = Counts()
    for batch in batches(rows):
        for row in batch:
            if row.problems:
                counts.refused += 1
                left.add(row)
        counts.done = batch[-1].number
        show(counts, batch[-1])
    return counts


async def _load(
    place: Any, endpoint: str, kind: Kind, rows: Any, left: RefusedRows, show: Any
) -> Counts:
    async with open_hub(place, endpoint) as hub:
        return await Loader(hub, kind, left.add, show).run(rows)


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
