"""The file of the rows that a load refused: added to, edited, cut; and Ctrl-C amid it."""

from __future__ import annotations

import asyncio
import csv
import errno
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from crossdock.cli.loading.refusing import RefusedRows
from crossdock.cli.loading.rows import KINDS, Problem, Row, read_rows
from crossdock.cli.loading.sending import ROWS_PER_CALL, Counts, settle
from crossdock.cli.problems import CommandError
from fixtures_nats import eventually

SECONDS = 60.0
SUFFIXES = pytest.mark.parametrize("suffix", [".csv", ".jsonl"])


def row(number: int, /, **values: str) -> Row:
    return Row(number, values, 0, None, [Problem("number", "rule", "why")])


def refuse(
    directory: Path, suffix: str, number: int, /, *, goes_on: bool = True, **values: str
) -> Path:
    """Refuse one row of a load; the file that has it."""
    with RefusedRows(directory / f"items{suffix}", None, goes_on=goes_on) as left:
        left.add(row(number, **values))
        left.say_kept()
    return left.path


def numbers(path: Path) -> list[int]:
    """Of the rows in a file of refused ones, which has to be sound."""
    text = path.read_text(encoding="utf-8-sig")
    if path.suffix == ".csv":
        return [int(each["refused_row"]) for each in csv.DictReader(io.StringIO(text))]
    return [json.loads(line)["refused"]["row"] for line in text.splitlines()]


@SUFFIXES
def test_what_was_refused_before_stays_where_a_load_goes_on(tmp_path: Path, suffix: str) -> None:
    """Proves of both kinds of file that a load from a row on adds to the refused rows of the one
    before, under one heading."""
    path = refuse(tmp_path, suffix, 1, goes_on=False, number="A\u00e9")
    refuse(tmp_path, suffix, 2, number="B")
    assert numbers(path) == [1, 2] and "A\u00e9" in path.read_text()
    assert list(tmp_path.iterdir()) == [path]


@SUFFIXES
def test_a_load_from_the_beginning_keeps_what_was_there(
    tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Proves that a load from the first row begins its file anew, that what an earlier one left
    there is kept whole by another name, and that the operator is told where; an empty file, or
    none, is nothing to keep."""
    path = refuse(tmp_path, suffix, 1, goes_on=False, number="A")
    assert not capsys.readouterr().err
    before = path.read_bytes()
    refuse(tmp_path, suffix, 3, goes_on=False, number="C")
    kept = tmp_path / f"items.refused.1{suffix}"
    assert numbers(path) == [3] and kept.read_bytes() == before
    assert str(kept) in capsys.readouterr().err
    path.write_bytes(b"")
    refuse(tmp_path, suffix, 4, goes_on=False, number="D")
    assert numbers(path) == [4] and sorted(tmp_path.iterdir()) == sorted([path, kept])


@SUFFIXES
def test_a_last_line_without_an_end_is_ended_first(tmp_path: Path, suffix: str) -> None:
    """Proves that a row stands on a line of its own behind a file that an editor saved without a
    last newline; with other line ends, a mark in front and all cells quoted it is the same file."""
    path = refuse(tmp_path, suffix, 1, number="A")
    edited = path.read_text().rstrip()
    if suffix == ".csv":
        rows = csv.reader(io.StringIO(edited))
        edited = "\n".join(",".join(f'"{cell}"' for cell in cells) for cells in rows)
        edited = "\ufeff" + edited
    path.write_text(edited, encoding="utf-8")
    refuse(tmp_path, suffix, 2, number="B")
    assert numbers(path) == [1, 2]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("cut", ["columns", "amid a cell", "amid a character"])
def test_what_cannot_be_added_to_is_kept_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], cut: str
) -> None:
    """Proves that a file of other columns, and one that ends in the middle of a cell or of a
    character, keeps all it has by another name, that nothing which has that name is replaced, and
    that the operator is told both names."""
    path = refuse(tmp_path, ".csv", 1, number="A, \u00e9")
    taken = tmp_path / "items.refused.1.csv"
    taken.write_text("mine")
    content = path.read_bytes()
    if cut == "columns":
        content = content.replace(b"number", b"number,colour", 1)
    else:
        content = content[: content.index("\u00e9".encode()) + (cut == "amid a character")]
    path.write_bytes(content)
    assert refuse(tmp_path, ".csv", 2, number="B") == path
    assert numbers(path) == [2]
    kept = tmp_path / "items.refused.2.csv"
    assert kept.read_bytes() == content and taken.read_text() == "mine"
    said = capsys.readouterr().err
    assert str(kept) in said and str(path) in said


def test_a_line_that_ends_amid_a_character_spoils_no_others(tmp_path: Path) -> None:
    """Proves of JSON lines that rows are not added behind bytes that nobody could read over."""
    path = refuse(tmp_path, ".jsonl", 1, number="\u00e9")
    content = path.read_bytes().partition("\u00e9".encode())[0] + b"\xc3"
    path.write_bytes(content)
    refuse(tmp_path, ".jsonl", 2, number="B")
    assert numbers(path) == [2]
    assert (tmp_path / "items.refused.1.jsonl").read_bytes() == content


def test_a_row_with_too_few_cells_has_its_columns(tmp_path: Path) -> None:
    """Proves that rows which lack cells do not shift the columns of the file of refused rows."""
    file = tmp_path / "items.csv"
    file.write_text("number,description,base_unit\nA\nB,Cable,EA,x\n")
    with RefusedRows(file, None, goes_on=False) as left:
        for each in read_rows(file, KINDS["items"]):
            left.add(each)
    assert numbers(left.path) == [1, 2]


def test_cells_beyond_the_heading_are_kept(tmp_path: Path) -> None:
    """Proves that a row of too many cells is refused by its number and rule, and that none of its
    cells is missing where it was written, whatever is in them."""
    file = tmp_path / "items.csv"
    file.write_text('number,description\nA,Cable,"2 m, black","say ""no"""\nB,Plug\nC,Box,\n')
    with RefusedRows(file, None, goes_on=False) as left:
        for each in read_rows(file, KINDS["items"]):
            if each.problems:
                left.add(each)
    first, last = csv.DictReader(io.StringIO(left.path.read_text()))
    assert (first["refused_row"], first["refused_rule"]) == ("1", "row.cells")
    assert (first["number"], first["description"]) == ("A", "Cable")
    assert next(csv.reader([first["refused_beyond"]])) == ["2 m, black", 'say "no"']
    assert (last["refused_row"], next(csv.reader([last["refused_beyond"]]), [])) == ("3", [""])


def test_a_line_that_is_no_object_is_kept(tmp_path: Path) -> None:
    """Proves of JSON lines that what is refused as no object stands where it was written."""
    file = tmp_path / "items.jsonl"
    file.write_text('["A", 1]\n"B"\nnull\n')
    with RefusedRows(file, None, goes_on=False) as left:
        for each in read_rows(file, KINDS["items"]):
            left.add(each)
    lines = [json.loads(line) for line in left.path.read_text().splitlines()]
    assert [each["line"] for each in lines] == ['["A", 1]', '"B"', "null"]
    assert {each["refused"]["rule"] for each in lines} == {"row.json"}


def test_ctrl_c_between_a_row_and_its_number_is_heard_after_both(tmp_path: Path) -> None:
    """Proves that who goes on after Ctrl-C amid rows that are refused has none of them twice and
    none lost."""
    rows, counts = [row(number, number=f"N-{number}") for number in range(1, 6)], Counts()
    with RefusedRows(tmp_path / "items.csv", None, goes_on=False) as left:

        def add(each: Row) -> None:
            left.add(each)
            if each.number == 2:
                signal.raise_signal(signal.SIGINT)

        with pytest.raises(KeyboardInterrupt):
            settle(rows, add, counts)
    assert counts.done == counts.refused == 5
    assert numbers(left.path) == [1, 2, 3, 4, 5]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("place", ["/dev/full", "nowhere/refused.csv"])
def test_a_refused_row_that_can_not_be_kept_is_not_done(tmp_path: Path, place: str) -> None:
    """Proves that where the file of refused rows has no room, or no directory, the load ends with
    the row, why, what to do and where to go on, and that no such row counts as done or refused."""
    rows, counts = [row(number, number=f"N-{number}") for number in range(1, 4)], Counts(done=7)
    path = tmp_path / place
    with (
        RefusedRows(tmp_path / "items.csv", path, goes_on=True) as left,
        pytest.raises(CommandError) as ended,
    ):
        settle(rows, left.add, counts)
    assert (counts.done, counts.refused) == (7, 0)
    assert "row 1 was refused and could not be kept" in ended.value.what
    assert ended.value.why in ("No space left on device", "No such file or directory")
    assert "--refused" in ended.value.next_step and "--from-row 8" in ended.value.next_step


def test_who_goes_on_after_a_full_disk_has_no_row_twice(tmp_path: Path) -> None:
    """Proves that where a later row of a call can't be kept, those before it are done, kept or not
    refused at all, and that who goes on as it is said has each refused row once."""
    rows, counts = [row(number, number=f"N-{number}") for number in range(1, 6)], Counts()
    rows[2].problems.clear()
    file = tmp_path / "items.csv"
    with RefusedRows(file, None, goes_on=False) as left:

        def add(each: Row) -> None:
            if each.number == 4:
                raise OSError(errno.ENOSPC, "No space left on device")
            left.add(each)

        with pytest.raises(CommandError) as ended:
            settle(rows, add, counts)
    assert (counts.done, counts.refused) == (3, 2)
    assert "--from-row 4" in ended.value.next_step
    with RefusedRows(file, None, goes_on=True) as left:
        settle(rows[counts.done :], left.add, counts)
    assert numbers(left.path) == [1, 2, 4, 5] and (counts.done, counts.refused) == (5, 4)


def test_a_refused_row_is_kept_at_once(tmp_path: Path) -> None:
    """Proves that a row which was refused is in its file before the next one is looked at, for a
    load may end at any moment."""
    with RefusedRows(tmp_path / "items.jsonl", None, goes_on=False) as left:
        for number in (1, 2):
            left.add(row(number, number=f"N-{number}"))
            assert numbers(left.path) == list(range(1, number + 1))


def test_an_interrupted_dry_run_says_what_it_checked(tmp_path: Path) -> None:
    """Proves that Ctrl-C in a dry run says how far rows were checked and that nothing was sent;
    what it found until then is in the file."""
    file = tmp_path / "items.csv"
    # Its end never comes.
    os.mkfifo(file)
    running = subprocess.Popen(
        [sys.executable, "-m", "crossdock.cli", "load", "items", str(file), "--dry-run"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        with file.open("w", encoding="utf-8") as rows:
            rows.write("number,description\n")
            rows.writelines(f"N-{n},{'x' * 999 if n == 3 else ''}\n" for n in range(1, 301))
            rows.flush()
            left = tmp_path / "items.refused.csv"
            asyncio.run(eventually(left.exists, "a refused row", SECONDS))
            running.send_signal(signal.SIGINT)
            said = running.communicate(timeout=SECONDS)[0].decode()
    finally:
        running.kill()
    assert running.returncode == 130, said
    assert f"up to row {ROWS_PER_CALL} all are checked (1 of them would be refused" in said
    assert "nothing was sent" in said and "done" not in said
    assert f"--from-row {ROWS_PER_CALL + 1} goes on" in said
    assert numbers(left) == [3]
