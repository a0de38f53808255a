"""`crossdock hub find-archived`: what stands in the parts about an id, without a hub or a database.

Ends with 0: found. 1: nothing was found. 78: there is no archive, or a part can't be read.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from crossdock import contracts
from crossdock.contracts import Contract
from crossdock.errors import ConfigurationError
from pydantic import ValidationError

from crossdock_hub.archive import parts
from crossdock_hub.archive.lines import rows_from
from crossdock_hub.archive.records import FlowRows
from crossdock_hub.config import Settings, archive_of
from crossdock_hub.reading.finding import spellings
from crossdock_hub.wording import clock, setting_problem

EXIT_NOT_FOUND: Final = 1
EXIT_CONFIGURATION: Final = 78
# For `clock`: any day but those that are told.
_NO_DAY: Final = 0


def found(directory: Path, text: str, part: str) -> Iterator[tuple[str, str, list[bytes]]]:
    """(part, root id, lines) of each flow that is known by an id; part: "" for any of them."""
    if not directory.is_dir():
        raise ConfigurationError(
            f"there is no archive {directory}; name it with --directory, or the hub's "
            "CROSSDOCK_DATA_DIRECTORY or CROSSDOCK_ARCHIVE_DIRECTORY"
        )
    names = {text.strip(), *spellings(text.strip())}
    for name in [part] if part else parts.names_in(directory):
        for flow, lines in parts.found_in(parts.data_path(directory, name), names):
            yield name, flow.root_id, lines


def in_words(part: str, root_id: str, rows: FlowRows) -> str:
    """The objects of a flow, and what vendors got of it."""
    lines = [f"part {part}, flow {root_id}"]
    for row in rows["objects"]:
        number = row["number"] or row["id"]
        changed = clock(row["updated_at"], _NO_DAY)
        kind = row["kind"].replace("_", " ")
        lines.append(f"  {kind} {number}: {row['state']}, last changed {changed}")
    for row in rows["deliveries"]:
        given = json.loads(row["vendor_references"])
        papers = "".join(f", {kind} {value}" for kind, value in given)
        settled = clock(row["updated_at"], _NO_DAY)
        who = row["endpoint"] or "nobody"
        lines.append(f"  {row['operation']} at {who}: {row['state']}{papers}, {settled}")
    lines += [
        f"  parcel {row['carrier_code']} {row['tracking_number']}: {row['milestone']}"
        for row in rows["parcels"]
    ]
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("crossdock hub find-archived", description=__doc__)
    parser.add_argument("id", help="an order, a shipment, a parcel, a document, a request, …")
    parser.add_argument("--part", default="", help="look in this one only")
    parser.add_argument("--directory", type=Path, help="where the parts are")
    parser.add_argument("--json", action="store_true", help="print every row, a line for each")
    return parser


def _print(contract: Contract, one: tuple[str, str, list[bytes]], *, as_json: bool) -> None:
    part, root_id, lines = one
    if as_json:
        for line in lines:
            document: dict[str, Any] = {"part": part, **json.loads(line)}
            print(json.dumps(document, ensure_ascii=False))
    else:
        print(in_words(part, root_id, rows_from(lines, contract)))


def main(arguments: Sequence[str]) -> int:
    """The command."""
    given = _parser().parse_args(arguments)
    try:
        directory = given.directory or archive_of(Settings())
        count = 0
        for one in found(directory, given.id, given.part):
            _print(contracts.load(), one, as_json=given.json)
            count += 1
    except ValidationError as error:
        print(f"not searched: {setting_problem(error.errors()[0])}", file=sys.stderr)
        return EXIT_CONFIGURATION
    except (ConfigurationError, OSError, EOFError) as error:
        print(f"not searched to the end: {error}", file=sys.stderr)
        return EXIT_CONFIGURATION
    if not count:
        print(f"nothing in {directory} is known by {given.id!r}", file=sys.stderr)
        return EXIT_NOT_FOUND
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
