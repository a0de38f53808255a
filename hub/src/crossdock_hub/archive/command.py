"""`crossdock hub archive`: one pass over what is finished and old, while no hub runs.

A hub that runs archives by itself what CROSSDOCK_ARCHIVE_DAYS says. Ends with 0: done. 78: refused,
nothing was changed. 1: not finished; run it again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import structlog
from crossdock import contracts
from crossdock.cli.progress import ProgressLine
from crossdock.errors import ConfigurationError, CrossdockError
from pydantic import ValidationError

from crossdock_hub.archive.archiver import Archiver, Outcome
from crossdock_hub.archive.forgetting import forget
from crossdock_hub.archive.parts import ArchiveFailure
from crossdock_hub.archive.records import ArchivePart
from crossdock_hub.archive.settling import WHY, Rules, rules_of
from crossdock_hub.committer import Committer, Stopped
from crossdock_hub.config import SECOND, Settings, archive_of, limits_of
from crossdock_hub.data_lock import DataDirectoryInUse, DataLock
from crossdock_hub.delivery.dispatching import Picker
from crossdock_hub.retention import ages, with_retention
from crossdock_hub.store import Store, StoreFailure
from crossdock_hub.store.database_files import file_of
from crossdock_hub.store.engine import access_of, database_url
from crossdock_hub.store.postgresql import DatabaseInUse
from crossdock_hub.unit import Refused
from crossdock_hub.wording import setting_problem

EXIT_INTERRUPTED: Final = 1
EXIT_CONFIGURATION: Final = 78


def now_microseconds() -> int:
    """The machine's time, UTC."""
    return int(time.time() * SECOND)


class Wanted:
    """What the settings say, checked before anything is opened."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        # Nobody else is asked before a pass that is alone.
        alone = {"archive_pause_seconds": 0.0}
        self.limits = limits_of(settings).with_changes(alone)
        self.contract = with_retention(contracts.load(), settings.retention_days)
        event_ages = ages(self.contract, settings.event_hot_hours, self.limits)
        self.rules: Rules = rules_of(settings.archive_days, event_ages)
        self.url = database_url(settings.database_url, settings.data_directory)
        path = file_of(self.url)
        if path is not None and not path.exists():
            raise ConfigurationError(
                f"there is no database {path}; name the hub's CROSSDOCK_DATA_DIRECTORY or "
                "CROSSDOCK_DATABASE_URL"
            )

    def check_ages(self) -> None:
        """Raise ConfigurationError when nothing would ever be archived or pruned."""
        if self.rules.idle:
            raise ConfigurationError(
                "CROSSDOCK_ARCHIVE_DAYS says of nothing how old it has to be; set it as the hub "
                'has it, for example {"order": 400, "request": 400, "held_fact": 90}'
            )

    def archiver(self, store: Store, committer: Committer, progress: ProgressLine) -> Archiver:
        """What does it."""
        return Archiver(
            store,
            committer,
            self.limits,
            self.rules,
            archive_of(self.settings),
            now_microseconds,
            lambda what, flows: progress.show(f"{what}, {flows:,} flows"),
        )

    def committer(self, store: Store) -> Committer:
        """Who writes it. Without endpoints it sends nothing to anybody."""
        return Committer(store, self.contract, self.limits, Picker(self.limits), now_microseconds)


async def archive(wanted: Wanted, progress: ProgressLine) -> Outcome:
    """Archive. Raises CrossdockError, StoreFailure, Refused, Stopped."""
    async with _claimed(wanted) as store:
        committer = wanted.committer(store)
        committer.start([])
        try:
            return await wanted.archiver(store, committer, progress).archive()
        finally:
            await committer.stop()


async def give_up(wanted: Wanted, number: int, reason: str) -> ArchivePart:
    """Give a lost part up. Raises CrossdockError, StoreFailure, Refused, Stopped."""
    async with _claimed(wanted) as store:
        committer = wanted.committer(store)
        committer.start([])
        try:
            return await forget(
                store, committer, archive_of(wanted.settings), number, reason, now_microseconds()
            )
        finally:
            await committer.stop()


@asynccontextmanager
async def _claimed(wanted: Wanted) -> AsyncIterator[Store]:
    """The database, while no hub has it."""
    lock = DataLock(wanted.settings.data_directory)
    try:
        lock.acquire()
    except DataDirectoryInUse as in_use:
        raise ConfigurationError(
            f"the hub of {in_use.directory} runs, and archives by itself what its "
            "CROSSDOCK_ARCHIVE_DAYS says; --dry-run shows what that is"
        ) from None
    try:
        try:
            store = await Store.open(wanted.url, wanted.contract, access_of(wanted.settings))
        except DatabaseInUse as in_use:
            raise ConfigurationError(
                f"{in_use.holder or 'a hub'} has the database; hubs archive by themselves what "
                "their CROSSDOCK_ARCHIVE_DAYS says, and --dry-run shows what that is. To archive "
                "it by hand, stop every hub of it"
            ) from None
        try:
            yield store
        finally:
            await store.close()
    finally:
        lock.release()


async def look(wanted: Wanted, progress: ProgressLine) -> Outcome:
    """Look, beside a hub that runs or not. Raises CrossdockError, StoreFailure."""
    store = await Store.look_into(wanted.url, wanted.contract, access_of(wanted.settings))
    try:
        if not await store.is_current():
            raise ConfigurationError(
                "the tables are those of another version; start the hub once with this one"
            )
        return await wanted.archiver(store, wanted.committer(store), progress).look()
    finally:
        await store.close()


def _told(outcome: Outcome, seconds: float, *, dry: bool) -> dict[str, Any]:
    return {
        "dry_run": dry,
        "flows": outcome.flows,
        "parts": outcome.parts,
        "bytes": outcome.bytes,
        "stays": dict(outcome.stays),
        "rows_by_age": dict(outcome.pruned),
        "longest_slice_seconds": round(outcome.longest_slice_seconds, 4),
        "seconds": round(seconds, 1),
    }


def _in_words(outcome: Outcome, seconds: float, *, dry: bool) -> str:
    done = "would be archived" if dry else f"archived, in {seconds:.1f} s"
    lines = [f"{outcome.flows:,} flows {done}"]
    if outcome.parts:
        lines.append(f"  parts {', '.join(outcome.parts)} ({outcome.bytes:,} bytes)")
    lines += [f"  {count:,} stay: {WHY[reason]}" for reason, count in sorted(outcome.stays.items())]
    lines += [
        f"  {count:,} rows of {kind} went by their age"
        for kind, count in sorted(outcome.pruned.items())
    ]
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("crossdock hub archive", description=__doc__)
    parser.add_argument("--dry-run", action="store_true", help="say what would go, change nothing")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument(
        "--forget-part", type=int, metavar="N",
        help="give up a part whose file is lost: flows that went with it are lost too",
    )  # fmt: skip
    parser.add_argument("--reason", default="", help="why, for --forget-part; stands beside parts")
    return parser


def _forget(wanted: Wanted, given: argparse.Namespace) -> None:
    if not given.reason.strip():
        raise ConfigurationError("--forget-part needs --reason: why its file is not put back")
    part = asyncio.run(give_up(wanted, given.forget_part, given.reason))
    told = {"part": part.name, "state": part.state, "flows": part.flows}
    print(
        json.dumps(told)
        if given.json
        else f"part {part.name} is given up; what had not gone of its {part.flows:,} flows is "
        "archived anew, what had gone is lost with the file"
    )


def _run(given: argparse.Namespace) -> None:
    wanted = Wanted(Settings())
    if given.forget_part is not None:
        _forget(wanted, given)
        return
    wanted.check_ages()
    progress = ProgressLine(quiet=given.json)
    begun = time.monotonic()
    try:
        outcome = asyncio.run((look if given.dry_run else archive)(wanted, progress))
    finally:
        progress.end()
    told = outcome, time.monotonic() - begun
    print(
        json.dumps(_told(*told, dry=given.dry_run))
        if given.json
        else _in_words(*told, dry=given.dry_run)
    )


def main(arguments: Sequence[str]) -> int:
    """The command."""
    given = _parser().parse_args(arguments)
    # Standard output is for the answer, which a program may read.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    try:
        _run(given)
    except ValidationError as error:
        print(f"nothing archived: {setting_problem(error.errors()[0])}", file=sys.stderr)
        return EXIT_CONFIGURATION
    except (ArchiveFailure, StoreFailure, Refused, Stopped) as failure:
        print(f"not everything is archived: {failure}; run it again", file=sys.stderr)
        return EXIT_INTERRUPTED
    except KeyboardInterrupt:
        print("not everything is archived; run it again", file=sys.stderr)
        return EXIT_INTERRUPTED
    except (CrossdockError, OSError) as error:
        print(f"nothing archived: {error}", file=sys.stderr)
        return EXIT_CONFIGURATION
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
