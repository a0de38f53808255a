"""Statements that cross to the database together do what SQLAlchemy would have done."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from crossdock import contracts
from crossdock.unit.v1.unit_pb2 import UnitConversion
from crossdock_hub.records import (
    UNIT_CONVERSION,
    DeliveryRecord,
    ObjectRecord,
    ParcelRecord,
    RequestRecord,
    ScanRecord,
    VendorReferenceRecord,
)
from crossdock_hub.store import (
    Store,
    StoreFailure,
    attempt_logs,
    flow_reading,
    key_reading,
    loading,
    rows,
    writing,
)
from crossdock_hub.store import tables as t
from crossdock_hub.store.crossing import (
    IN,
    ROWS_PER_INSERT,
    VALUES_PER_STATEMENT,
    WANTED,
    Query,
    Question,
    fetch,
    fetch_all,
    write_rows,
)
from crossdock_hub.store.unit_conversions import conversions_of
from crossdock_hub.unit import View, conversions_key
from databases import KINDS, open_store
from sqlalchemy import func, insert, or_, select

CONTRACT = contracts.load()
PARCELS = Query(select(t.parcels), by=(t.parcels.c.carrier_code, t.parcels.c.tracking_number))
REQUESTS = Query(select(t.requests).where(t.requests.c.request_id.in_(IN)))


@pytest.fixture(params=KINDS)
async def store(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    """An empty database, of each kind."""
    opened = await open_store(tmp_path, request.param)
    yield opened
    await opened.close()


def parcel(number: int, *, exception_open: bool = False) -> ParcelRecord:
    return ParcelRecord(
        "UPSN",
        f"1Z{number:05}",
        "l",
        "s",
        "p",
        "o",
        number % 64,
        "IN_TRANSIT",
        None,
        exception_open,
        number,
    )


def request(number: int) -> RequestRecord:
    return RequestRecord(f"r-{number}", bytes([number % 256, 0]), "oms", "/m", b"\x00\xff", "", 7)


@pytest.mark.parametrize("count", [1, 2, 63, 64, 127, 128, 511, 512, 513, 1300])
async def test_every_row_arrives_whatever_their_number(store: Store, count: int) -> None:
    """Proves that cutting rows into a few sizes of insert loses none and doubles none."""
    assert ROWS_PER_INSERT == 512
    records = [request(number) for number in range(count)]
    async with store.write() as connection:
        await write_rows(connection, [(rows.REQUESTS, records)])
    async with store.read() as connection:
        found = (await connection.execute(select(func.count()).select_from(t.requests))).scalar()
        got = await fetch(connection, [(REQUESTS, [r.request_id for r in records])])
    assert found == count
    read = [rows.plain_record(RequestRecord)(row) for row in got[0]]
    assert sorted(read, key=lambda r: int(r.request_id[2:])) == records


async def test_rows_come_back_as_they_went(store: Store) -> None:
    """Proves that texts, bytes, nothing and truth come back with their types, by pairs of keys."""
    sent = [parcel(1), parcel(2, exception_open=True)]
    async with store.write() as connection:
        await write_rows(connection, [(rows.PARCELS, sent)])
    keys = [("UPSN", "1Z00002"), ("UPSN", "1Z00001"), ("FDXE", "1Z00001")]
    async with store.read() as connection:
        by_text: list[Any] = (await fetch(connection, [(PARCELS, keys)]))[0]
        by_core: list[Any] = list(
            (await connection.execute(PARCELS.statement, {WANTED: keys})).mappings()
        )
    by_text = sorted(by_text, key=lambda row: str(row["tracking_number"]))
    by_core = sorted(by_core, key=lambda row: str(row["tracking_number"]))
    assert [dict(row) for row in by_text] == [dict(row) for row in by_core]
    assert [type(row["exception_open"]) for row in by_text] == [bool, bool]
    assert [rows.plain_record(ParcelRecord)(row) for row in by_text] == sent


async def test_a_row_with_a_known_key_is_written_over(store: Store) -> None:
    """Proves that the newest state of a delivery replaces the one before, lists included."""
    old = DeliveryRecord(
        id="d", event_id="e", event_type="t", endpoint="erp", operation="o", item="",
        ordering_key="k", state="READY", created_at=1, updated_at=1, kind="order",
        object_id="x", root_id="x", vendor_reference="v", pending=True,
    )  # fmt: skip
    new = DeliveryRecord(
        **{name: getattr(old, name) for name in old.__slots__}
        | {"state": "CONFIRMED", "pending": False, "requires": ("a", "b")}
        | {"vendor_references": [VendorReferenceRecord("sales_order", "SO-1")]}
    )
    for record in (old, new):
        async with store.write() as connection:
            await write_rows(connection, [(rows.DELIVERIES, [record])])
    async with store.read() as connection:
        found = (await connection.execute(select(t.deliveries))).mappings().all()
    assert [rows.delivery_record(row) for row in found] == [new]


async def test_a_refused_row_refuses_its_batch_in_words(store: Store) -> None:
    """Proves that a broken constraint is a StoreFailure without the row's data, nothing half
    written, and that the store goes on."""
    with pytest.raises(StoreFailure) as raised:
        async with store.write() as connection:
            await write_rows(connection, [(rows.REQUESTS, [request(1), request(1)])])
    assert "IntegrityError" in raised.value.cause
    assert "r-1" not in raised.value.cause
    assert not raised.value.full
    async with store.write() as connection:
        await write_rows(connection, [(rows.REQUESTS, [request(1)])])
    async with store.read() as connection:
        found = (await connection.execute(select(func.count()).select_from(t.requests))).scalar()
    assert found == 1


async def test_of_a_parcel_with_many_scans_only_the_newest_are_read(store: Store) -> None:
    """Proves that a batch reads, of each parcel that it asks for, the newest scans up to the limit
    and one that says that there are older ones, of no other parcel any, and that what is stored
    beyond them never leaves the database."""
    parcels = [("UPSN", "1Z1"), ("UPSN", "1Z2"), ("FDXG", "1Z1"), ("UPSN", "1Z3")]
    scans = [
        ScanRecord(f"{of}-{n}", f"{of}-{n}".encode(), carrier, number, "s", "IN_TRANSIT", n, n, b"")
        for of, (carrier, number) in enumerate(parcels)
        for n in (6, 2, 0, 5, 1, 4, 3)[: 7 if of else 4]
    ]
    async with store.write() as connection:
        await write_rows(connection, [(rows.SCANS, scans)])
    wanted = [*parcels[:2], ("UPSN", "1Z9")]
    view = View()
    async with store.write() as connection:
        loader = loading.Loader(connection, CONTRACT, view, parcel_scans_max=4)
        crossed: list[int] = []
        fetched = loader.contenders.fetch

        async def counted(asked: Any) -> Any:
            found = await fetched(asked)
            crossed.append(sum(map(len, found)))
            return found

        loader.contenders.fetch = counted  # type: ignore[method-assign]
        await loader.load([("scans_of", *each) for each in wanted])
    known = [sorted(scan.id for scan in view.get(("scans_of", *each))) for each in wanted]
    assert known == [["0-0", "0-2", "0-5", "0-6"], [f"1-{n}" for n in range(2, 7)], []]
    assert crossed == [9]


async def test_the_conversions_of_an_item_are_those_whose_numbers_begin_with_it(
    store: Store,
) -> None:
    """Proves that of each item all unit conversions are read, once, and none of an item whose
    number begins alike, where a batch reads them and where a flow does."""
    numbers = ["*:CS:EA", "S:CS:EA", "S:A:CS:EA", "S:A:PF:XTR", "S1:CS:EA", "S:EA:CS", "T:CS:EA"]
    objects = [
        ObjectRecord(UNIT_CONVERSION, f"c-{at}", UnitConversion(number=number), 1, "", number,
                     f"c-{at}", 0, 1, 1)
        for at, number in enumerate(numbers)
    ]  # fmt: skip
    async with store.write() as connection:
        await write_rows(connection, [(rows.OBJECTS, objects)])
        view = View()
        items = ["*", "S", "S:A", "U"]
        await loading.Loader(connection, CONTRACT, view).load(map(conversions_key, items))
    by_item = {item: view.get(conversions_key(item)) for item in items}
    assert by_item == {"*": ("c-0",), "S": ("c-1", "c-5"), "S:A": ("c-2", "c-3"), "U": ()}
    async with store.read() as connection:
        found = [row["id"] for row in await conversions_of(connection, items)]
        assert sorted(found) == ["c-0", "c-1", "c-2", "c-3", "c-5"]
        assert await conversions_of(connection, []) == []


def every_query() -> dict[str, Query]:
    """What a batch reads with, and a trace."""
    found = {
        name: query
        for module in (loading, attempt_logs, key_reading, writing)
        for name, query in vars(module).items()
        if isinstance(query, Query)
    }
    keys = {"keys": key_reading.references_query(20), "scans": flow_reading.of_a_flow(2_000).scans}
    return found | keys | dict(zip("abcd", flow_reading.of_a_flow(2_000).of_flow, strict=True))


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
@pytest.mark.parametrize("count", [1, 2, 23, 500])
async def test_what_a_batch_reads_it_finds_by_an_index(store: Store, count: int) -> None:
    """Proves that no read of a batch goes through a whole table, however much it asks for: what a
    batch costs must not grow with what is stored."""
    queries = every_query()
    assert len(queries) > 10
    async with store.read() as connection:
        for name, query in queries.items():
            one: Any = "x" if query.width == 1 else tuple("x" * query.width)
            text, values = query.step([one] * count)
            plan = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", tuple(values))
            steps = [row.detail for row in plan]
            walks = tuple(f"SCAN {table.name}" for table in t.METADATA.sorted_tables)
            assert not [step for step in steps if step.startswith(walks)], f"{name}: {steps}"


# So much is held that to read all of it, which a partial index offers, is not the cheapest.
MUCH_IS_HELD = """
INSERT INTO held_facts (id, endpoint, method, payload, content_type, refusal, state, awaits,
                        request_id, created_at, drives, traceparent)
SELECT n::text, 'carrier', 'm', '', '', '', 'HELD', 'order:' || n, n::text, 1, 0, ''
FROM generate_series(1, 5000) AS n
"""


async def test_postgresql_finds_it_by_an_index_too(tmp_path: Path) -> None:
    """Proves the same for PostgreSQL, for each query's one text: told to avoid whole tables, it can
    answer without one, which it could not where no index fits."""
    queries = every_query()
    store = await open_store(tmp_path, "postgresql")
    try:
        async with store.write() as connection:
            await connection.exec_driver_sql(MUCH_IS_HELD)
            await connection.exec_driver_sql("ANALYZE held_facts")
            await connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
            for name, query in queries.items():
                kind = b"x" if "bytea" in query.array_text else "x"
                keys = [[1] if "bigint[]" in part else [kind] for part in _parameters(query)]
                plan = await connection.exec_driver_sql(f"EXPLAIN {query.array_text}", tuple(keys))
                steps = [row[0] for row in plan]
                assert not [step for step in steps if "Seq Scan" in step], f"{name}: {steps}"
                walks = [step for step in steps if "Index" in step and " Scan " in step]
                bounds = [step for step in steps if "Index Cond" in step]
                assert len(bounds) >= len(walks) > 0, f"{name}: {steps}"
    finally:
        await store.close()


async def test_postgresql_names_columns_as_a_query_does(tmp_path: Path) -> None:
    """Proves for each query's text that the rows of the driver, which are read by name as they
    come, have the names of the query's columns."""
    store = await open_store(tmp_path, "postgresql")
    try:
        async with store.read() as connection:
            driver: Any = (await connection.get_raw_connection()).driver_connection
            for name, query in every_query().items():
                prepared = await driver.prepare(query.array_text)
                named = tuple(each.name for each in prepared.get_attributes())
                assert named == query.columns, name
    finally:
        await store.close()


def _parameters(query: Query) -> list[str]:
    """The parameters of a query's text for PostgreSQL, as they stand there."""
    return sorted(set(re.findall(r"\$\d+::\w+\[\]", query.array_text)))


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_a_transaction_without_a_word_costs_nothing(store: Store) -> None:
    """Proves that a transaction opens with its first statement: nothing to say, nothing crosses,
    and the next one is not disturbed."""
    async with store.write() as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        assert not driver.in_transaction
    async with store.write() as connection:
        await write_rows(connection, [(rows.REQUESTS, [request(1)])])
        assert not driver.in_transaction
        assert (
            await connection.execute(select(func.count()).select_from(t.requests))
        ).scalar() == 1
        assert driver.in_transaction
    assert not driver.in_transaction


async def test_what_waits_is_forgotten_with_its_transaction(store: Store) -> None:
    """Proves that rows that had not crossed when their transaction ended in an error never do."""
    with pytest.raises(RuntimeError, match="changed my mind"):
        async with store.write() as connection:
            await write_rows(connection, [(rows.REQUESTS, [request(1)])])
            raise RuntimeError("changed my mind")
    async with store.write() as connection:
        await write_rows(connection, [(rows.REQUESTS, [request(2)])])
    async with store.read() as connection:
        found = (await connection.execute(select(t.requests.c.request_id))).scalars().all()
    assert found == ["r-2"]


@pytest.mark.parametrize("fails", [True, False], ids=["fails", "commits"])
async def test_statements_of_sqlalchemy_are_of_the_same_transaction(
    store: Store, fails: bool
) -> None:
    """Proves that a statement of SQLAlchemy's shares the end of the transaction in which rows cross
    before and behind it, whichever that is, and that the next one begins anew."""
    added = insert(t.requests).values(rows.REQUESTS.row(request(2)))
    with pytest.raises(RuntimeError) if fails else contextlib.nullcontext():
        async with store.write() as connection:
            await write_rows(connection, [(rows.REQUESTS, [request(1)])])
            await connection.execute(added)
            await write_rows(connection, [(rows.REQUESTS, [request(3)])])
            if fails:
                raise RuntimeError("changed my mind")
    async with store.write() as connection:
        await write_rows(connection, [(rows.REQUESTS, [request(4)])])
    async with store.read() as connection:
        found = (await connection.execute(select(t.requests.c.request_id))).scalars().all()
    assert sorted(found) == (["r-4"] if fails else ["r-1", "r-2", "r-3", "r-4"])


async def test_a_commit_that_is_refused_leaves_nothing_behind(store: Store) -> None:
    """Proves that rows whose commit fails are not there, and that the next transaction is not the
    same one."""
    twice = [request(1), request(1)]
    with pytest.raises(StoreFailure):
        async with store.write() as connection:
            await write_rows(connection, [(rows.REQUESTS, twice)])
    async with store.write() as connection:
        await write_rows(connection, [(rows.REQUESTS, [request(2)])])
    async with store.read() as connection:
        found = (await connection.execute(select(t.requests.c.request_id))).scalars().all()
    assert found == ["r-2"]


async def test_a_question_needs_no_transaction(store: Store) -> None:
    """Proves that a question is answered with the values that it is asked with, and as of the last
    commit: no snapshot of an earlier one is kept."""
    question = Question(t.requests, "created_at = {} AND request_id <> {} ORDER BY request_id")
    for last in (2, 3):
        async with store.write() as connection:
            await write_rows(connection, [(rows.REQUESTS, [request(last), request(last + 10)])])
        found = await store.ask(question, 7, "r-12")
        read = [rows.plain_record(RequestRecord)(row) for row in found]
        numbers = {2: [2], 3: [13, 2, 3]}[last]
        assert read == [request(number) for number in numbers]


def test_a_query_has_one_parameter() -> None:
    """Proves that a statement is refused at once that looks for no list, one whose tuples are not
    its only values, and one in which a value could be taken for a place of the list."""
    r = t.requests.c
    with pytest.raises(ValueError, match="one parameter"):
        Query(select(t.requests).where(r.method == "x"))
    with pytest.raises(ValueError, match="no parameter but"):
        Query(select(t.requests).where(r.method == "x"), by=(r.request_id, r.endpoint))
    with pytest.raises(ValueError, match="one parameter"):
        Query(select(t.requests).where(r.request_id.in_(IN), r.method == "what?"))


async def test_other_values_stand_in_the_text_and_the_list_in_several_places(store: Store) -> None:
    """Proves that a query finds the same as its statement does where it compares other things than
    its list, quotes and percent signs among them, and where it asks for its list twice."""
    r = t.requests.c
    odd = [replace(request(n), method=f"/it's {n * 10} % of it", object_id="r-2") for n in range(9)]
    odd[0] = replace(odd[0], endpoint="100 %% sure")
    statement = select(t.requests).where(
        or_(r.request_id.in_(IN), r.object_id.in_(IN)),
        r.method.contains("0 % of", autoescape=True),
        r.method != "/it's 30 % of it",
        r.created_at <= 7,
        or_(r.endpoint == "oms", r.endpoint == "100 %% sure"),
    )
    statement = statement.order_by(r.request_id).limit(3)
    async with store.write() as connection:
        await write_rows(connection, [(rows.REQUESTS, odd)])
    for wanted, expected in ((["r-2"], ["r-0", "r-1", "r-2"]), (["r-3", "r-5"], ["r-5"])):
        async with store.read() as connection:
            (found,) = await fetch(connection, [(Query(statement), wanted)])
            bound = await connection.execute(statement, {WANTED: wanted})
            assert [row["request_id"] for row in found] == expected
            assert [dict(row) for row in found] == [dict(row) for row in bound.mappings()]


@pytest.mark.parametrize("count", [0, 1, VALUES_PER_STATEMENT, VALUES_PER_STATEMENT * 2 + 1])
async def test_a_list_may_have_any_length(store: Store, count: int) -> None:
    """Proves that lists are asked for in parts, each found once and beside its own query, whatever
    their lengths, and that nothing is asked for an empty one."""
    async with store.write() as connection:
        await write_rows(connection, [(rows.REQUESTS, [request(n) for n in range(count)])])
    wanted = [f"r-{number}" for number in range(count)]
    async with store.read() as connection:
        asked: Any = [(REQUESTS, wanted), (PARCELS, []), (REQUESTS, wanted[:1])]
        every, none, first = await fetch_all(connection, asked)
    assert sorted(row["request_id"] for row in every) == sorted(wanted)
    assert none == [] and [row["request_id"] for row in first] == wanted[:1]


async def test_the_oldest_scans_of_a_flow_are_those_of_all_its_shipments(store: Store) -> None:
    """Proves that a flow of more shipments than a look-up has values tells of its scans like any
    other: in their order, and the oldest of all where there are too many."""
    count, most = VALUES_PER_STATEMENT * 2, VALUES_PER_STATEMENT * 2 + 1
    empty: Any = CONTRACT.generated_class(CONTRACT.resources["shipment"].message_name)()
    shipments = [
        ObjectRecord("shipment", f"s-{n:05}", empty, 1, "", f"{n}", "root", 0, 7, 7)
        for n in range(count)
    ]
    parcels = [replace(parcel(n), shipment_id=f"s-{n:05}") for n in range(count)]
    # The later the shipment, the earlier its scans.
    scans = [
        ScanRecord(f"{n:05}", n.to_bytes(16, "big"), "UPSN", each.tracking_number,
                   each.shipment_id, "IN_TRANSIT", count * 2 - n, 0, b"")
        for n, each in enumerate(parcels * 2)
    ]  # fmt: skip
    async with store.write() as connection:
        await write_rows(
            connection, [(rows.OBJECTS, shipments), (rows.PARCELS, parcels), (rows.SCANS, scans)]
        )
    async with store.read() as connection:
        chain = await flow_reading.read_chain(connection, CONTRACT, "root", most)
    assert [each.id for each in chain.scans] == [each.id for each in reversed(scans)][:most]
