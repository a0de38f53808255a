"""How a batch on PostgreSQL keeps others from changing what it has read.

It locks what it reads. A flow, which is an object of its own and all that belongs to it, deliveries
included, is locked by the row of its root: that also keeps others from adding to it. Other records
are locked by their own rows. Master data, which everybody refers to and few change, is locked only
when it is changed, and has to be what was read.

No batch waits for one that waits for it. A batch waits for locks with its first reads only, and
takes them in one order; what it learns later that it needs, it takes if it is free. New rows come
after all locks, and in one order too. Whoever does not get a lock, or finds that somebody has taken
a number, a reference or a request id, gives way: `Contention`. The next try asks at once for all
that was read before, and so waits in order for what was in its way.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from crossdock_hub.objects.resources import MASTER_DATA
from crossdock_hub.store import rows
from crossdock_hub.store.contention import Asked, Contention, Met
from crossdock_hub.store.crossing import Row, Shape, write_rows
from crossdock_hub.store.failures import is_row_taken
from crossdock_hub.store.straight import count_of, named_rows_of
from crossdock_hub.unit import Changes, Key, View

# Reads that lock their own rows, in the order in which they do.
LOCKED_KINDS: Final = (
    "parcel",
    "cursor",
    "endpoint",
    "held_fact",
    "mapping_row",
    "mapping_kind",
    "replay",
    "replay_item",
    "dead_letter_group",
    "difference",
)
# Rows that nobody adds to who has not locked another one, a parcel for its scans. They are read
# when that is locked: before, what others commit meanwhile would be missing.
READ_LAST: Final = frozenset({"scans_of"})
# New rows that somebody else may have added too, in the order in which they are added.
CONTESTED_KINDS: Final = ("object", "reference", "request", *LOCKED_KINDS)
# Scans have no records by key: all of them are new.
SCANS: Final[Key] = ("scans",)

_OF_OBJECTS: Final = frozenset({"object", "number", "children", "subject"})
_OF_FLOWS: Final = frozenset({"flow", "delivery"})
_NOWAIT: Final = " NOWAIT"

# By ids of objects, by kinds and numbers, by ids of deliveries, and by the roots themselves. Of a
# join the planner may think to read all objects, as long as it knows few of them.
_LOCK_FLOWS: Final = """
WITH wanted AS MATERIALIZED (
    SELECT o.root_id FROM objects AS o WHERE o.id = ANY ($1::text[])
    UNION SELECT o.root_id FROM unnest($2::text[], $3::text[]) AS n (kind, number)
        JOIN objects AS o ON o.kind = n.kind AND o.number = n.number
    UNION SELECT d.root_id FROM deliveries AS d WHERE d.id = ANY ($4::text[])
    UNION SELECT r.root_id FROM unnest($5::text[]) AS r (root_id))
SELECT o.id FROM objects AS o WHERE o.id = ANY (ARRAY(SELECT root_id FROM wanted))
ORDER BY o.id FOR UPDATE OF o"""
_LOCK_AS_READ: Final = """
SELECT o.id FROM unnest($1::text[], $2::bigint[]) AS r (id, revision)
JOIN objects AS o ON o.id = r.id AND o.revision = r.revision
ORDER BY o.id FOR UPDATE OF o SKIP LOCKED"""


class RowLocks:
    """The locks of one batch, until its transaction ends."""

    def __init__(self, connection: AsyncConnection, view: View, met: Met) -> None:
        self._connection = connection
        self._view = view
        self._met = met
        self._waits = True
        # Ids of the roots whose rows are locked, and keys of other rows.
        self._roots: set[str] = set()
        self._rows: set[Key] = set()

    async def fetch(self, asked: Sequence[Asked]) -> list[list[Row]]:
        """The rows of each query, locked. Raises Contention."""
        for kind, _, wanted, _ in asked:
            self._met.asked.update(_key(kind, each) for each in wanted)
        await self._lock_flows(asked)
        found: dict[int, list[Row]] = {}
        for place, (kind, query, wanted, by) in sorted(enumerate(asked), key=_in_lock_order):
            text = query.array_text
            if kind in LOCKED_KINDS:
                text, by = self._taking(query.locking_text), sorted(by)
                self._rows.update(_key(kind, each) for each in wanted)
            found[place] = await self._rows_of(text, query.arrays(by))
            self._check(kind, found[place])
        # Whatever is needed later is taken without waiting for it.
        self._waits = self._waits and not (self._roots or self._rows)
        return [found[place] for place in range(len(asked))]

    async def _lock_flows(self, asked: Sequence[Asked]) -> None:
        objects: list[str] = []
        numbers: list[tuple[str, str]] = []
        deliveries: list[str] = []
        roots: list[str] = []
        for kind, _, wanted, _ in asked:
            if kind == "object":
                objects += [each[1] for each in wanted if self._is_locked_when_read(each)]
            elif kind == "number":
                numbers += [each for each in wanted if each[0] not in MASTER_DATA]
            elif kind in ("delivery", "subject", "attempts", "dead_letters_of"):
                deliveries += wanted
            elif kind == "attempt":
                deliveries += [each[0] for each in wanted]
            elif kind in ("children", "flow"):
                roots += wanted if kind == "flow" else [each[1] for each in wanted]
        if not (objects or numbers or deliveries or roots):
            return
        kinds, names = [kind for kind, _ in numbers], [name for _, name in numbers]
        values = (objects, kinds, names, deliveries, roots)
        locked = await self._rows_of(self._taking(_LOCK_FLOWS), values)
        self._roots.update(row["id"] for row in locked)

    def _taking(self, text: str) -> str:
        """A statement that locks, as it is sent now."""
        return text if self._waits else f"{text}{_NOWAIT}"

    def _is_locked_when_read(self, kind_and_id: tuple[str, str]) -> bool:
        kind, object_id = kind_and_id
        return kind not in MASTER_DATA or ("object", kind, object_id) in self._met.exclusive

    async def _rows_of(self, text: str, values: tuple[Any, ...]) -> list[Row]:
        try:
            return await named_rows_of(self._connection, text, values)
        except DBAPIError as error:
            # Whoever waited in vain for as long as anybody may wait does not begin anew.
            if text.endswith(_NOWAIT) and is_row_taken(error):
                raise Contention from None
            raise

    def _check(self, kind: str, found: Sequence[Row]) -> None:
        """What was committed between the lock and the read is not locked: the next try has it."""
        of_objects = kind in _OF_OBJECTS
        if not of_objects and kind not in _OF_FLOWS:
            return
        free = {
            row["root_id"] for row in found if not (of_objects and row["kind"] in MASTER_DATA)
        } - self._roots
        # Asked for from the beginning and still not locked: there is no such object.
        missed = {("flow", root_id) for root_id in free} - self._met.asked
        if missed:
            raise Contention(missed)

    async def settle(self, changes: Changes) -> None:
        """Lock what was read without a lock and is changed now. Raises Contention."""
        as_read: dict[str, Key] = {}
        revisions: list[int] = []
        for key in changes.records:
            kind = key[0]
            before = self._view.read_or_none(key)
            if before is None:
                continue
            if kind in LOCKED_KINDS and key not in self._rows:
                raise Contention([key])
            if kind == "object" and before.kind in MASTER_DATA and before.id not in self._roots:
                as_read[before.id] = key
                revisions.append(before.revision)
        if as_read:
            values = (list(as_read), revisions)
            locked = {row["id"] for row in await self._rows_of(_LOCK_AS_READ, values)}
            if len(locked) < len(as_read):
                raise Contention(key for each, key in as_read.items() if each not in locked)

    async def add(self, changes: Changes, shapes: Mapping[str, Shape]) -> Collection[Key]:
        """Insert what was not there when it was read. Raises Contention when it is by now."""
        new: dict[str, list[Key]] = defaultdict(list)
        for key, record in changes.records.items():
            kind = str(key[0])
            contested = kind in CONTESTED_KINDS and record is not None
            if contested and self._view.read_or_none(key) is None:
                new[kind].append(key)
        changed = await self._change_held(changes, shapes["held_fact"]) if new["held_fact"] else []
        for kind in CONTESTED_KINDS:
            if new[kind]:
                pairs = sorted((_order(key, changes.records[key]), key) for key in new[kind])
                records = [changes.records[key] for _, key in pairs]
                await self._insert(shapes[kind], records, new[kind])
        scans = sorted(changes.scans, key=lambda scan: scan.dedupe_key)
        if scans:
            await self._insert(rows.SCANS, scans, [("scan", scan.dedupe_key) for scan in scans])
        return {*changed, *(key for keys in new.values() for key in keys), SCANS}

    async def _change_held(self, changes: Changes, shape: Shape) -> list[Key]:
        """Write the held facts that were there before new ones: a payload that is held again takes
        the place of one that is closed in the same batch."""
        changed = [
            key
            for key, record in changes.records.items()
            if key[0] == "held_fact" and record is not None and self._view.read_or_none(key)
        ]
        await write_rows(self._connection, [(shape, [changes.records[key] for key in changed])])
        return changed

    async def _insert(self, shape: Shape, records: Sequence[Any], keys: Sequence[Key]) -> None:
        values = shape.arrays(records)
        inserted = await count_of(self._connection, shape.adding_text, values)
        if inserted < len(records):
            raise Contention(key for key in keys if key[0] != "object")


def _in_lock_order(placed: tuple[int, Asked]) -> tuple[int, Sequence[Any]]:
    kind, by = placed[1][0], placed[1][3]
    if kind in READ_LAST:
        return (len(LOCKED_KINDS), ())
    return (LOCKED_KINDS.index(kind), sorted(by)) if kind in LOCKED_KINDS else (-1, ())


def _key(kind: str, wanted: Any) -> Key:
    return (kind, *wanted) if isinstance(wanted, tuple) else (kind, wanted)


def _order(key: Key, record: Any) -> tuple[Any, ...]:
    """Where a new row comes among those of its kind: by what it may share with another one."""
    if key[0] == "object":
        return (record.kind, record.number or "")
    return (record.identity, *key[1:]) if key[0] == "held_fact" else key[1:]
