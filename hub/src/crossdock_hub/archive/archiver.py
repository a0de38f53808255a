"""Writes finished flows to parts, and lets them go from the database once a part is on disk.

    noted WRITING → file written, read back, renamed → noted WRITTEN → flows go in slices → DONE

Each step is on disk before the next begins, so a pass that ended anywhere is gone on with: what is
only noted is taken away and written anew, and of what is written the rest goes. A flow is in the
database or in a part that is known to be whole, and is asked for by the same ids in either.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import crossdock
import structlog
from crossdock.contracts import Contract
from crossdock.ending import end_tasks

from crossdock_hub.archive import parts, settling
from crossdock_hub.archive.lines import lines_of, names_of
from crossdock_hub.archive.naming import Named
from crossdock_hub.archive.parts import ArchiveFailure
from crossdock_hub.archive.records import (
    DONE,
    WRITING,
    WRITTEN,
    ArchivePart,
    FlowRows,
    LettingGo,
    Moment,
    Pruning,
    WrittenFlow,
)
from crossdock_hub.archive.settling import Held, Rules
from crossdock_hub.commands import Command
from crossdock_hub.committer import Committer, Stopped
from crossdock_hub.config import SECOND, Limits
from crossdock_hub.identity import HUB
from crossdock_hub.keeping import keep
from crossdock_hub.store import Store, StoreFailure, archiving
from crossdock_hub.store.bus_rows import tie
from crossdock_hub.unit import Refused, Unit

log = structlog.get_logger("crossdock.archive")

ARCHIVE: Final = "archive"
# A slice that what holds flows has changed under is judged anew, so often.
_JUDGED_MAX: Final = 20
# What is held is looked at so many facts, and about so many bytes of payload, at a time.
_HELD_FACTS: Final = 500
_HELD_BYTES: Final = 1024 * 1024
# Words that are kept of it, a hundred bytes each.
NAMED_MAX: Final = 2_000_000


@dataclass(slots=True)
class Outcome:
    """What a pass did. stays: flows that are old by their root, by why they stay. pruned: rows."""

    flows: int = 0
    parts: list[str] = field(default_factory=list)
    bytes: int = 0
    stays: Counter[str] = field(default_factory=Counter)
    pruned: Counter[str] = field(default_factory=Counter)
    longest_slice_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Found:
    """A flow that may go."""

    root_id: str
    rows: FlowRows


class Archiver:
    """One pass after another over what is old enough. clock: microseconds UTC.

    told: what is shown of a pass: what is done, and how many flows so far. counted: told how many
    flows of a part have left the database.
    """

    def __init__(
        self,
        store: Store,
        committer: Committer,
        limits: Limits,
        rules: Rules,
        directory: Path,
        clock: Callable[[], int],
        told: Callable[[str, int], None] = lambda _what, _flows: None,
        counted: Callable[[int], None] = lambda _flows: None,
    ) -> None:
        self._store = store
        self._committer = committer
        self._contract: Contract = store.contract
        self._limits = limits
        self._rules = rules
        self._directory = directory
        self._clock = clock
        self._told = told
        self._counted = counted
        # What held facts name, as far as they are known, and the flows of these replays.
        self._named, self._held = Named(), ""
        self._replayed: tuple[archiving.Replays, set[str]] | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin with the oldest, and anew after a pause; where nothing is to go, not at all."""
        if not self._rules.idle:
            self._task = keep("archive", self._run)

    async def stop(self) -> None:
        """Archive no more; what is not done the next pass goes on with."""
        if self._task is not None:
            await end_tasks([self._task])

    async def _run(self) -> None:
        while True:
            try:
                outcome = await self.archive()
            except (StoreFailure, ArchiveFailure) as failure:
                log.warning("nothing more is archived for now", cause=str(failure))
            except Refused as refused:
                log.warning("nothing more is archived for now", cause=refused.refusal.message)
            except Stopped:
                log.warning("nothing more is archived for now", cause="the hub stops")
            else:
                if outcome.flows or outcome.pruned.total():
                    log.info(
                        "old work was archived", flows=outcome.flows, rows=dict(outcome.pruned)
                    )
            await asyncio.sleep(self._limits.archive_look_seconds)

    async def archive(self) -> Outcome:
        """One pass. Raises StoreFailure, ArchiveFailure, Refused, Stopped: run it again."""
        outcome = self._begin()
        # What is written and could not go yet would be written once more.
        kinds = self._rules.flow_ages if await self._go_on(outcome) else ()
        for kind in kinds:
            after: str | None = ""
            while True:
                part, after = await self._write_part(kind, after, outcome)
                if part is None or not await self._let_go(part, outcome):
                    break
        await self._prune(outcome)
        return outcome

    async def look(self) -> Outcome:
        """What a pass would do, and why the rest stays; nothing changes. Raises StoreFailure."""
        outcome = self._begin()
        for kind in self._rules.flow_ages:
            after: str | None = ""
            while after is not None:
                found, after = await self._judge(kind, after, outcome)
                outcome.flows += len(found)
                self._told(f"looking at each {kind.replace('_', ' ')}", outcome.flows)
        return outcome

    def _begin(self) -> Outcome:
        """What was held when an earlier pass looked may be settled by now."""
        self._named, self._held, self._replayed = Named(), "", None
        return Outcome()

    # What an earlier pass left

    async def _go_on(self, outcome: Outcome) -> bool:
        """End what is begun; False: some of it can't go yet."""
        ended = True
        async with self._store.read() as connection:
            known = await archiving.parts(connection)
        for part in known:
            if part.state == WRITING:
                # None of its flows has gone.
                await self._take_back(part)
            elif part.state == WRITTEN:
                ended = await self._let_go(part, outcome) and ended
        return ended

    # Judging

    async def _judge(
        self, kind: str, after: str, outcome: Outcome
    ) -> tuple[list[Found], str | None]:
        """The flows among the next page of roots that may go; None: it was the last page."""
        now, most = self._clock(), self._limits.archive_page_flows
        before = now - self._rules.flow_ages[kind]
        await self._learn_held()
        async with self._store.read() as connection:
            roots = await archiving.old_roots(connection, kind, before, after, most)
            flows = await archiving.read_flows(connection, roots)
            _, held = await self._holding(connection, flows)
        found = []
        for root in roots:
            rows = flows.get(root)
            if rows is None:
                continue
            why = self._why_it_stays(kind, root, rows, held, now)
            if why:
                outcome.stays[why] += 1
            else:
                found.append(Found(root, rows))
        return found, roots[-1] if len(roots) == most else None

    def _why_it_stays(self, kind: str, root: str, rows: FlowRows, held: Held, now: int) -> str:
        try:
            names = names_of(rows, self._contract)
        except Exception as error:
            # One flow that nobody can read must not keep all others here.
            log.error("a flow can't be read, and stays", flow=root, exc_info=error)
            return settling.UNREADABLE
        return settling.why_it_stays(kind, rows, names, held, self._rules, now)

    async def _learn_held(self) -> None:
        """Look at what is held that was not looked at yet, a few payloads at a time, beside the
        hub's loop. Raises ArchiveFailure when it is more than can be kept in mind."""
        more = True
        while more:
            async with self._store.read() as connection:
                facts, more = await archiving.held_facts(
                    connection, self._held, _HELD_FACTS, _HELD_BYTES
                )
            if facts:
                await asyncio.to_thread(self._named.add, facts, self._contract)
                self._held = facts[-1].id
            if len(self._named) > NAMED_MAX:
                raise ArchiveFailure(
                    "what is held names more than can be compared with; drive or discard held "
                    "facts and payloads, nothing was deleted"
                )

    async def _holding(self, connection: Any, flows: archiving.Flows) -> tuple[Moment, Held]:
        """What holds these flows, as far as it is known."""
        replays = await archiving.replays_under_way(connection)
        if self._replayed is None or self._replayed[0] != replays:
            self._replayed = replays, await archiving.replayed_roots(connection)
        made_by = archiving.replays_of(flows)
        telling = await archiving.replays_with_items(connection, made_by)
        carriers = await archiving.open_carriers(connection, archiving.deliveries_of(flows))
        newest = await archiving.newest_event(connection)
        held = Held(self._named, self._replayed[1], telling, carriers, newest)
        return Moment(self._held, replays), held

    # Writing

    async def _write_part(
        self, kind: str, after: str | None, outcome: Outcome
    ) -> tuple[ArchivePart | None, str | None]:
        """The next part of a kind, noted as WRITTEN; None: there is nothing to write."""
        writer: parts.PartWriter | None = None
        part: ArchivePart | None = None
        ages: list[int] = []
        try:
            while after is not None and not self._is_full(writer):
                found, after = await self._judge(kind, after, outcome)
                for flow in found:
                    lines = await asyncio.to_thread(self._lines_of, flow, outcome)
                    if not lines:
                        continue
                    if part is None or writer is None:
                        part = await self._new_part()
                        writer = parts.PartWriter(self._directory, part.name)
                    await asyncio.to_thread(writer.add, lines)
                    ages.append(settling.last_touched(flow.rows))
                    self._told("writing", outcome.flows + writer.flows)
                    # Others are asked first: this is never in a hurry.
                    await asyncio.sleep(self._limits.archive_pause_seconds)
            if part is None or writer is None:
                return None, after
            manifest = self._manifest(kind, part, ages)
            written = await asyncio.to_thread(writer.finish, manifest)
        except BaseException:
            if writer is not None:
                writer.abandon()
            raise
        part = replace(
            part, state=WRITTEN, flows=written.flows, bytes=written.bytes, sha256=written.sha256
        )
        await self._note(part)
        return part, after

    def _lines_of(self, flow: Found, outcome: Outcome) -> bytes:
        """A flow as lines; nothing for one that can't be told, which stays."""
        try:
            return lines_of(flow.rows, self._contract)
        except Exception as error:
            log.error("a flow can't be told, and stays", flow=flow.root_id, exc_info=error)
            outcome.stays[settling.UNREADABLE] += 1
            return b""

    def _is_full(self, writer: parts.PartWriter | None) -> bool:
        return writer is not None and (
            writer.flows >= self._limits.archive_part_flows
            or writer.content_bytes >= self._limits.archive_part_bytes
        )

    async def _new_part(self) -> ArchivePart:
        async with self._store.read() as connection:
            known = await archiving.parts(connection)
            whose = await tie(connection)
        number = max((part.number for part in known), default=0) + 1
        # Ids of databases begin with the time they were made: their end tells them apart.
        database = "" if whose is None else f"{whose.database.replace('-', '')[-8:]}-"
        # A back-up that is put back counts anew, and no part is ever written over another.
        stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%S}"
        part = ArchivePart(number, f"{database}{number:06d}-{stamp}", WRITING, self._clock())
        await self._note(part)
        return part

    def _manifest(self, kind: str, part: ArchivePart, ages: Sequence[int]) -> Mapping[str, Any]:
        return {
            "part": part.name,
            "kind": kind,
            "written_at": _instant(part.created_at),
            "hub_version": crossdock.__version__,
            "contract_version": crossdock.__version__,
            "last_changed_from": _instant(min(ages)),
            "last_changed_to": _instant(max(ages)),
        }

    # Letting go

    async def _let_go(self, part: ArchivePart, outcome: Outcome) -> bool:
        """Delete what stands in a part that is noted as WRITTEN, as far as it still may go.

        False: what holds flows changes too often to say which may; the next pass tries again.
        """
        await asyncio.to_thread(parts.check, self._directory, part.name, part.sha256)
        path = parts.data_path(self._directory, part.name)
        flows = await asyncio.to_thread(parts.flows_in, path)
        waiting, size = list(flows), 1
        while waiting:
            some, waiting = waiting[:size], waiting[size:]
            slice_ = await self._let_some_go(part, some)
            if slice_.outdated:
                log.warning("flows stay for now, what holds them changes always", part=part.name)
                return False
            outcome.longest_slice_seconds = max(outcome.longest_slice_seconds, slice_.seconds)
            size = self._next_size(size, slice_.seconds)
            self._told("deleting", outcome.flows + len(flows) - len(waiting))
            await asyncio.sleep(self._limits.archive_pause_seconds)
        async with self._store.read() as connection:
            stayed = await archiving.still_there(connection, [flow.root_id for flow in flows])
        gone = len(flows) - len(stayed)
        if not gone:
            log.warning("nothing of a part could go, its file is set aside", part=part.name)
            await self._take_back(part)
            return True
        await self._note(replace(part, state=DONE, flows_gone=gone, ended_at=self._clock()))
        self._counted(gone)
        outcome.flows += gone
        outcome.parts.append(part.name)
        outcome.bytes += part.bytes
        log.info("flows were archived", part=part.name, flows=gone, stayed=len(stayed))
        return True

    async def _take_back(self, part: ArchivePart) -> None:
        """Forget a part of which no flow has gone, and set its file aside."""
        if part.state != WRITING:
            # Before its file goes, or a pass that ends here would miss it for ever.
            await self._note(replace(part, state=WRITING))
        await asyncio.to_thread(parts.remove, self._directory, part.name)
        await self._prune_all("part", 0, part.number)

    def _next_size(self, size: int, seconds: float) -> int:
        """How many flows hold the writer for as long as it may be held."""
        fitting = size * self._limits.archive_hold_seconds / max(seconds, 0.0001)
        return max(1, min(int(fitting), size * 2, self._limits.archive_slice_flows_max))

    async def _let_some_go(self, part: ArchivePart, some: Sequence[WrittenFlow]) -> LettingGo:
        """One slice; those that something holds by now stay."""
        for _ in range(_JUDGED_MAX):
            await self._learn_held()
            async with self._store.read() as connection:
                moment, held = await self._holding(connection, {})
            free = [
                flow
                for flow in some
                if not held.named.has_any(flow.ids) and flow.root_id not in held.replayed
            ]
            going = LettingGo(part.number, free, moment, self._contract)
            if not free:
                return going
            # About as many rows as it is known by ids.
            weight = sum(len(flow.ids) for flow in free)
            await self._submit(partial(_let_go, going), weight)
            if not going.outdated:
                return going
        return going

    # What goes by its age

    async def _prune(self, outcome: Outcome) -> None:
        now = self._clock()
        for kind, age in self._rules.prune_ages.items():
            outcome.pruned[kind] += await self._prune_all(kind, now - age)
        async with self._store.read() as connection:
            known = await archiving.parts(connection)
        for part in known:
            if part.ended_at is not None and part.ended_at + self._rules.ids_age <= now:
                outcome.pruned[settling.IDS] += await self._prune_all("ids", now, part.number)
                await self._prune_all("answers", now, part.number)
                await self._prune_all("part", now, part.number)

    async def _prune_all(self, kind: str, before: int, part: int = 0) -> int:
        gone, most = 0, self._limits.archive_prune_rows
        while True:
            pruning = Pruning(kind, before, most, part)
            await self._submit(partial(_prune, pruning), most)
            gone += pruning.count
            if not pruning.more:
                return gone
            await asyncio.sleep(self._limits.archive_pause_seconds)

    # Committing

    async def _note(self, part: ArchivePart) -> None:
        key = ("archive_part", part.number)
        await self._submit(lambda unit: unit.put(key, part), 1)

    async def _submit(self, decide: Callable[[Unit], None], weight: int) -> None:
        answer = asyncio.get_running_loop().create_future()
        await self._committer.submit(
            Command(ARCHIVE, HUB, decide, answer, bulk=True, weight=weight)
        )


def _let_go(going: LettingGo, unit: Unit) -> None:
    unit.changes.archived.append(going)


def _prune(pruning: Pruning, unit: Unit) -> None:
    unit.changes.pruned.append(pruning)


def _instant(microseconds: int) -> str:
    return datetime.fromtimestamp(microseconds // SECOND, UTC).isoformat()
