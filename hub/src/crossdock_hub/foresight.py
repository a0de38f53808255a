"""What a report of many scans comes to, decided before its batch on what was stored a moment ago.

A report's own transaction keeps every caller from the writer, and half of it is reading and
deciding. So while somebody calls, a report is read and decided beside the callers' batches, and its
own only has to write. That counts if nothing of what it read has changed since; else the batch
decides anew, as it does without any of this. What was read need not be of one moment: whatever is
committed after the first of it was read is looked at.

On SQLite only, where this hub's committer is the only writer there is and knows each change. Where
others write, rows are locked as they are read, and that is in the transaction.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

import structlog

from crossdock_hub.authority import Authority
from crossdock_hub.commands import Command
from crossdock_hub.config import Limits
from crossdock_hub.known_by_heart import KnownByHeart
from crossdock_hub.lanes import Lanes
from crossdock_hub.records import DeliveryRecord, EndpointRecord
from crossdock_hub.stepping import in_turns, is_steps
from crossdock_hub.store import Store, StoreFailure
from crossdock_hub.store.loading import Loader
from crossdock_hub.unit import Changes, Identifiers, Key, NotLoaded, NotYet, Refused, Unit, View

log = structlog.get_logger("crossdock.foresight")

# Lets others have their turn, callers above all.
Rest = Callable[[], Awaitable[None]]
# Does what rests; see `door.turns`.
BesideCallers = Callable[[Callable[[Rest], Awaitable[None]]], Awaitable[None]]
# Below it a report's transaction is hardly longer than a caller's.
LEAST_WEIGHT: Final = 64
# Kinds of keys that are one row each, which changes under its own key.
_ROWS: Final = frozenset(("request", "object", "parcel", "scan", "delivery", "mapping"))
# Kinds of keys that are all rows of a root, and where in the key its id is.
_OF_ROOT: Final = {"children": 2, "flow": 1}
# What every view is told; a change of it spoils what was foreseen.
_TOLD: Final = frozenset(("endpoints", "mapping_version"))
# What a fact says that waits for a parcel, before its carrier's code and its number.
_OF_PARCEL: Final = "parcel:"
_CHANGE_MUCH: Final = frozenset(("mapping", "mapping_row", "mapping_kind"))


@dataclass(slots=True, eq=False)
class Foreseen:
    """A decision of before: what it read, what it changes, its answer, and what was changed since.

    spoilt: by something that is not known row by row.
    """

    read: dict[Key, Any] = field(default_factory=dict)
    changes: Changes = field(default_factory=Changes)
    response: Any = None
    touched: set[Key] = field(default_factory=set)
    spoilt: bool = False

    @property
    def holds(self) -> bool:
        """Whether deciding now would come to the same."""
        return self.response is not None and not self.spoilt and not self._is_touched()

    def _is_touched(self) -> bool:
        return any(_watched(key) in self.touched for key in self.read)


class Foresights:
    """Those of one committer, which tells what it commits, and that a batch failed."""

    def __init__(
        self,
        store: Store,
        limits: Limits,
        lanes: Lanes,
        known: KnownByHeart,
        authority: Authority,
        identifiers: Identifiers,
        clock: Callable[[], int],
    ) -> None:
        self._store = store
        self._contract = store.contract
        self._limits = limits
        self._lanes = lanes
        self._known = known
        self._identifiers = identifiers
        self._clock = clock
        self._authority = authority
        self._open: dict[int, Foreseen] = {}

    def unit(self, command: Command, view: View, now: int) -> Unit:
        """What a command is decided on. now: microseconds UTC."""
        return Unit(
            view,
            contract=self._contract,
            caller=command.caller,
            now=now,
            identifiers=self._identifiers,
            limits=self._limits,
            traceparent=command.traceparent,
            causation_id=command.request_id,
        )

    def is_worth_it(self, command: Command) -> bool:
        """Whether callers would wait for the command, and nothing before it may change what it
        reads: what is in front of it mostly does, as another report of the same parcels."""
        # Who is about to lead writes by itself; until then nobody waits for what it sends.
        alone = self._store.dialect == "sqlite" and not self._store.shared and self._authority.leads
        calls = self._lanes.was_called_lately and not self._lanes.has_bulk
        return alone and calls and command.weight >= LEAST_WEIGHT and self._store.spares_reader

    async def answered(
        self,
        command: Command,
        beside_callers: BesideCallers,
        submit: Callable[[Command], Awaitable[Any]],
    ) -> Any:
        """What a command is answered once it is submitted, foreseen before where that helps."""
        try:
            if self.is_worth_it(command):
                await beside_callers(partial(self.foresee, command))
            return await submit(command)
        finally:
            self.let_go(command)

    async def foresee(self, command: Command, rest: Rest) -> None:
        """Decide a command that is about to be submitted. `let_go` when it is answered.

        rest: what is waited for where others may have their turn.
        """
        if not self.is_worth_it(command):
            return
        foreseen = self._open[id(command)] = Foreseen()
        try:
            await self._decide(command, foreseen, rest)
        except (Refused, NotYet, StoreFailure):
            # Its batch says so, or may know better.
            self.let_go(command)
        except Exception as error:
            # Nothing depends on it: whatever is wrong with the command, its batch says that too.
            log.warning("fault in what was foreseen", command=command.name, exc_info=error)
            self.let_go(command)
        except BaseException:
            self.let_go(command)
            raise

    async def _decide(self, command: Command, foreseen: Foreseen, rest: Rest) -> None:
        view = View()
        self._known.tell(view)
        keys, now = set(command.keys), self._clock()
        async with self._store.read() as connection:
            most = self._limits.parcel_scans_max
            loader = Loader(connection, self._contract, view, parcel_scans_max=most)
            for _ in range(self._limits.batch_rounds_max):
                await loader.load(keys)
                await rest()
                unit = self.unit(command, view, now)
                try:
                    response = command.decide(unit)
                    if is_steps(response):
                        turn_seconds = self._limits.intake_turn_seconds
                        response = await in_turns(response, turn_seconds, rest=rest)
                except NotLoaded as missing:
                    keys = set(missing.keys)
                    if not _are_watched(keys):
                        # All that is still to be read and decided would count for nothing.
                        return
                    continue
                read = {key: value for key, value in view.read.items() if key[0] not in _TOLD}
                if _are_watched(read):
                    foreseen.read, foreseen.changes = read, unit.changes
                    foreseen.response = response
                return

    def keys_of(self, batch: Iterable[Command]) -> set[Key]:
        """What a batch reads first; of what was foreseen only whether it was answered before."""
        keys: set[Key] = set()
        for command in batch:
            foreseen = self._open.get(id(command))
            known = foreseen is not None and foreseen.holds
            keys |= {("request", command.request_id)} if known else command.keys
        return keys

    def recall(self, command: Command, view: View, unit: Unit) -> Any:
        """The answer of what was foreseen, with its changes in `unit`; None: decide. Raises
        NotLoaded.

        Only once, and in front of its batch: what others of the batch have changed is not known.
        """
        foreseen = self._open.pop(id(command), None)
        if foreseen is None or not foreseen.holds or view.changes.records:
            if command.weight >= LEAST_WEIGHT:
                # Its batch may have read nothing for it, and it counts on that.
                unit.require(command.keys)
            return None
        request = ("request", command.request_id)
        view.learn({key: value for key, value in foreseen.read.items() if key != request})
        unit.changes = foreseen.changes
        return foreseen.response

    def let_go(self, command: Command) -> None:
        """Forget what was foreseen of a command."""
        self._open.pop(id(command), None)

    def committed(self, view: View, sent: Iterable[DeliveryRecord]) -> None:
        """A batch is durable. sent: deliveries that it dispatched."""
        if not self._open:
            return
        changes = view.changes
        touched = _touched(changes, sent)
        many = changes.archived or changes.pruned or changes.events_past or changes.items_past
        spoilt = bool(many) or any(
            key[0] in _CHANGE_MUCH
            or (key[0] == "endpoint" and _differs(view.read_or_none(key), record))
            for key, record in changes.records.items()
        )
        for foreseen in self._open.values():
            foreseen.touched |= touched
            foreseen.spoilt = foreseen.spoilt or spoilt

    def spoil(self) -> None:
        """Something may have changed, and nobody knows what: nothing that is foreseen counts."""
        for foreseen in self._open.values():
            foreseen.spoilt = True


def _watched(key: Key) -> Key | None:
    """What is touched when the value of a key changes; None: that is not known."""
    kind = str(key[0])
    if kind in _ROWS:
        return key
    return ("root", key[_OF_ROOT[kind]]) if kind in _OF_ROOT else None


def _are_watched(keys: Iterable[Key]) -> bool:
    """Whether it is known of each of these keys when its value changes."""
    return all(_watched(key) is not None for key in keys if key[0] not in _TOLD)


def _touched(changes: Changes, sent: Iterable[DeliveryRecord]) -> set[Key]:
    """All that `_watched` may name of what a batch has written."""
    touched: set[Key] = set(changes.records)
    for key, record in changes.records.items():
        if key[0] in ("object", "delivery") and record is not None:
            touched.add(("root", record.root_id))
        # Facts that wait for a parcel keep their order too.
        if key[0] == "held_fact" and record is not None and record.awaits.startswith(_OF_PARCEL):
            touched.add(("parcel", *record.awaits.removeprefix(_OF_PARCEL).split("/", 1)))
    for record in sent:
        touched |= {("delivery", record.id), ("root", record.root_id)}
    # A scan that moves nothing leaves its parcel as it is; those of a parcel keep their order.
    touched |= {("parcel", scan.carrier_code, scan.tracking_number) for scan in changes.scans}
    return touched


def _differs(before: EndpointRecord | None, after: EndpointRecord | None) -> bool:
    """Whether an endpoint is another one, and was not only heard of again."""
    if before is None or after is None:
        return True
    heard_at, progress_at = after.heartbeat_at, after.progress_at
    same = replace(before, heartbeat_at=heard_at, progress_at=progress_at, revision=after.revision)
    return same != after
