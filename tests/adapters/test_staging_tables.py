"""Staging tables, on SQLite and PostgreSQL, with tables that were made by hand beforehand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
import pytest_asyncio
from crossdock_adapters.sdk import staging_tables, table_layout
from crossdock_adapters.sdk.database import Database, Limits, Taken
from crossdock_adapters.sdk.erp_answers import Said
from crossdock_adapters.sdk.layout import LayoutProblem
from crossdock_adapters.sdk.layout_files import Row
from crossdock_adapters.sdk.layout_values import Field, FieldProblem, Value
from crossdock_adapters.sdk.outcomes import NeedsPerson, OutcomeUnknown, Retry, Unreachable
from crossdock_adapters.sdk.settings import SettingsError
from crossdock_adapters.sdk.staging_tables import Again, ClaimedRow
from crossdock_adapters.sdk.table_layout import Column, Place
from fixtures_postgres import session_server
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection
from staging_world import LAYOUT, OUT_LAYOUT, House

LAYOUT_OF_ORDERS = table_layout.parse(LAYOUT, "orders")
OUTBOX = table_layout.parse(OUT_LAYOUT, "outbox")
REFERENCE = "ABCDEFGHIJ2345"
SOON, LATER = 1_000, 2_000


@pytest_asyncio.fixture(params=["sqlite", "postgresql"])
async def house(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[House]:
    made = House(session_server() if request.param == "postgresql" else None, tmp_path)
    yield made
    await made.close()


def document(*quantities: str, reference: str = REFERENCE) -> list[Row]:
    """An order with a line for each quantity."""
    head: dict[str, Value] = {
        "reference": reference, "order": "SO-1", "unit": "30", "day": date(2026, 11, 27),
        "amount": Decimal("12345678901234567890.0001"), "weight": Decimal("1.25"),
    }  # fmt: skip
    lines = [
        Row("line", {"reference": reference, "line": n * 10, "item": "A1", "quantity": Decimal(q)})
        for n, q in enumerate(quantities or ("2", "0.005"), start=1)
    ]
    return [Row("head", head), *lines, Row("note", {"text": "nobody's"})]


async def write(database: Database, rows: list[Row], reference: str = REFERENCE) -> None:
    fitted = table_layout.rows_of(LAYOUT_OF_ORDERS, rows)
    await staging_tables.write(database, LAYOUT_OF_ORDERS, fitted, reference)


async def found(house: House, reference: str = REFERENCE) -> table_layout.Found | None:
    return await staging_tables.find(house.database(), LAYOUT_OF_ORDERS, reference)


async def test_rows_stand_as_the_erp_reads_them(house: House) -> None:
    """Proves by raw SQL that a document is there in full and shown, that 24 digits of an amount
    are exact, that dates are CYYDDD and quantities thousandths, and that keys are padded."""
    assert await staging_tables.problems(house.database(), LAYOUT_OF_ORDERS) == []
    await write(house.database(), document())
    ((ref, unit, day, amount, weight, flag),) = house.run(
        "SELECT REF, BU, DAY, AMOUNT, WEIGHT, FLAG FROM IF_HEAD"
    )
    assert (ref.rstrip(), unit, int(day), str(amount)) == (
        REFERENCE, "    30", 126331, "12345678901234567890.0001",
    )  # fmt: skip
    assert (int(weight), flag.rstrip()) == (125_000, "N")
    lines = house.run("SELECT LINE, QTY FROM IF_LINE ORDER BY LINE")
    assert [(int(line), int(quantity)) for line, quantity in lines] == [(10, 2_000), (20, 5)]
    assert [ref.rstrip() for ref in house.column("SELECT REF FROM SENT_BEFORE")] == [REFERENCE]


async def test_half_a_document_is_never_there(house: House) -> None:
    """Proves that a line which the database refuses leaves neither header nor ledger behind, and
    that the whole can be written afterwards."""
    with pytest.raises(Taken):
        await write(house.database(), document("2", "0"))
    for name in ("IF_HEAD", "IF_LINE", "SENT_BEFORE"):
        assert house.run(f"SELECT * FROM {name}") == []
    assert await found(house) is None
    await write(house.database(), document())
    assert len(house.run("SELECT * FROM IF_LINE")) == 2


async def test_of_many_writers_of_one_reference_one_writes(house: House) -> None:
    """Proves that processes which write the same document at the same time write it once, also
    after the ERP has removed its rows."""
    writers = [house.database() for _ in range(6)]
    ends = await asyncio.gather(
        *(write(each, document()) for each in writers), return_exceptions=True
    )
    assert [type(each) for each in ends].count(Taken) == 5 and ends.count(None) == 1
    assert len(house.run("SELECT * FROM IF_HEAD")) == 1
    house.run("DELETE FROM IF_HEAD")
    with pytest.raises(Taken):
        await write(house.database(), document())
    assert house.run("SELECT * FROM IF_HEAD") == []


async def test_a_padded_status_decides_and_an_old_error_does_not(house: House) -> None:
    """Proves that status, reference and number are read without the blanks of CHAR and the point
    of NUMERIC, and that errors are told beside the status, the newest first."""
    await write(house.database(), document())
    house.run("UPDATE IF_HEAD SET FLAG = 'Y   ', DOC = 4711, ECODE = 'E9    ', ETEXT = 'old'")
    house.run(f"UPDATE IF_HEAD SET REF = '{REFERENCE.ljust(24)}'")
    for number in (1, 2):
        house.run(
            f"INSERT INTO IF_ERROR VALUES ({number}, '{REFERENCE.ljust(24)}', 'E{number}', 't')"
        )
    there = await found(house)
    assert there is not None
    assert (there.place, there.status, there.number) == (Place.STAGING, "Y", "4711")
    assert there.errors == [Said("E9", "old"), Said("E2", "t"), Said("E1", "t")]
    assert there.sent is not None and there.sent.utcoffset() is not None


async def test_a_row_that_moved_is_found_and_one_that_vanished_is_not_new(house: House) -> None:
    """Proves the way of a row: archive, the ERP's own books, and at last our ledger alone, which
    says that it was written; only what no place knows was never there."""
    assert await found(house) is None
    await write(house.database(), document())
    house.run("INSERT INTO IF_DONE SELECT * FROM IF_HEAD")
    house.run("UPDATE IF_DONE SET FLAG = 'Y   ', DOC = 7")
    house.run("DELETE FROM IF_HEAD")
    there = await found(house)
    assert there is not None and (there.place, there.number) == (Place.ARCHIVE, "7")
    house.run("DELETE FROM IF_DONE")
    there = await found(house)
    assert there is not None and there.place is Place.LEDGER
    house.run(f"INSERT INTO DOCS VALUES (815, '{REFERENCE.ljust(30)}')")
    there = await found(house)
    assert there is not None and (there.place, there.number) == (Place.BOOKS, "815")
    house.run("DELETE FROM SENT_BEFORE")
    there = await found(house)
    assert there is not None and there.place is Place.BOOKS


async def test_claims_do_not_overlap_and_keys_stay_in_order(house: House) -> None:
    """Proves that processes which claim at the same time get each row once, and that of one item no
    row is given out before the one ahead of it is done."""
    items = [f"I{number % 7}" for number in range(40)]
    house.fill_outbox(items)
    told: list[int] = []

    async def work(database: Database, name: str) -> None:
        for turn in range(200):
            token = f"{name}-{turn}"
            rows = await staging_tables.claim(database, OUTBOX, token, SOON, LATER, 5)
            for row in rows:
                told.append(row.id)
                assert await staging_tables.settle(database, OUTBOX, row, token, "Y")
            if not rows and len(told) >= len(items):
                return
            await asyncio.sleep(0)

    await asyncio.gather(*(work(house.database(), f"w{number}") for number in range(4)))
    assert sorted(told) == list(range(1, 41))
    for item in set(items):
        own = [number for number in told if items[number - 1] == item]
        assert own == sorted(own)
    assert {flag.rstrip() for flag in house.column("SELECT FLAG FROM OUTBOX")} == {"Y"}


async def test_a_claim_that_ran_out_is_somebody_elses(house: House) -> None:
    """Proves that a claim holds until its end, not longer, and that who lost it cannot end it."""
    house.fill_outbox(["A"])
    first, second = house.database(), house.database()
    (row,) = await staging_tables.claim(first, OUTBOX, "one", SOON, LATER, 5)
    assert row.values["item"].rstrip() == "A"
    assert await staging_tables.claim(second, OUTBOX, "two", LATER, LATER + 1, 5) == []
    (again,) = await staging_tables.claim(second, OUTBOX, "three", LATER + 1, LATER + 9, 5)
    assert again.id == row.id
    assert not await staging_tables.settle(first, OUTBOX, row, "one", "Y")
    assert await staging_tables.settle(second, OUTBOX, again, "three", "H")
    assert [flag.rstrip() for flag in house.column("SELECT FLAG FROM OUTBOX")] == ["H"]


async def test_an_old_row_that_is_mended_does_not_come_after_a_newer_one(house: House) -> None:
    """Proves that a row which failed, and is set ready when a newer one of its item was told, is
    ended without being given to anybody, and that one of another item is given."""
    house.fill_outbox(["A", "A", "B"])
    erp = house.database()
    first, other = await staging_tables.claim(erp, OUTBOX, "one", SOON, LATER, 5)
    for row in (first, other):
        assert await staging_tables.settle(erp, OUTBOX, row, "one", "H")
    (second,) = await staging_tables.claim(erp, OUTBOX, "two", SOON, LATER, 5)
    assert await staging_tables.settle(erp, OUTBOX, second, "two", "Y")
    house.run("UPDATE OUTBOX SET FLAG = 'N   ' WHERE FLAG LIKE 'H%'")
    again = await staging_tables.claim(erp, OUTBOX, "three", SOON, LATER, 5)
    assert [row.id for row in again] == [other.id]
    flags = house.column("SELECT FLAG FROM OUTBOX ORDER BY ID")
    assert [flag.rstrip() for flag in flags] == ["Y", "Y", "C"]


async def test_a_row_that_failed_is_claimed_again_in_its_place(house: House) -> None:
    """Proves that a row which nobody could read is given out once more, but neither beside nor
    after a newer one of its item, nor before an older one that is ready; and that what is no such
    row any more is left as it is."""
    house.fill_outbox(["A", "A", "A", "B", "B"])
    for number, flag in enumerate("HHNNH", start=1):
        house.run(f"UPDATE OUTBOX SET FLAG = '{flag}   ' WHERE ID = {number}")
    erp = house.database()

    async def again(number: int) -> tuple[Again, ClaimedRow | None]:
        return await staging_tables.claim_again(erp, OUTBOX, number, f"token {number}", LATER)

    came, row = await again(2)
    assert came is Again.OURS and row is not None
    assert (row.id, row.values["name"]) == (2, "n2")
    assert await again(1) == (Again.BUSY, None)
    assert await again(5) == (Again.BUSY, None)
    # The newest of its item waits for the one that is claimed again.
    claimed = await staging_tables.claim(erp, OUTBOX, "poll", SOON, LATER, 9)
    assert [each.id for each in claimed] == [4]
    assert await staging_tables.settle(erp, OUTBOX, row, "token 2", "Y")
    assert await again(1) == (Again.OVERTAKEN, None)
    for number, expected in ((1, Again.ELSEWHERE), (3, Again.ELSEWHERE), (9, Again.GONE)):
        assert await again(number) == (expected, None)
    flags = house.column("SELECT FLAG FROM OUTBOX ORDER BY ID")
    assert [flag.rstrip() for flag in flags] == ["Y", "Y", "N", "C", "H"]


async def test_a_layout_that_does_not_fit_is_told_before_anything_is_written(house: House) -> None:
    """Proves that missing tables, missing columns and a missing unique index are named."""
    house.run("DROP TABLE DOCS")
    other = table_layout.parse(LAYOUT.replace('"ECODE"', '"NOPE"'), "x")
    problems = await staging_tables.problems(house.database(), other)
    assert problems == ["if_head has no column nope", "if_done has no column nope",
                        "there is no table docs"]  # fmt: skip
    begin, _, _ = LAYOUT.partition("[ledger]")
    bare = table_layout.parse(begin, "x")
    (problem,) = await staging_tables.problems(house.database(), bare)
    assert problem == "if_head.ref needs a unique index: a document could come twice"
    house.run("CREATE UNIQUE INDEX HEAD_1 ON IF_HEAD (REF)")
    assert await staging_tables.problems(house.database(), bare) == []


async def test_sqlite_is_not_given_a_fraction_that_it_would_round(tmp_path: Path) -> None:
    """Proves that a NUMERIC column of SQLite, which makes binary floats, is refused for fractions
    and that one read from there is nobody's number."""
    house = House(None, tmp_path)
    house.run("DROP TABLE IF_HEAD")
    house.run("CREATE TABLE IF_HEAD AS SELECT * FROM IF_DONE")
    house.run("ALTER TABLE IF_HEAD DROP COLUMN AMOUNT")
    house.run("ALTER TABLE IF_HEAD ADD COLUMN AMOUNT NUMERIC(24,4)")
    (problem, *_) = await staging_tables.problems(house.database(), LAYOUT_OF_ORDERS)
    assert problem.startswith("if_head.amount would hold binary floats")
    amount = LAYOUT_OF_ORDERS.head.of("amount")
    assert amount is not None
    with pytest.raises(FieldProblem, match="binary float"):
        table_layout.read(amount, 0.1)
    await house.close()


@pytest.mark.parametrize("kind", ["NUMERIC(24,2)", "DECIMAL(24)", "DOUBLE PRECISION", "INTEGER"])
async def test_no_column_rounds_what_a_layout_writes(house: House, kind: str) -> None:
    """Proves that a column with room for fewer decimals than the layout writes is named before
    anything is: a database rounds without a word. One with more, or without a limit, is taken."""
    for number, (there, ok) in enumerate([(kind, False), ("NUMERIC(24,6)", True), ("TEXT", True)]):
        if house.database().is_sqlite and there == "NUMERIC(24,6)":
            continue
        for table in ("IF_HEAD", "IF_DONE"):
            house.run(f"ALTER TABLE {table} DROP COLUMN AMOUNT")
            house.run(f"ALTER TABLE {table} ADD COLUMN AMOUNT {there}")
        found = await staging_tables.problems(house.database(), LAYOUT_OF_ORDERS)
        assert [each.split(" ")[0] for each in found] == ([] if ok else ["if_head.amount"]), number


@pytest.mark.parametrize("kind", ["DOUBLE PRECISION", "INTEGER", "NUMERIC(24,2)"])
async def test_a_column_that_is_only_read_rounds_nothing(house: House, kind: str) -> None:
    """Proves that the ERP's own column is no reason to take nothing of it where it rounds what is
    written: only read, a whole number is exact, and a binary fraction is refused by itself."""
    column = '{ column = "amount", name = "amount", type = "decimal", decimals = 2, '
    own = OUT_LAYOUT.replace("columns = [", f'columns = [ {column}stored = "number" }},', 1)
    layout = table_layout.parse(own, "outbox")
    house.run(f"ALTER TABLE OUTBOX ADD COLUMN AMOUNT {kind}")
    found = await staging_tables.problems(house.database(), layout)
    # SQLite alone makes binary floats of what whoever declared the column meant as decimals.
    makes_floats = house.database().is_sqlite and kind != "INTEGER"
    assert [each.split(" ")[0] for each in found] == (["outbox.amount"] if makes_floats else [])
    amount = layout.head.of("amount")
    assert amount is not None and table_layout.read(amount, 12.0) == 12


async def test_what_is_written_is_read_back_as_it_was(house: House) -> None:
    """Proves for each kind of column that a value comes back exactly, through raw SQL."""
    await write(house.database(), document())
    wanted = document()[0].values
    for column in LAYOUT_OF_ORDERS.head.columns:
        (raw,) = house.column(f"SELECT {column.column} FROM IF_HEAD")
        assert table_layout.read(column, raw) == wanted[column.field.name], column.column


@pytest.mark.parametrize(
    ("raw", "given", "value"),
    [
        (None, {}, None),
        ("   ", {}, None),
        (5, {}, Decimal("0.005")),
        (Decimal("-12"), {}, Decimal("-0.012")),
        (0, {}, Decimal("0.000")),
        (0, {"nothing": ("0",)}, None),
        (2_000.0, {}, Decimal("2.000")),
        (99_001, {"type": "date", "format": "cyyddd"}, date(1999, 1, 1)),
        (Decimal("126060"), {"type": "date", "format": "cyyddd"}, date(2026, 3, 1)),
    ],
)
def test_blank_is_not_zero_and_zeros_at_the_left_are_kept(
    raw: object, given: dict[str, object], value: object
) -> None:
    """Proves how numbers of an ERP are read: nothing, zero, implied decimals, days of 1999."""
    how = {"type": "decimal", "decimals": 3, "implied": True, "sign": "leading"} | given
    field = Field("value", blank=True, **how)  # type: ignore[arg-type]
    assert table_layout.read(Column("v", field, "number"), raw) == value


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("order", "x" * 13, "if_head.ord (order) may have 12 characters at most"),
        ("amount", Decimal("1.00001"), "if_head.amount (amount) may have 4 decimals at most"),
        ("order", None, "if_head.ord (order) must have a value"),
        ("day", "2026", "if_head.day (day) must be of type date"),
    ],
)
def test_what_does_not_fit_is_told_by_table_column_and_rule(
    name: str, value: Value, rule: str
) -> None:
    """Proves that nothing is cut or rounded in silence, and that the value is not repeated."""
    head = document()[0]
    with pytest.raises(FieldProblem) as told:
        table_layout.rows_of(LAYOUT_OF_ORDERS, [Row("head", {**head.values, name: value})])
    assert rule in str(told.value)


def test_a_record_without_a_table_is_not_lost_in_silence() -> None:
    """Proves that a layout has to say what it leaves out."""
    with pytest.raises(FieldProblem, match="record parcel has no table and is not left out"):
        table_layout.rows_of(LAYOUT_OF_ORDERS, [Row("parcel", {})])


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ('N = "waiting"', 'N = "done"', "status.words needs a row for status.ready"),
        ('hidden = "HID"', 'hidden = "P"', "status.hidden must not be a word of the ERP's"),
        ('E = "refused"', 'E = "lost"', "'lost' is none of"),
        ('stored = "char", length = 24', 'stored = "char"', "length is missing"),
        ('column = "FLAG"', 'colum = "FLAG"', "status.colum is not known here"),
        ('name = "reference", ', 'name = "key", ', "a column with the name reference"),
        ('"cyyddd"', '"yyddd"', "format must be one of"),
        ("length = 24 ", "length = 24, cut = true ", "ref must not be cut"),
        ('table = "DOCS"\nreference = "XREF"', 'table = "DOCS"', "books.reference is missing"),
    ],
)
def test_a_wrong_layout_says_what_is_wrong(before: str, after: str, problem: str) -> None:
    """Proves that each mistake of a layout is named before anything runs."""
    with pytest.raises(LayoutProblem) as told:
        table_layout.parse(LAYOUT.replace(before, after), "orders.toml")
    assert problem in str(told.value)


async def test_a_statement_that_takes_too_long_is_undone(tmp_path: Path) -> None:
    """Proves on PostgreSQL that a writer which waits for somebody's lock gives up within its time,
    has written nothing, and may try again."""
    house = House(session_server(), tmp_path)
    patient, hasty = house.database(), house.database(statement_seconds=2.0)
    locked, free = asyncio.Event(), asyncio.Event()

    async def hold(connection: AsyncConnection) -> None:
        await patient.run(connection, text("LOCK TABLE SENT_BEFORE"))
        locked.set()
        await free.wait()

    holding = asyncio.create_task(patient.commit("a lock", hold))
    await locked.wait()
    with pytest.raises(Retry, match="before the commit"):
        await write(hasty, document())
    free.set()
    await holding
    assert house.run("SELECT * FROM IF_HEAD") == []
    await write(hasty, document())
    await house.close()


SECRET = "hunter2-and-more"


@pytest.mark.parametrize(
    "url",
    [
        f"nodb+nodriver://erp:{SECRET}@127.0.0.1/erp",
        f"postgresql+asyncpg://erp:{SECRET}@db.example/erp",
        f"postgresql+asyncpg://erp:{SECRET}@db.example/erp?ssl=prefer",
        f"postgresql+asyncpg://erp:{SECRET}@[2001:db8::1]/erp",
        f"postgresql+asyncpg://erp:{SECRET}@/erp?host=db.example:5432",
        f"postgresql+asyncpg://erp:{SECRET}@/erp?host=127.0.0.1:5432&host=db.example:5432",
        f"postgresql+asyncpg://erp:{SECRET}@db.example/erp?sslmode=require",
        f"postgresql://erp:{SECRET}@127.0.0.1/erp",
        f"//erp:{SECRET}@127.0.0.1",
    ],
)
def test_a_wrong_address_is_refused_without_being_told(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Proves that an unknown or synchronous driver, or an address in clear, ends at the start, and
    that the address, which holds a password, is in no error and no log."""
    with pytest.raises(SettingsError) as told:
        Database(lambda: url, Limits())
    assert "database_url" in str(told.value)
    assert SECRET not in str(told.value) + caplog.text
    assert told.value.__cause__ is None


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql+asyncpg://erp:{SECRET}@192.0.2.1/erp",
        f"postgresql+asyncpg://erp:words@127.0.0.1:{SECRET}/erp",
        f"postgresql+asyncpg://erp:{SECRET}@127.0.0.1/erp?sslmode=require",
    ],
)
async def test_an_address_that_rotates_to_a_wrong_one_is_tried_again(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Proves that an address which becomes one in clear, one that can't be read, or one with a word
    that its driver does not know is no fault of the work: it waits, and nothing of it is told."""
    addresses = [f"postgresql+asyncpg://erp:{SECRET}@127.0.0.1/erp", url]
    database = Database(lambda: addresses[0], Limits(connect_seconds=5.0))
    del addresses[0]
    with pytest.raises(Unreachable, match="database_url") as told:
        async with database.reading():
            pass
    assert SECRET not in str(told.value) + caplog.text
    await database.close()


async def test_nobody_there_is_a_retry_without_an_address(
    caplog: pytest.LogCaptureFixture, unused_tcp_port: int
) -> None:
    """Proves that a refused connection is proven unprocessed, and says nothing of the address."""
    url = f"postgresql+asyncpg://erp:{SECRET}@127.0.0.1:{unused_tcp_port}/erp"
    database = Database(lambda: url, Limits(connect_seconds=2))
    with pytest.raises(Unreachable) as told:
        await staging_tables.find(database, LAYOUT_OF_ORDERS, REFERENCE)
    assert SECRET not in str(told.value) + caplog.text and "erp" not in str(told.value)
    await database.close()


async def test_a_commit_without_an_answer_is_unknown(tmp_path: Path) -> None:
    """Proves on PostgreSQL that a connection which is cut at the commit leaves an unknown outcome,
    never one that is called undone, and that the pool has another one afterwards."""
    house = House(session_server(), tmp_path)
    database = house.database()

    async def lose(connection: AsyncConnection) -> None:
        ((pid,), *_), _ = await database.run(connection, text("SELECT pg_backend_pid()"))
        house.run(f"SELECT pg_terminate_backend({pid}, 5000)")

    with pytest.raises(OutcomeUnknown, match="the answer to the commit is lost"):
        await database.commit("an order", lose)
    await write(database, document())
    assert len(house.run("SELECT * FROM IF_HEAD")) == 1
    await house.close()


async def test_a_statement_that_is_wrong_is_for_a_person(house: House) -> None:
    """Proves that a table which is not there is not tried again and again."""
    house.run("DROP TABLE IF_LINE")
    with pytest.raises(NeedsPerson, match="compare the layout") as told:
        await write(house.database(), document())
    assert "if_line" not in str(told.value).lower()
