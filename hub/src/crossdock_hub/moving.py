"""`crossdock hub move`: takes the database of a stopped hub to another place, with nothing lost.

The old database is that of the settings (CROSSDOCK_DATABASE_URL, else SQLite in
CROSSDOCK_DATA_DIRECTORY). Ends with 0: moved. 78: refused, nothing was changed. 1: interrupted; run
it again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from crossdock.cli.progress import ProgressLine, bar
from crossdock.errors import ConfigurationError, CrossdockError
from pydantic import ValidationError

from crossdock_hub.config import SECOND, Settings
from crossdock_hub.data_lock import DataDirectoryInUse, DataLock
from crossdock_hub.store import Access, StoreFailure
from crossdock_hub.store.database_files import file_of
from crossdock_hub.store.engine import check_url, database_url
from crossdock_hub.store.places import MoveRefused, Place, name_of
from crossdock_hub.store.relocation import (
    Moved,
    Relocation,
    moved_mark,
    take_back,
    use_as_back_up,
)
from crossdock_hub.store.rights import Part
from crossdock_hub.wording import setting_problem

EXIT_INTERRUPTED: Final = 1
EXIT_CONFIGURATION: Final = 78
TO_SQLITE: Final = "sqlite"


class Settled:
    """Settings and arguments, as URLs and accesses of both places."""

    def __init__(self, settings: Settings, given: argparse.Namespace) -> None:
        directory = settings.data_directory.resolve()
        if not directory.is_dir():
            raise MoveRefused(
                f"there is no data directory {directory}; name it with CROSSDOCK_DATA_DIRECTORY"
            )
        self.lock = DataLock(directory)
        self.source_url = database_url(settings.database_url, directory)
        own = settings.database_password_file, settings.database_ca_file
        self.source = Access(*own, settings.allow_plaintext)
        to: str = given.to
        self.target_url = database_url("", directory) if to == TO_SQLITE else to
        # Where the old one is a file, its settings of a server can only be meant for the new one.
        password, ca = own if file_of_source(self.source_url) else (None, None)
        self.target = Access(
            given.password_file or password, given.ca_file or ca, settings.allow_plaintext
        )
        if to:
            # What it is refused for names the setting that it will have to be.
            check_url(self.target_url, self.target)


def file_of_source(url: str) -> Path | None:
    """The file of the old database, which is there; None: it is on a server."""
    path = file_of(url)
    if path is not None and not path.exists():
        raise MoveRefused(
            f"there is no database {path}; name the hub's CROSSDOCK_DATA_DIRECTORY or "
            "CROSSDOCK_DATABASE_URL"
        )
    return path


@asynccontextmanager
async def claimed(lock: DataLock) -> AsyncIterator[None]:
    """The data directory, while no hub runs on it."""
    try:
        lock.acquire()
    except DataDirectoryInUse as in_use:
        who = f" (process {in_use.holder_pid})" if in_use.holder_pid else ""
        raise MoveRefused(
            f"the hub of {in_use.directory} still runs{who}; stop it, then move"
        ) from None
    try:
        yield
    finally:
        lock.release()


@asynccontextmanager
async def opened(url: str, access: Access, part: Part = Part.LEAVES) -> AsyncIterator[Place]:
    """A claimed place, for as long as it is needed. Raises MoveRefused."""
    try:
        place = await Place.open(url, access, part)
    except StoreFailure as failure:
        raise MoveRefused(f"{name_of(url)} could not be opened: {failure}") from None
    try:
        yield place
    finally:
        await place.close()


async def move(settled: Settled, progress: ProgressLine, *, replace_nulls: bool) -> Moved:
    """Move. Raises CrossdockError, StoreFailure."""
    if name_of(settled.source_url) == name_of(settled.target_url):
        raise MoveRefused(f"{name_of(settled.target_url)} is where the database is already")
    async with (
        claimed(settled.lock),
        opened(settled.source_url, settled.source) as source,
        opened(settled.target_url, settled.target, Part.FILLS) as target,
    ):
        now = int(time.time() * SECOND)
        relocation = Relocation(source, target, now, _shown_on(progress))
        return await relocation.run(replace_nulls=replace_nulls)


async def undo(settled: Settled, *, as_back_up: bool) -> str:
    """Take a move back. Returns where the database had moved to."""
    part = Part.PUT_BACK if as_back_up else Part.MARKED
    async with (
        claimed(settled.lock),
        opened(settled.source_url, settled.source, part) as source,
    ):
        mark = await moved_mark(source)
        if as_back_up:
            await use_as_back_up(source)
            return mark.place
        async with opened(mark.place, settled.target, Part.MARKED) as target:
            await take_back(source, target)
        return mark.place


def _shown_on(progress: ProgressLine) -> Any:
    def show(what: str, table: str, done: int, rows: int) -> None:
        share = done / rows if rows else 1.0
        progress.show(f"{what} {bar(share)}  {done:,} of {rows:,} rows, {table}")

    return show


def _told(moved: Moved, seconds: float) -> dict[str, Any]:
    return {
        "from": moved.source,
        "to": moved.target,
        "rows": moved.rows,
        "seconds": round(seconds, 1),
        "finished_only": moved.finished_only,
        "null_characters_replaced": moved.nulls_replaced,
        "tables": {
            name: {"rows": each.rows, "sha256": each.digest} for name, each in moved.tables.items()
        },
    }


def _in_words(moved: Moved, seconds: float) -> str:
    what = (
        "what an earlier run had copied and compared"
        if moved.finished_only
        else f"{moved.rows:,} rows of {len(moved.tables)} tables, each compared"
    )
    lines = [
        f"moved {what}, in {seconds:.1f} s",
        f"  from {moved.source}",
        f"  to   {moved.target}",
    ]
    if moved.nulls_replaced:
        lines.append(f"  {moved.nulls_replaced} texts had null characters, now U+FFFD")
    lines.append(f"start the hub with CROSSDOCK_DATABASE_URL={moved.target}")
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("crossdock hub move", description=__doc__)
    way = parser.add_mutually_exclusive_group(required=True)
    way.add_argument("--to", default="", help="URL of an empty database, or sqlite")
    way.add_argument("--undo", action="store_true", help="take back a move nobody started behind")
    parser.add_argument("--as-back-up", action="store_true", help="undo without the new database")
    parser.add_argument("--password-file", type=Path, help="of the new database")
    parser.add_argument("--ca-file", type=Path, help="who signs the new server's certificate")
    parser.add_argument("--replace-null-characters", action="store_true")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    return parser


def _run(given: argparse.Namespace) -> None:
    settled = Settled(Settings(), given)
    if given.undo:
        where = asyncio.run(undo(settled, as_back_up=given.as_back_up))
        source = name_of(settled.source_url)
        told = {"undone": source, "not_used": where}
        print(json.dumps(told) if given.json else f"hubs start on {source} again, not on {where}")
        return
    progress = ProgressLine(quiet=given.json)
    begun = time.monotonic()
    try:
        moved = asyncio.run(move(settled, progress, replace_nulls=given.replace_null_characters))
    finally:
        progress.end()
    seconds = time.monotonic() - begun
    print(json.dumps(_told(moved, seconds)) if given.json else _in_words(moved, seconds))


def main(arguments: Sequence[str]) -> int:
    """The command."""
    given = _parser().parse_args(arguments)
    if given.as_back_up and not given.undo:
        print("--as-back-up goes with --undo", file=sys.stderr)
        return EXIT_CONFIGURATION
    try:
        _run(given)
    except ValidationError as error:
        print(f"nothing moved: {setting_problem(error.errors()[0])}", file=sys.stderr)
        return EXIT_CONFIGURATION
    except StoreFailure as failure:
        print(f"the move is not finished: {failure}; mend that and run it again", file=sys.stderr)
        return EXIT_INTERRUPTED
    except KeyboardInterrupt:
        print("the move is not finished; run it again", file=sys.stderr)
        return EXIT_INTERRUPTED
    except (ConfigurationError, CrossdockError, OSError) as error:
        print(f"nothing moved: {error}", file=sys.stderr)
        return EXIT_CONFIGURATION
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
