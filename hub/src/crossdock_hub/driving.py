"""Drives held facts again, in the order they came, when what they await has arrived."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import Final

import structlog
from crossdock.ending import end_tasks
from google.protobuf.message import Message

from crossdock_hub.commands import Command
from crossdock_hub.committer import Committed, Committer, Stopped
from crossdock_hub.config import Limits
from crossdock_hub.identity import HUB, Caller
from crossdock_hub.keeping import keep
from crossdock_hub.objects import held
from crossdock_hub.objects.flows_named import flow_named
from crossdock_hub.objects.mappings import ARRIVED, unmapped_of, waiting_for
from crossdock_hub.objects.received_units import waiting_for_units
from crossdock_hub.records import HeldFactRecord
from crossdock_hub.refusals import fault
from crossdock_hub.stepping import Steps
from crossdock_hub.store import Store, StoreFailure
from crossdock_hub.store.writing import awaited, awaited_page
from crossdock_hub.unit import Key, NotLoaded, NotYet, Refused, Unit
from crossdock_hub.verbs.master_data import held_decision

log = structlog.get_logger("crossdock.held")

# Among what has arrived: anything may have.
EVERYTHING: Final = ()
NEXT_PAGE: Final = ("",)
# Raw payloads wait for these, which no commit brings: their adapter asks for them.
_NOT_DRIVEN: Final = (f"{held.TRANSLATION}:", f"{held.RETRANSLATION}:")


def drive_all(unit: Unit, awaited_keys: Sequence[str], limits: Limits) -> Steps[list[str]]:
    """Decide again the facts held for these, in the order they came; each in a unit of its own,
    and a step. Of many keys it takes the oldest few facts of each.

    Returns for which of them more wait than one drive takes, and some no longer wait. Behind the
    first fact that this drive has no room for none is decided, or it would be overtaken. What all
    still need to read is asked for at once: fact by fact, many would need more rounds than a batch
    has.
    """
    share = limits.held_look_facts_max // max(1, len(awaited_keys))
    most = max(1, min(limits.held_drive_max, share))
    unit.require(("held", each) for each in awaited_keys)
    waiting: dict[str, Sequence[str]] = {each: unit.get(("held", each)) for each in awaited_keys}
    no_room = min((ids[most] for ids in waiting.values() if len(ids) > most), default=None)
    now = {
        awaits: [fact for fact in ids[:most] if no_room is None or fact < no_room]
        for awaits, ids in waiting.items()
    }
    in_order = sorted({fact for ids in now.values() for fact in ids})
    unit.require(("held_fact", fact) for fact in in_order)
    missing: set[Key] = set()
    for fact in in_order:
        record: HeldFactRecord | None = unit.get(("held_fact", fact))
        if record is not None and record.state == "HELD":
            try:
                drive_one(unit, record)
            except NotLoaded as needed:
                missing |= needed.keys
        yield
    if missing:
        raise NotLoaded(missing)
    return [
        awaits
        for awaits, ids in waiting.items()
        if len(ids) > len(now[awaits]) and _goes_on(unit, awaits, now[awaits], most)
    ]


def _goes_on(unit: Unit, awaits: str, tried: Sequence[str], most: int) -> bool:
    """Whether what is behind these is worth a look: where as many as one drive takes wait for the
    same thing still, it has not come, and so they do not hold up those that wait for others."""
    return sum(_still_waits(unit, fact, awaits) for fact in tried) < most


def _still_waits(unit: Unit, fact: str, awaits: str) -> bool:
    record: HeldFactRecord | None = unit.get(("held_fact", fact))
    return record is not None and record.state == "HELD" and record.awaits == awaits


def drive_one(unit: Unit, record: HeldFactRecord) -> None:
    """Decide one held fact again: written, still held, or left to a person with the refusal. One
    that waits as before is not stored anew, payload and all.

    Raw payloads are their adapter's to translate: it is asked, once one of the codes has a row.
    """
    if not record.method:
        unmapped = unmapped_of(record.awaits)
        if unmapped is not None:
            has_row = held.rows_revision(unit, unmapped) > 0
            _keep(unit, record, held.asked_again(record) if has_row else record)
        return
    found = held_decision(unit.contract, record.method)
    if found is None:
        return
    request_type, decide = found
    request = request_type.FromString(record.payload)
    work = unit.nested(causation_id=record.request_id)
    work.traceparent = record.traceparent
    work.arrived_as = record.id
    endpoint = unit.endpoint(record.endpoint)
    if endpoint is not None:
        work.caller = Caller(endpoint.id, endpoint.role, endpoint.scope)
    try:
        decide(work, request)
    except NotYet as why:
        _wait(unit, record, request, why)
        return
    except Refused as refused:
        # It fits no longer, or never will: a person has to look, nothing drives it by itself.
        _wait(unit, record, request, NotYet(refused.refusal, ""))
        return
    except NotLoaded:
        raise
    except Exception as error:
        # A fault of ours must not hold up the facts behind this one; a person looks at it.
        _wait(unit, record, request, NotYet(fault(record.method, error), ""))
        return
    unit.absorb(work)
    flow = next(iter(work.changes.flows()), "")
    unit.put(("held_fact", record.id), held.applied(record, unit.now, flow))
    unit.count("driven", record.endpoint)


def _wait(unit: Unit, record: HeldFactRecord, request: Message, why: NotYet) -> None:
    _keep(unit, record, held.still_held(record, why, flow_named(unit, request)))


def _keep(unit: Unit, before: HeldFactRecord, after: HeldFactRecord) -> None:
    """Store what a fact waits for now, where that is something else than before."""
    if _said(after) != _said(before):
        unit.put(("held_fact", before.id), after)
    elif after.awaits:
        # It says so again, or nobody would hear when that comes.
        unit.changes.still_awaited.append(after.awaits)


def _said(record: HeldFactRecord) -> tuple[str, bytes, str]:
    return record.awaits, record.refusal, record.root_id


class Driver:
    """Follows commits for what held facts wait for."""

    def __init__(self, store: Store, committer: Committer, limits: Limits) -> None:
        self._store = store
        self._committer = committer
        self._limits = limits
        self._awaited: set[str] = set()
        # What is waited for and came at once: its facts are decided in the order they came.
        self._arrived: asyncio.Queue[Sequence[str]] = asyncio.Queue()
        # Where the last page ended that was looked through, and whether one is asked for.
        self._page_end = ""
        self._page_due = False
        self._task: asyncio.Task[None] | None = None

    def committed(self, batch: Committed) -> None:
        """A batch is durable: note what is waited for, and what has come."""
        self.heard(
            {
                record.awaits
                for key, record in batch.changes.records.items()
                if key[0] == "held_fact" and record.state == "HELD" and record.awaits
            }.union(batch.changes.still_awaited),
            batch.changes.satisfied,
        )

    def heard(self, awaited: Collection[str], satisfied: Collection[str]) -> None:
        """Note what facts are held for, and what has come, whichever hub has committed it."""
        self._awaited.update(awaited)
        for awaits in satisfied:
            if awaits in self._awaited:
                self._arrived.put_nowait([awaits])
        rows = frozenset(each for each in satisfied if each.startswith(ARRIVED))
        by_code = waiting_for(self._awaited, rows) if rows else []
        for together in (by_code, waiting_for_units(self._awaited, satisfied)):
            if together:
                self._arrived.put_nowait(together)

    def start(self) -> None:
        """Begin, with what an earlier run held."""
        self._task = keep("held facts", self._run)

    async def stop(self) -> None:
        """Drive no more."""
        if self._task is not None:
            await end_tasks([self._task])

    async def _run(self) -> None:
        await self._sweep()
        while True:
            arrived = await self._arrived.get()
            if arrived == EVERYTHING:
                await self._sweep()
            elif arrived == NEXT_PAGE:
                await self._look_through_page()
            else:
                await self._drive_in_parts(arrived)

    def sweep(self) -> None:
        """Look soon through all that is held: more has come than could be told."""
        self._arrived.put_nowait(EVERYTHING)

    def look_through_page(self) -> None:
        """Look soon through the next page of what is waited for: one hub may have held a fact while
        another one committed what it waits for, or what that told was lost."""
        if not self._page_due:
            self._page_due = True
            self._arrived.put_nowait(NEXT_PAGE)

    async def _look_through_page(self) -> None:
        self._page_due = False
        most = self._limits.held_page
        try:
            async with self._store.read() as connection:
                found = await awaited_page(connection, self._page_end, most)
        except StoreFailure as failure:
            log.warning("a page of held facts waits", cause=failure.cause)
            return
        # Behind the last one it begins again with the first.
        self._page_end = found[-1] if len(found) == most else ""
        driven = [each for each in found if not each.startswith(_NOT_DRIVEN)]
        self._awaited.update(driven)
        await self._drive_in_parts(driven)

    async def _sweep(self) -> None:
        """At start: what was held may have arrived just before the hub went."""
        while True:
            try:
                async with self._store.read() as connection:
                    found = await awaited(connection)
                break
            except StoreFailure as failure:
                log.warning("held facts wait, the store does not answer", cause=failure.cause)
                await asyncio.sleep(self._limits.held_sweep_seconds)
        self._awaited |= found
        await self._drive_in_parts(sorted(found))

    async def _drive_in_parts(self, awaited_keys: Sequence[str]) -> None:
        most = self._limits.held_sweep_keys_max
        for start in range(0, len(awaited_keys), most):
            await self._drive(awaited_keys[start : start + most])

    async def _drive(self, awaited_keys: Sequence[str]) -> None:
        while awaited_keys:
            # Whoever still waits for it says so when this commits.
            self._awaited.difference_update(awaited_keys)
            awaited_keys = await self._drive_some(awaited_keys)

    async def _drive_some(self, awaited_keys: Sequence[str]) -> Sequence[str]:
        """Drive as many as one batch takes. For which of them more wait."""
        command = Command(
            "held facts",
            HUB,
            lambda unit: drive_all(unit, awaited_keys, self._limits),
            asyncio.get_running_loop().create_future(),
            keys=frozenset(("held", awaits) for awaits in awaited_keys),
            weight=len(awaited_keys),
            bulk=True,
        )
        try:
            more: Sequence[str] = await self._committer.submit(command)
        except Stopped:
            log.warning("held facts were not driven, the hub stops", awaits=awaited_keys[0])
        except Refused as error:
            log.warning(
                "held facts could not be driven yet", awaits=awaited_keys[0], cause=str(error)
            )
            self._awaited.update(awaited_keys)
            loop, later = asyncio.get_running_loop(), self._limits.held_sweep_seconds
            loop.call_later(later, self._arrived.put_nowait, awaited_keys)
        else:
            return more
        return ()
