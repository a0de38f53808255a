"""Rows of a file of master data, as entries that the hub takes, or with what is wrong with them.

JSON lines: one object a line, with the fields of the contract by name; null clears one. CSV: a
heading names the field of each column (`description`, `weight.value`); an empty cell is not
written, one that begins with [ or { is JSON. `references` belongs to the entry. What a file of
refused rows adds is left out.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.json_format import ParseDict, ParseError

from crossdock import contracts
from crossdock.cli.problems import EXIT_USED_WRONGLY, CommandError
from crossdock.customer.v1 import customer_service_pb2
from crossdock.item.v1 import item_service_pb2
from crossdock.location.v1 import location_service_pb2
from crossdock.request_ids import new_request_id

REFUSED: Final = "refused"
REFERENCES: Final = "references"
KEY: Final = "number"
LINE_BYTES_MAX: Final = 256 * 1024
WORDS_OF_TRUTH: Final = {"true": True, "false": False, "yes": True, "no": False}


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of master data. field: of an entry; client: attribute of the hub's client."""

    field: str
    client: str
    method: str
    entry: Any
    request: Any


KINDS: Final[dict[str, Kind]] = {
    "items": Kind(
        "item",
        "items",
        "UpsertItems",
        item_service_pb2.ItemEntry,
        item_service_pb2.UpsertItemsRequest,
    ),
    "customers": Kind(
        "customer",
        "customers",
        "UpsertCustomers",
        customer_service_pb2.CustomerEntry,
        customer_service_pb2.UpsertCustomersRequest,
    ),
    "locations": Kind(
        "location",
        "locations",
        "UpsertLocations",
        location_service_pb2.LocationEntry,
        location_service_pb2.UpsertLocationsRequest,
    ),
}


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a row was not written: field, rule, and what to do."""

    field: str
    rule: str
    why: str


@dataclass(slots=True)
class Row:
    """A row of the file. number: from 1, without a heading; entry: None when it has problems.

    end: bytes of the file up to here; beyond: cells of a CSV for which the heading has no column.
    """

    number: int
    values: Mapping[str, Any]
    end: int
    entry: Any = None
    problems: list[Problem] = field(default_factory=list)
    beyond: Sequence[str] = ()


def read_rows(path: Path, kind: Kind) -> Iterator[Row]:
    """Every row of a file, read as it is asked for. CommandError: it can't be read."""
    if path.suffix.lower() not in (".csv", ".jsonl"):
        raise CommandError(
            f"{path} is neither .csv nor .jsonl",
            next_step="name it after what it holds",
            exit_code=EXIT_USED_WRONGLY,
        )
    is_csv = path.suffix.lower() == ".csv"
    try:
        with path.open("rb") as file:
            for row in _csv(file) if is_csv else _json(file):
                if not row.problems:
                    _interpret(row, kind, from_text=is_csv)
                yield row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CommandError(f"{path} can't be read", str(error)) from None


def _lines(file: BinaryIO, ends: list[int]) -> Iterator[str]:
    while line := file.readline(LINE_BYTES_MAX + 1):
        if len(line) > LINE_BYTES_MAX:
            raise CommandError(f"a line has more than {LINE_BYTES_MAX} bytes", f"byte {ends[0]}")
        ends[0] += len(line)
        yield line.decode("utf-8-sig" if ends[0] == len(line) else "utf-8")


def _csv(file: BinaryIO) -> Iterator[Row]:
    ends = [0]
    reader = csv.reader(_lines(file, ends), strict=True)
    heading = [name.strip() for name in next(reader, [])]
    if KEY not in heading or len(set(heading)) != len(heading):
        raise CommandError(
            f"the first line has to name each column once, {KEY} among them",
            f"it names {', '.join(heading)}",
        )
    number = 0
    for cells in reader:
        if not cells:
            continue
        number += 1
        # With each column, so that rows which are refused have the same.
        missing = [""] * (len(heading) - len(cells))
        row = Row(number, dict(zip(heading, cells + missing, strict=False)), ends[0])
        if len(cells) != len(heading):
            why = f"it has {len(cells)} cells and the heading {len(heading)}; quote what has commas"
            row.problems.append(Problem("", "row.cells", why))
            row.beyond = cells[len(heading) :]
        yield row


def _json(file: BinaryIO) -> Iterator[Row]:
    ends = [0]
    number = 0
    for line in _lines(file, ends):
        if not line.strip():
            continue
        number += 1
        try:
            found = json.loads(line, parse_float=str)
        except ValueError as error:
            row = Row(number, {"line": line.rstrip("\n")}, ends[0])
            row.problems.append(Problem("", "row.json", f"it is no JSON: {error}"))
        else:
            is_object = isinstance(found, dict)
            row = Row(number, found if is_object else {"line": line.rstrip("\n")}, ends[0])
            if not is_object:
                row.problems.append(Problem("", "row.json", "it is no object; write {…}"))
        yield row


def _interpret(row: Row, kind: Kind, *, from_text: bool) -> None:
    """Make the entry, and check it by the rules of the contract."""
    entry = kind.entry(request_id=new_request_id())
    target = getattr(entry, kind.field)
    try:
        values = _nested(target.DESCRIPTOR, row.values) if from_text else dict(row.values)
        values = {name: each for name, each in values.items() if not name.startswith(REFUSED)}
        references = values.pop(REFERENCES, None)
        present = {name: each for name, each in values.items() if each is not None}
        ParseDict(present, target)
        if references is not None:
            ParseDict({REFERENCES: references}, entry)
    except (ParseError, ValueError) as error:
        row.problems.append(Problem("", "row.fields", str(error)))
        return
    known = target.DESCRIPTOR.fields_by_name
    entry.update_mask.paths.extend(
        name for each in values if (name := _field_name(known, each)) != KEY
    )
    for message in (entry, target):
        found = contracts.load().validate(message.DESCRIPTOR.full_name, message.SerializeToString())
        row.problems += [Problem(each.field, each.rule, each.description) for each in found]
    if not row.problems:
        row.entry = entry


def _field_name(known: Mapping[str, FieldDescriptor], name: str) -> str:
    """A field as the contract writes it, also when the file has it in JSON's camel case."""
    return name if name in known else next(f.name for f in known.values() if f.json_name == name)


def _nested(of: Descriptor, cells: Mapping[str, str]) -> dict[str, Any]:
    """Cells by dotted names, as objects within each other. Raises ValueError."""
    made: dict[str, Any] = {}
    for path, cell in cells.items():
        if not cell.strip() or path.startswith(REFUSED):
            continue
        *outer, last = path.split(".")
        place: Any = made
        inside: Descriptor | None = of
        for name in outer:
            known = inside.fields_by_name.get(name) if inside is not None else None
            inside = known.message_type if known is not None else None
            place = place.setdefault(name, {})
        known = inside.fields_by_name.get(last) if inside is not None else None
        place[last] = _value(known, path, cell.strip())
    return made


def _value(known: FieldDescriptor | None, path: str, cell: str) -> Any:
    if cell[0] in "[{":
        try:
            return json.loads(cell, parse_float=str)
        except ValueError as error:
            raise ValueError(f"{path}: it begins like JSON and is none: {error}") from None
    if known is not None and known.type == FieldDescriptor.TYPE_BOOL:
        if cell.lower() not in WORDS_OF_TRUTH:
            raise ValueError(f"{path}: write true or false, not {cell!r}")
        return WORDS_OF_TRUTH[cell.lower()]
    return cell
