"""The adapter at tables that others made, on SQLite and PostgreSQL: JD Edwards, and the default."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from crossdock_adapters.legacy_table import adapter
from crossdock_adapters.legacy_table.adapter import ADAPTER, Erp
from crossdock_adapters.sdk import exchange
from crossdock_adapters.sdk.outcomes import (
    AnswerLater,
    Confirmed,
    FoundRejected,
    NeedsPerson,
    NotFound,
    Reference,
)
from crossdock_adapters.sdk.settings import check
from crossdock_adapters.sdk.work import Work
from fixtures_postgres import session_server
from legacy_file_world import approved, shipped
from staging_world import PAYLOADS, House

REFERENCE = "ABCDEFGHIJKLMNOPQRST"
CREATE = "create_sales_order"
PACKAGE = Path(adapter.__file__).parent
BOTH = pytest.mark.parametrize("kind", ["sqlite", "postgresql"])


def house_of(kind: str, folder: Path, ddl: str) -> House:
    return House(session_server() if kind == "postgresql" else None, folder, ddl)


@asynccontextmanager
async def connected(house: House, folder: Path, **given: Any) -> AsyncIterator[tuple[Erp, Any]]:
    """The adapter's client of a database, and what makes work for it."""
    address = folder / "address"
    address.write_text(house.url)
    settings, secrets = check(ADAPTER.manifest.settings, {
        "database_url": f"file:{address}", "answer_wait_seconds": 0,
        "time_zone": "America/New_York", **given,
    })  # fmt: skip
    vendor = await adapter.connect(settings, secrets)
    nobody: Any = None

    def work(operation: str, event: Any, reference: str = REFERENCE) -> Work:
        return Work(
            "0190f7a2-0000-7e5f-8a6b-00000000000a", "legacy-table", operation, "", reference, 1,
            event, settings, nobody, nobody,
        )  # fmt: skip

    try:
        await vendor.test()
        yield vendor, work
    finally:
        await vendor.close()


async def deliver(vendor: Erp, work: Work) -> Any:
    with exchange.recording():
        return await adapter.deliver(work, vendor)


@BOTH
async def test_an_order_goes_through_the_tables_of_jd_edwards(kind: str, tmp_path: Path) -> None:
    """Proves with tables made by hand that the example fills F47011 and F47012 exactly, that the
    flag and a number in F4201 confirm the order, and that a purge of processed rows, which is no
    proof of anything, does not have it posted again."""
    house = house_of(kind, tmp_path, (PAYLOADS / "jde.sql").read_text("utf-8"))
    layouts = tmp_path / "layouts"
    layouts.mkdir()
    example = (PACKAGE / "layouts" / "jde" / "sales_orders.toml").read_text("utf-8")
    (layouts / "sales_orders.toml").write_text(example)
    # Goods issues are another table of another site's; here they go into the orders', unused.
    (layouts / "goods_issues.toml").write_text(
        example.replace('"sales_orders"', '"goods_issues"', 1)
    )
    given = {"layouts_directory": str(layouts), "reads_items": False}
    async with connected(house, tmp_path, **given) as (vendor, work):
        order = work(CREATE, approved())
        assert isinstance(await adapter.look(order, vendor), NotFound)
        with pytest.raises(AnswerLater, match="accepted for processing"):
            await deliver(vendor, order)
        head = house.run("SELECT SYVR01, SYTPUR, SYMCU, SYTRDJ, SYDRQJ, SYEDSP FROM F47011")
        assert [(a.rstrip(), b.rstrip(), c, int(d), int(e), f) for a, b, c, d, e, f in head] == [
            (REFERENCE, "I", "        EAST", 126063, 0, "N")
        ]
        columns = "SZEDLN, SZLITM, SZUORG, SZUOM, SZUPRC"
        lines = house.run(f"SELECT {columns} FROM F47012 ORDER BY SZEDLN")
        assert [(int(a), b.rstrip(), int(c), d, int(e)) for a, b, c, d, e in lines] == [
            (10_000, "SKU-1001", 200, "EA", 199_500), (20_000, "SKU-1002", 550, "EA", 199_500)
        ]  # fmt: skip
        house.run("UPDATE F47011 SET SYEDSP = ' '")
        with pytest.raises(AnswerLater):
            await adapter.look(order, vendor)
        house.run(f"INSERT INTO F4201 VALUES (2001, '{REFERENCE.ljust(25)}', 'SO')")
        house.run("UPDATE F47011 SET SYEDSP = 'Y'")
        booked: Any = await adapter.look(order, vendor)
        assert booked.references == [Reference("sales_order", "2001")]
        house.run("DELETE FROM F47011 WHERE SYEDSP = 'Y'")
        after: list[Any] = [await adapter.look(order, vendor), await deliver(vendor, order)]
        for again in after:
            assert again.references == [Reference("sales_order", "2001")]
        assert house.run("SELECT * FROM F47011") == []
    await house.close()


@BOTH
async def test_the_default_tables_work_on_each_database(kind: str, tmp_path: Path) -> None:
    """Proves that an order and a goods issue are written, refused with code and words, mended by
    hand, and confirmed, with somebody at the database instead of the sandbox."""
    ddl = (PACKAGE / "sandbox_schema.sql").read_text("utf-8")
    plain = "\n".join(line for line in ddl.splitlines() if not line.lstrip().startswith("--"))
    house = house_of(kind, tmp_path, plain)
    async with connected(house, tmp_path) as (vendor, work):
        order, issue = work(CREATE, approved()), work("post_goods_issue", shipped(), "I" * 20)
        for each in (order, issue):
            with pytest.raises(AnswerLater):
                await deliver(vendor, each)
        (status,) = house.column("SELECT STATUS FROM XD_ISSUE_HEADER")
        assert status.rstrip() == "NEW"
        ref = REFERENCE.ljust(20)
        house.run(f"INSERT INTO XD_ERRORS VALUES (1, '{ref}', 10, 'E102', 'no item')")
        house.run("UPDATE XD_ORDER_HEADER SET STATUS = 'ERROR   '")
        refused = await adapter.look(order, vendor)
        assert refused == FoundRejected("E102", "line 10: E102 no item")
        house.run("UPDATE XD_ORDER_HEADER SET STATUS = 'DONE    ', ERP_DOCUMENT = 'T1'")
        booked = await adapter.look(order, vendor)
        assert isinstance(booked, Confirmed)
        assert booked.references == [Reference("sales_order", "T1")]
        house.run("UPDATE XD_ISSUE_HEADER SET STATUS = 'HOLD    '")
        with pytest.raises(NeedsPerson, match="HOLD"):
            await adapter.look(issue, vendor)
    await house.close()


async def test_a_layout_that_fits_nothing_keeps_the_endpoint_from_serving(tmp_path: Path) -> None:
    """Proves that the connection test names what is missing before any work is taken."""
    house = House(None, tmp_path, "CREATE TABLE XD_ORDER_HEADER (EXT_REF CHAR(20))")
    shutil.copy(PACKAGE / "layouts" / "items.toml", tmp_path)
    with pytest.raises(NeedsPerson) as told:
        async with connected(house, tmp_path):
            raise AssertionError("it serves")
    assert "goods_issues: there is no table xd_issue_header" in told.value.reason
    assert "xd_order_header has no column status" in told.value.reason
