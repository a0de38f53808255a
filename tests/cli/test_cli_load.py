"""`crossdock load`: files of master data, whole or with faults, over a hub that is killed."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TextIO

import grpc
import pytest
from crossdock.cli.load import Shown
from crossdock.cli.loading.rows import KINDS, Row, read_rows
from crossdock.cli.loading.sending import CALLS_IN_FLIGHT, ROWS_PER_CALL, Counts, Loader
from crossdock.errors import CallError, NoAnswerError, Refusal
from crossdock.item.v1 import item_pb2, item_service_pb2
from fixtures_hub import RunningHub
from fixtures_nats import eventually
from story import unique

LOAD_SECONDS = 200.0
FAULTY = "x" * 999


def environment(hub: RunningHub, endpoint: str) -> dict[str, str]:
    return hub.environment() | {
        "CROSSDOCK_ADDRESS": hub.address,
        "CROSSDOCK_TOKEN_FILE": str(hub.token_file(endpoint)),
    }


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "crossdock.cli", "load", *words]


def load(hub: RunningHub, *words: str, endpoint: str = "netsuite", code: int = 0) -> Any:
    """What the command prints as JSON."""
    done = subprocess.run(
        command(*words, "--json", "--yes"),
        env=environment(hub, endpoint),
        capture_output=True,
        timeout=LOAD_SECONDS,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


def started(hub: RunningHub, *words: str) -> subprocess.Popen[bytes]:
    """The command, under way."""
    return subprocess.Popen(
        command(*words),
        env=environment(hub, "netsuite"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


async def item(hub: RunningHub, number: str) -> item_pb2.Item:
    async with hub.client("oms") as oms:
        request = item_service_pb2.GetItemRequest(number=number)
        found: item_pb2.Item = (await oms.items.GetItem(request)).item
        return found


def write_csv(path: Path, heading: str, *lines: str) -> Path:
    path.write_text("\n".join([heading, *lines]) + "\n", encoding="utf-8")
    return path


async def test_a_file_with_faults_is_mended_and_loaded_again(
    hub: RunningHub, tmp_path: Path
) -> None:
    """Proves that sound rows are written, that each other one is in a file with its number, field,
    rule and what to do, and that this file, mended, is loaded as it is."""
    names = [unique("LOAD") for _ in range(4)]
    file = write_csv(
        tmp_path / "items.csv",
        "number,description,weight.value,weight.unit,lot_controlled,handling_codes",
        f'{names[0]},"A box, large",1.250,KGM,true,"[""FRAGILE""]"',
        f"{names[1]},Cable,heavy,KGM,false,",
        f"{names[2]},Cable,1,KGM,perhaps,",
        f"{names[3]},Cable,2,KGM,,,",
        f"{names[3]},Drum,,,,",
    )
    told = await asyncio.to_thread(load, hub, "items", str(file), code=1)
    assert (told["created"], told["refused"], told["done"]) == (2, 3, 5)
    first = await item(hub, names[0])
    assert (first.description, first.weight.value, first.lot_controlled) == (
        "A box, large",
        "1.250",
        True,
    )
    assert list(first.handling_codes) == ["FRAGILE"]
    refused = Path(told["refused_file"])
    rows = list(csv.DictReader(refused.read_text().splitlines()))
    assert [(row["refused_row"], row["refused_field"]) for row in rows] == [
        ("2", "weight.value"),
        ("3", ""),
        ("4", ""),
    ]
    assert "write true or false, not 'perhaps'" in rows[1]["refused_why"]
    assert "7 cells and the heading 6" in rows[2]["refused_why"]
    text = refused.read_text().replace("heavy", "3.5").replace("perhaps", "no")
    mended = tmp_path / "mended.csv"
    mended.write_text(text)
    told = await asyncio.to_thread(load, hub, "items", str(mended))
    assert (told["created"], told["changed"], told["refused"]) == (2, 1, 0)
    assert (await item(hub, names[1])).weight.value == "3.5"
    again = await asyncio.to_thread(load, hub, "items", str(mended))
    assert again["unchanged"] == 3


async def test_a_row_is_refused_as_any_write_is(hub: RunningHub, tmp_path: Path) -> None:
    """Proves that ownership holds for rows of a file, that the sound row beside is written, and
    that null in JSON lines clears a field."""
    sound, theirs = unique("LOAD"), unique("LOAD")
    first = write_csv(tmp_path / "first.csv", "number,description", f"{sound},Known")
    await asyncio.to_thread(load, hub, "items", str(first))
    rows: list[dict[str, Any]] = [
        {"number": sound, "listing": {"title": "For sale"}},
        {"number": theirs, "description": "of the ERP"},
    ]
    file = tmp_path / "items.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows) + "\n{\n")
    told = await asyncio.to_thread(load, hub, "items", str(file), endpoint="oms", code=1)
    assert (told["changed"], told["refused"]) == (1, 2)
    lines = Path(told["refused_file"]).read_text().splitlines()
    why = [json.loads(line)["refused"] for line in lines]
    assert [each["row"] for each in why] == [2, 3]
    assert "description" in why[0]["field"] + why[0]["why"]
    assert why[1]["rule"] == "row.json"
    file.write_text(json.dumps({"number": sound, "listing": None}))
    await asyncio.to_thread(load, hub, "items", str(file), endpoint="oms")
    assert not (await item(hub, sound)).HasField("listing")


def test_a_dry_run_needs_no_hub(tmp_path: Path) -> None:
    """Proves that a dry run finds the rows which the contract refuses, and sends nothing."""
    file = write_csv(tmp_path / "customers.csv", "number,legal_name", "C-1,Ada", f"C-2,{'x' * 999}")
    words = command("customers", str(file), "--dry-run", "--json")
    done = subprocess.run(words, capture_output=True, timeout=LOAD_SECONDS, check=False)
    assert done.returncode == 1, done.stderr
    told = json.loads(done.stdout)
    assert (told["done"], told["refused"]) == (2, 1)
    assert "legal_name" in Path(told["refused_file"]).read_text()


class Endless:
    """A file of items that ends some calls after it was told to: no load is done before. first: the
    description of the first one."""

    def __init__(self, path: Path, prefix: str, first: str = "Thing 1") -> None:
        os.mkfifo(path)
        self._path, self._prefix, self._first = path, prefix, first
        self._is_to_end = threading.Event()
        self.rows = 0
        self._writing = threading.Thread(target=self._write, daemon=True)
        self._writing.start()

    def _write(self) -> None:
        # Who reads it may go away before it ends.
        with contextlib.suppress(BrokenPipeError), self._path.open("w", encoding="utf-8") as file:
            file.write("number,description\n")
            while not self._is_to_end.is_set():
                self._add(file, 1)
            self._add(file, 3 * ROWS_PER_CALL)

    def _add(self, file: TextIO, count: int) -> None:
        for _ in range(count):
            self.rows += 1
            text = self._first if self.rows == 1 else f"Thing {self.rows}"
            file.write(f"{self._prefix}-{self.rows},{text}\n")

    def end(self) -> None:
        """Let it end."""
        self._is_to_end.set()

    def ended(self) -> bool:
        """Whether all of it was read, or nobody reads it any more."""
        self._writing.join(LOAD_SECONDS)
        return not self._writing.is_alive()


async def test_a_killed_hub_delays_and_loses_nothing(own_hub: RunningHub, tmp_path: Path) -> None:
    """Proves that a load goes on over a `kill -9` of the hub, writes every row once, and tells its
    progress."""
    file = tmp_path / "items.csv"
    endless = Endless(file, "BULK")
    running = started(own_hub, "items", str(file), "--yes")
    try:
        bulk = "kind = 'item' AND number LIKE 'BULK-%'"
        await eventually(lambda: own_hub.count("objects", bulk) > ROWS_PER_CALL, "the first rows")
        own_hub.kill()
        written = own_hub.count("objects", bulk)
        own_hub.start()
        endless.end()
        said, _ = await asyncio.to_thread(running.communicate, timeout=LOAD_SECONDS)
    finally:
        running.kill()
        endless.end()
    assert running.returncode == 0, said
    assert endless.ended() and written < endless.rows
    assert b" rows, " in said and f"{endless.rows:,} rows in".encode() in said
    assert own_hub.count("objects", bulk) == endless.rows
    assert own_hub.count("objects", f"{bulk} AND revision <> 1") == 0


async def test_who_is_interrupted_goes_on_and_keeps_what_was_refused(
    own_hub: RunningHub, tmp_path: Path
) -> None:
    """Proves that a load that Ctrl-C ends says which row it came to, and that going on from there
    writes the rest, and adds what is refused to the file that has the first part's."""
    file = tmp_path / "items.csv"
    endless = Endless(file, "CUT", first=FAULTY)
    running = started(own_hub, "items", str(file), "--yes")
    cut = "kind = 'item' AND number LIKE 'CUT-%'"
    try:
        await eventually(lambda: own_hub.count("objects", cut) > 6 * ROWS_PER_CALL, "some rows")
        running.send_signal(signal.SIGINT)
        said, _ = await asyncio.to_thread(running.communicate, timeout=LOAD_SECONDS)
    finally:
        running.kill()
        endless.end()
    assert running.returncode == 130, said
    told = re.search(rb"up to row (\d+) all are done \(1 of them refused.*--from-row (\d+)", said)
    assert told is not None, said
    done, next_row = (int(each) for each in told.groups())
    assert 0 < done < endless.rows and next_row == done + 1
    # The first one was refused; all others up to there are written, and of later ones at most those
    # that were under way.
    up_to = f"{cut} AND CAST(substr(number, 5) AS INTEGER) <= {done}"
    assert own_hub.count("objects", up_to) == done - 1
    assert own_hub.count("objects", cut) < done + CALLS_IN_FLIGHT * ROWS_PER_CALL
    # Behind all that was under way when it ended.
    last = done + 5 * ROWS_PER_CALL
    file.unlink()
    texts = {1: FAULTY, last: FAULTY}
    rows = (f"CUT-{n},{texts.get(n, f'Thing {n}')}" for n in range(1, last + 1))
    write_csv(file, "number,description", *rows)
    rest = await asyncio.to_thread(
        load, own_hub, "items", str(file), "--from-row", str(next_row), code=1
    )
    assert (rest["done"], rest["refused"]) == (last, 1)
    assert own_hub.count("objects", cut) == last - 2
    left = list(csv.DictReader(Path(rest["refused_file"]).read_text().splitlines()))
    assert [row["refused_row"] for row in left] == ["1", str(last)]


async def test_a_hub_that_takes_nothing_is_told() -> None:
    """Proves that each repeat of a call is told with its reason, so that a load that waits for its
    hub does not look like one that hangs, and that the load then goes on."""
    away = NoAnswerError(Refusal("HUB_UNAVAILABLE", "it starts"), grpc.StatusCode.UNAVAILABLE)
    answers = [
        away,
        away,
        item_service_pb2.UpsertItemsResponse(results=[item_service_pb2.ItemResult(created=True)]),
    ]

    async def save(request: Any, timeout: float) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    told: list[CallError] = []
    counts = Counts()
    loader = Loader(KINDS["items"], lambda row: None, lambda row: None, told.append, counts)
    entry = KINDS["items"].entry(item=item_pb2.Item(number="A"))
    hub: Any = SimpleNamespace(items=SimpleNamespace(**{KINDS["items"].method: save}))
    await loader.run(hub, iter([Row(1, {}, 0, entry, [])]))
    assert told == [away, away]
    assert (counts.created, counts.done) == (1, 1)


def test_why_a_load_waits_has_room_on_a_terminal() -> None:
    """Proves that amid a large load the reason of a repeat stands in the first columns, as many
    as a terminal of 80 shows of the line."""
    said: list[str] = []
    line: Any = SimpleNamespace(show=said.append)
    shown = Shown(line, Counts(done=12_345_678, refused=1_234), 1)
    why = Refusal("HUB_UNAVAILABLE", "the database does not answer")
    shown.wait(NoAnswerError(why, grpc.StatusCode.UNAVAILABLE))
    assert "HUB_UNAVAILABLE: the database" in said[0][:79]


@pytest.mark.parametrize("text", ["", "sku,description\n1,x\n", "number,number\n1,1\n"])
def test_a_file_without_its_key_is_refused(tmp_path: Path, text: str) -> None:
    """Proves that a CSV file whose first line does not name the number once is refused at once."""
    file = tmp_path / "items.csv"
    file.write_text(text)
    done = subprocess.run(
        command("items", str(file), "--dry-run"),
        capture_output=True,
        timeout=LOAD_SECONDS,
        check=False,
    )
    assert done.returncode == 1 and b"has to name each column once" in done.stderr


def test_rows_are_read_as_they_are_asked_for(tmp_path: Path) -> None:
    """Proves that a file is not read ahead, so that memory does not grow with it."""
    file = write_csv(tmp_path / "items.csv", "number", *(f"N-{n}" for n in range(50_000)))
    rows = read_rows(file, KINDS["items"])
    first = next(rows)
    assert first.number == 1 and first.end < file.stat().st_size / 10
