"""Pulls master data into the hub: one table after another, page by page, nothing lost on the way.

A page counts as read once the hub answered for each of its rows, and only then the cursor moves.
A row that cannot be translated, or that the hub will never take, is held raw and passes no other. A
held row may be older than what the hub has by now: its record is read anew.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from crossdock.customer.v1 import customer_service_pb2
from crossdock.errors import InvalidRequestError
from crossdock.item.v1 import item_service_pb2
from crossdock.location.v1 import location_service_pb2
from crossdock.unit.v1 import unit_service_pb2

from crossdock_adapters.netsuite import master_data_sweep, translate_master_data
from crossdock_adapters.netsuite.client import NetSuiteClient
from crossdock_adapters.netsuite.master_data_sweep import Cursor, Sweep
from crossdock_adapters.netsuite.translate_master_data import Entry, MasterDataRules, Row
from crossdock_adapters.sdk import vendor_json
from crossdock_adapters.sdk.mappings import Mappings
from crossdock_adapters.sdk.places import Unreadable
from crossdock_adapters.sdk.settings import Settings
from crossdock_adapters.sdk.work import HeldPayload, Poll

MAX_PAGES_PER_TABLE = 200
MAX_PAGE = 500
# Which table a held row is of; no column is called so.
TABLE_OF = "table"

Translate = Callable[[Row, MasterDataRules], Entry | None]
Send = Callable[[Any, Sequence[Entry]], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Table:
    """One SuiteQL table and what its rows become."""

    kind: str
    name: str
    columns_setting: str
    translate: Translate
    send: Send
    id_column: str = "id"
    date_column: str = "lastmodifieddate"


async def pull(poll: Poll, vendor: NetSuiteClient, mappings: Mappings) -> None:
    """One run: finishes or begins a sweep of each table."""
    cursor = master_data_sweep.decode(poll.cursor)
    for table in TABLES:
        cursor = await _sweep(poll, vendor, table, cursor, mappings)


async def read_anew(
    poll: Poll, held: HeldPayload, vendor: NetSuiteClient, mappings: Mappings
) -> None:
    """Tell the record of a held row as it is now; one that is gone has nothing to tell."""
    try:
        kept = vendor_json.loads(held.payload)
    except (ValueError, RecursionError):
        # One too large to be kept whole.
        kept = None
    row_id = str(kept.get("id", "")) if isinstance(kept, dict) else ""
    table = next((each for each in TABLES if row_id and each.kind == kept.get(TABLE_OF)), None)
    if table is None or not row_id.isdigit():
        await poll.hold(held.payload, "the row does not say which record it is of: save that again")
        return
    only = Sweep("", datetime.now(UTC), int(row_id) - 1)
    async with vendor.telling:
        rows, columns = await _read(poll.settings, vendor, table, only, 1)
        rows = [row for row in rows if row["id"] == row_id]
        await _store(poll, table, rows, columns, mappings)


async def _sweep(
    poll: Poll, vendor: NetSuiteClient, table: Table, cursor: Cursor, mappings: Mappings
) -> Cursor:
    settings = poll.settings
    zone = ZoneInfo(settings.text("account_time_zone"))
    overlap = settings.seconds("master_data_overlap_seconds")
    page_rows = max(1, min(settings.integer("master_data_page"), MAX_PAGE))
    sweep = master_data_sweep.begin(cursor.position(table.kind), datetime.now(UTC), overlap, zone)
    for _ in range(MAX_PAGES_PER_TABLE):
        async with vendor.telling:
            rows, columns = await _read(settings, vendor, table, sweep, page_rows)
            await poll.catch_up()
            await _store(poll, table, rows, columns, mappings)
        complete = len(rows) < page_rows
        last_id = max((int(row["id"]) for row in rows), default=sweep.last_id)
        position = master_data_sweep.after_page(
            cursor.position(table.kind), sweep, last_id, complete
        )
        cursor = cursor.moved(table.kind, position)
        await poll.advance(cursor.encode())
        if position.sweep is None:
            break
        sweep = position.sweep
    return cursor


async def _read(
    settings: Settings, vendor: NetSuiteClient, table: Table, sweep: Sweep, page_rows: int
) -> tuple[list[dict[str, str]], Mapping[str, str]]:
    """One page of a table, and the columns that it has."""
    columns = settings.mapping(table.columns_setting)
    query = master_data_sweep.statement(
        table.name, columns, sweep, id_column=table.id_column, date_column=table.date_column
    )
    rows = await vendor.query(query, limit=page_rows)
    if table.kind == "location":
        rows = await _with_addresses(vendor, rows, settings.mapping("address_columns"))
        columns = {**columns, **settings.mapping("address_columns")}
    return rows, columns


async def _with_addresses(
    vendor: NetSuiteClient, rows: list[dict[str, str]], columns: Mapping[str, str]
) -> list[dict[str, str]]:
    """Locations keep their address in a table of its own, reached by key."""
    keys = sorted({row["address"] for row in rows if row.get("address", "").isdigit()}, key=int)
    if not keys or not columns:
        return rows
    selected = ", ".join(f"{column} AS {name}" for name, column in columns.items() if column)
    found = await vendor.query(
        f"SELECT nkey AS address, {selected} FROM locationmainaddress"
        f" WHERE nkey IN ({', '.join(keys)}) ORDER BY nkey",
        limit=MAX_PAGE,
    )
    by_key = {address["address"]: address for address in found}
    return [{**by_key.get(row.get("address", ""), {}), **row} for row in rows]


async def _store(
    poll: Poll,
    table: Table,
    rows: Sequence[Row],
    columns: Mapping[str, str],
    mappings: Mappings,
) -> None:
    rules = master_data_rules(poll.endpoint, poll.settings, mappings)
    named = [name for name, column in columns.items() if column]
    ready: list[tuple[Entry, Row]] = []
    for row in rows:
        try:
            entry = table.translate(row, rules)
            if entry is not None:
                entry = translate_master_data.complete(entry, table.kind, row, named, rules)
                ready.append((entry, row))
        except Unreadable as problem:
            await _hold(poll, table, row, str(problem), problem)
    if ready:
        await _send(poll, table, ready)


async def _send(poll: Poll, table: Table, ready: Sequence[tuple[Entry, Row]]) -> None:
    """Send a batch; where the hub refuses it whole, halve it until the culprit stands alone."""
    try:
        answer = await table.send(poll.hub, [entry for entry, _ in ready])
    except InvalidRequestError as error:
        if len(ready) == 1:
            await _hold(poll, table, ready[0][1], str(error))
            return
        half = len(ready) // 2
        await _send(poll, table, ready[:half])
        await _send(poll, table, ready[half:])
        return
    for (_, row), result in zip(ready, answer.results, strict=True):
        if result.HasField("refusal") and not result.held_fact_id:
            await _hold(poll, table, row, result.refusal.message)


async def _hold(
    poll: Poll, table: Table, row: Row, reason: str, cause: Unreadable | None = None
) -> None:
    key = f"{table.kind}/{row.get('id', '')}/{row.get('modified', '')}"
    kept = {TABLE_OF: table.kind, **row}
    await poll.hold(vendor_json.dumps(kept), f"{table.kind}: {reason}", key=key, cause=cause)


def master_data_rules(endpoint: str, settings: Settings, mappings: Mappings) -> MasterDataRules:
    """What the deployment decided about master data."""
    return MasterDataRules(
        endpoint=endpoint,
        mappings=mappings,
        units=settings.mapping("units"),
        length_unit=settings.text("length_unit"),
        currency=settings.text("base_currency"),
        base_units=settings.mapping("common_units_types"),
    )


async def _send_locations(hub: Any, entries: Sequence[Entry]) -> Any:
    request = location_service_pb2.UpsertLocationsRequest(entries=entries)  # type: ignore[arg-type]
    return await hub.locations.UpsertLocations(request)


async def _send_customers(hub: Any, entries: Sequence[Entry]) -> Any:
    request = customer_service_pb2.UpsertCustomersRequest(entries=entries)  # type: ignore[arg-type]
    return await hub.customers.UpsertCustomers(request)


async def _send_units(hub: Any, entries: Sequence[Entry]) -> Any:
    request = unit_service_pb2.UpsertUnitConversionsRequest(entries=entries)  # type: ignore[arg-type]
    return await hub.units.UpsertUnitConversions(request)


async def _send_items(hub: Any, entries: Sequence[Entry]) -> Any:
    request = item_service_pb2.UpsertItemsRequest(entries=entries)  # type: ignore[arg-type]
    return await hub.items.UpsertItems(request)


# Orders name all of these, items last because there are the most of them.
TABLES = (
    Table(
        "location",
        "location",
        "location_columns",
        translate_master_data.location_entry,
        _send_locations,
    ),
    Table(
        "customer",
        "customer",
        "customer_columns",
        translate_master_data.customer_entry,
        _send_customers,
    ),
    Table(
        "unit_conversion",
        "unitstypeuom",
        "unit_columns",
        translate_master_data.unit_entry,
        _send_units,
        id_column="internalid",
        date_column="",
    ),
    Table("item", "item", "item_columns", translate_master_data.item_entry, _send_items),
)
