"""`crossdock load`: master data from a file, and a file of the rows that were refused."""

from __future__ import annotations

import asyncio
import csv
import io
import itertools
import json
import time
from collections.abc import Iterable
from dataclasses import asdict
from enum import StrEnum
from os import SEEK_END
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Final, Self, TextIO

import typer

from crossdock.cli.backfilling import EXIT_INTERRUPTED
from crossdock.cli.hub_access import Data, Json, Yes, confirm, find_place, open_hub
from crossdock.cli.loading.rows import KINDS, REFUSED, Row, read_rows
from crossdock.cli.loading.sending import Counts, Loader, batches
from crossdock.cli.output import print_json
from crossdock.cli.problems import EXIT_FAILED, EXIT_USED_WRONGLY, CommandError
from crossdock.cli.progress import ProgressLine, bar
from crossdock.errors import CallError

app = typer.Typer(add_completion=False, no_args_is_help=True)

SHOWN_MAX: Final = 10


class What(StrEnum):
    """What can be loaded."""

    ITEMS = "items"
    CUSTOMERS = "customers"
    LOCATIONS = "locations"


class RefusedRows:
    """The file of rows that were not written; made with the first of them. Use it with `with`.

    goes_on: the load goes on from a row, so that what was refused before it stays in the file.
    """

    def __init__(self, source: Path, path: Path | None, *, goes_on: bool) -> None:
        self.path = path or source.with_name(f"{source.stem}.refused{source.suffix}")
        self.first: list[Row] = []
        self._is_csv = source.suffix.lower() == ".csv"
        self._goes_on = goes_on
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
        if not self._is_csv:
            line = json.dumps({**values, REFUSED: told}, ensure_ascii=False) + "\n"
            self._opened("").write(line)
            return
        cells = values | {f"{REFUSED}_{name}": each for name, each in told.items()}
        self._opened(_csv_line(cells)).write(_csv_line(cells.values()))

    def _opened(self, heading: str) -> TextIO:
        """The file, which begins with its heading; of a load that goes on, the one that is there,
        unless its columns are others."""
        if self._file is None:
            if self._goes_on and self.path.exists():
                self._file = self.path.open("a+", encoding="utf-8", newline="")
                self._file.seek(0)
                begun = self._file.read(len(heading))
                self._file.seek(0, SEEK_END)
                if begun == heading:
                    return self._file
                self._file.close()
            self._file = self.path.open("w", encoding="utf-8", newline="")
            self._file.write(heading)
        return self._file


def _csv_line(cells: Iterable[Any]) -> str:
    line = io.StringIO(newline="")
    csv.writer(line).writerow(cells)
    return line.getvalue()


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
            _say_interrupted(counts, left)
            raise typer.Exit(EXIT_INTERRUPTED) from None
        finally:
            progress.end()
    _tell(counts, left, time.monotonic() - begun, dry_run=dry_run, as_json=as_json)
    if counts.refused:
        raise typer.Exit(EXIT_FAILED)


def _say_interrupted(counts: Counts, left: RefusedRows) -> None:
    what = f" ({counts.refused:,} of them refused, in {left.path})" if counts.refused else ""
    typer.echo(
        f"interrupted: up to row {counts.done} all are done{what}; the same with "
        f"--from-row {counts.done + 1} goes on",
        err=True,
    )


def _check(rows: Any, left: RefusedRows, show: Any, counts: Counts) -> None:
    for batch in batches(rows):
        for row in batch:
            if row.problems:
                counts.refused += 1
                left.add(row)
        counts.done = batch[-1].number
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
