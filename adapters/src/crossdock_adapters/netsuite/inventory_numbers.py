"""What NetSuite has of lots and serial numbers: which of the two an item has, and their ids.

A fulfillment takes them by id alone. An item that has neither in NetSuite gets no inventory detail,
whatever a warehouse keeps of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from crossdock_adapters.netsuite.client import NetSuiteClient
from crossdock_adapters.netsuite.translate import Numbered, Tracked
from crossdock_adapters.sdk.outcomes import NeedsPerson, OutcomeUnknown, Untranslatable
from crossdock_adapters.sdk.settings import Settings, SettingsError

# A number may have 64 characters, and a statement has to stay within 16,384.
VALUES_PER_QUERY = 200
_TRUE = "T"
_COLUMNS = ("id", "item", "number")
_KINDS = {"lot_controlled": Numbered.LOTS, "serial_controlled": Numbered.SERIAL_NUMBERS}


def check(settings: Settings) -> None:
    """SettingsError: a column of lots and serial numbers has no name."""
    missing = set(_COLUMNS) - settings.mapping("inventory_number_columns").keys()
    if missing:
        raise SettingsError(f"inventory_number_columns: {', '.join(sorted(missing))} is missing")


async def find(
    vendor: NetSuiteClient,
    settings: Settings,
    numbers: Mapping[str, set[str]],
    items: Mapping[str, str],
) -> dict[str, Tracked]:
    """By item number, of the items that have lots or serial numbers in NetSuite.

    numbers: lots and serial numbers that left, by item number; items: internal ids by number.
    Untranslatable: an item has no id. NeedsPerson: NetSuite does not tell, or has one twice.
    """
    ids: dict[str, str] = {}
    for item_number in sorted(numbers):
        ids[item_number] = items.get(item_number, "")
        if not ids[item_number].isdigit():
            raise Untranslatable(
                f"item {item_number!r} has no NetSuite id: is it pulled from NetSuite?"
            )
    try:
        kinds = await _kinds(vendor, settings, ids.values())
        return {
            item_number: Tracked(
                kinds[item_id],
                await _ids(vendor, settings, item_number, item_id, numbers[item_number]),
            )
            for item_number, item_id in ids.items()
            if item_id in kinds
        }
    except OutcomeUnknown as refused:
        raise NeedsPerson(
            f"NetSuite does not tell its lots and serial numbers ({refused}): look at the role's "
            "permissions and the settings item_columns, inventory_number_table and "
            "inventory_number_columns"
        ) from refused


async def _kinds(
    vendor: NetSuiteClient, settings: Settings, item_ids: Iterable[str]
) -> dict[str, Numbered]:
    """Whether an item has lots or serial numbers, by internal id; without those that have none."""
    columns = settings.mapping("item_columns")
    asked = {name: columns[name] for name in _KINDS if columns.get(name)}
    selected = ", ".join(["id AS id", *(f"{column} AS {name}" for name, column in asked.items())])
    found: dict[str, Numbered] = {}
    for part in _parts(item_ids if asked else ()):
        query = f"SELECT {selected} FROM item WHERE id IN ({', '.join(part)}) ORDER BY id"
        for row in await vendor.query(query, limit=len(part)):
            for name in asked:
                if row.get(name) == _TRUE:
                    found[row["id"]] = _KINDS[name]
    return found


async def _ids(
    vendor: NetSuiteClient,
    settings: Settings,
    item_number: str,
    item_id: str,
    numbers: Iterable[str],
) -> dict[str, str]:
    columns = settings.mapping("inventory_number_columns")
    found: dict[str, str] = {}
    for part in _parts(numbers):
        quoted = ", ".join("'" + number.replace("'", "''") + "'" for number in part)
        query = (
            f"SELECT {columns['id']} AS id, {columns['number']} AS number"
            f" FROM {settings.text('inventory_number_table')}"
            f" WHERE {columns['item']} = {item_id} AND {columns['number']} IN ({quoted})"
            f" ORDER BY {columns['id']}"
        )
        for row in await vendor.query(query, limit=2 * len(part)):
            number = row.get("number", "")
            if number in found:
                raise NeedsPerson(
                    f"NetSuite has {number} of item {item_number} twice, as inventory numbers "
                    f"{found[number]} and {row['id']}: a person says which one left"
                )
            found[number] = row["id"]
    return found


def _parts(values: Iterable[str]) -> Iterator[Sequence[str]]:
    distinct = sorted(set(values))
    for start in range(0, len(distinct), VALUES_PER_QUERY):
        yield distinct[start : start + VALUES_PER_QUERY]
