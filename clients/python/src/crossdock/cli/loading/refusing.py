"""The file of the rows that a load did not write."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import json
from collections.abc import Iterable
from os import SEEK_END
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TextIO

import typer

from crossdock.cli.loading.rows import REFUSED, Row
from crossdock.cli.problems import EXIT_USED_WRONGLY, CommandError

SHOWN_MAX: Final = 10


class RefusedRows:
    """The file of rows that were not written; made with the first of them. Use it with `with`.

    goes_on: the load goes on from a row, so that what was refused before it stays in the file. What
    an earlier load left there is kept by another name.
    """

    def __init__(self, source: Path, path: Path | None, *, goes_on: bool) -> None:
        self.path = path or source.with_name(f"{source.stem}.refused{source.suffix}")
        self.kept: Path | None = None
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
            # What could not be written has been said.
            with contextlib.suppress(OSError):
                self._file.close()

    def add(self, row: Row) -> None:
        """Write a row as it was, with number and why; it is in the file then. Raises OSError."""
        if len(self.first) < SHOWN_MAX:
            self.first.append(row)
        why = row.problems[0]
        told = {"row": row.number, "field": why.field, "rule": why.rule, "why": why.why}
        values = {k: v for k, v in row.values.items() if not k.startswith(REFUSED)}
        if not self._is_csv:
            line = json.dumps({**values, REFUSED: told}, ensure_ascii=False) + "\n"
            self._write("", line)
            return
        told["beyond"] = _csv_line(row.beyond).rstrip("\r\n") if row.beyond else ""
        cells = values | {f"{REFUSED}_{name}": each for name, each in told.items()}
        self._write(_csv_line(cells), _csv_line(cells.values()))

    def say_kept(self) -> None:
        """Tell the operator, on standard error, where a file went that is not added to."""
        if self.kept is not None:
            why = ": it has other columns, or ends amid a row" if self._goes_on else ""
            typer.echo(
                f"{self.kept} has what was refused before{why}; {self.path} begins anew", err=True
            )

    def _write(self, heading: str, line: str) -> None:
        file = self._opened(heading)
        file.write(line)
        # Whoever ends now, however that is, is told that it was kept.
        file.flush()

    def _opened(self, heading: str) -> TextIO:
        """The file, which begins with its heading. A load that goes on adds to the one that is
        there, which may have been edited or cut; where it can't, and where a load begins, that is
        kept by another name."""
        if self._file is None:
            there = self.path.exists() and self.path.stat().st_size > 0
            if there and not (self._goes_on and self._fits(heading)):
                self.kept = _free_name(self.path)
                self.path.rename(self.kept)
            self._file = self.path.open("a", encoding="utf-8", newline="")
            if self._file.tell() == 0:
                self._file.write(heading)
            elif not _ends_its_line(self.path):
                self._file.write("\n")
        return self._file

    def _fits(self, heading: str) -> bool:
        """Whether what is there can be read on behind a row that is added: an empty file, or one
        of the same columns whose last row is whole, however its lines end and its cells are quoted.
        """
        try:
            with self.path.open(encoding="utf-8-sig", newline="") as there:
                if not self._is_csv:
                    for _ in there:
                        pass
                    return True
                reader = csv.reader(there, strict=True)
                same = next(reader, None) in (None, next(csv.reader([heading])))
                for _ in reader:
                    pass
        except (UnicodeDecodeError, csv.Error):
            return False
        return same


def _free_name(path: Path) -> Path:
    names = (path.with_name(f"{path.stem}.{n}{path.suffix}") for n in itertools.count(1))
    return next(name for name in names if not name.exists())


def _ends_its_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, SEEK_END)
        return file.read(1) == b"\n"


def _csv_line(cells: Iterable[Any]) -> str:
    line = io.StringIO(newline="")
    csv.writer(line).writerow(cells)
    return line.getvalue()
