"""A service of orders as it is usually built: `python -m tests.load.peers.service CONFIG`.

Starlette and uvicorn, a session of SQLAlchemy a request, a unique number so that a repeat finds
what is there, and the event published with an id of its own and acknowledged by JetStream before
the caller is answered. SQLite is set as the hub sets it: what is answered is on disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import uvicorn
from faststream.nats import NatsBroker
from pydantic import BaseModel, ValidationError
from sqlalchemy import ForeignKey, event, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

STREAM, SUBJECT = "ORDERS", "orders.approved"
BUSY_SECONDS: Final = 30.0


class Line(BaseModel):
    """A line as callers say it."""

    line_number: int
    item_number: str
    quantity: str
    ship_from: str


class NewOrder(BaseModel):
    """An order as callers say it."""

    number: str
    business_unit: str
    customer_number: str
    ship_to: dict[str, str]
    carrier_code: str
    lines: list[Line]


class Table(DeclarativeBase):
    """What SQLAlchemy knows the tables by."""


class OrderRow(Table):
    """An order as it is kept."""

    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[str] = mapped_column(unique=True)
    business_unit: Mapped[str]
    customer_number: Mapped[str]
    ship_to: Mapped[str]
    carrier_code: Mapped[str]
    state: Mapped[str] = mapped_column(default="OPEN")
    lines: Mapped[list[LineRow]] = relationship(lazy="selectin")


class LineRow(Table):
    """A line of it."""

    __tablename__ = "order_lines"
    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[int] = mapped_column(ForeignKey("orders.id"), index=True)
    line_number: Mapped[int]
    item_number: Mapped[str]
    quantity: Mapped[str]
    ship_from: Mapped[str]


class Orders:
    """POST /orders and POST /orders/<number>/approval."""

    def __init__(self, sessions: async_sessionmaker[AsyncSession], broker: NatsBroker) -> None:
        self._sessions = sessions
        self._broker = broker

    async def create(self, request: Request) -> Response:
        """201; 200 for a number that is there; 422 for what is no order."""
        try:
            told = NewOrder.model_validate_json(await request.body())
        except ValidationError as error:
            return JSONResponse({"error": str(error)}, 422)
        values = told.model_dump(exclude={"lines", "ship_to"})
        row = OrderRow(**values, ship_to=json.dumps(told.ship_to))
        row.lines = [LineRow(**line.model_dump()) for line in told.lines]
        async with self._sessions() as session:
            session.add(row)
            try:
                await session.commit()
            except IntegrityError:
                return JSONResponse({"number": told.number})
        return JSONResponse({"number": told.number}, 201)

    async def approve(self, request: Request) -> Response:
        """200, also for an order that is approved already; 404 for none."""
        number = request.path_params["number"]
        async with self._sessions() as session:
            row = await session.scalar(select(OrderRow).where(OrderRow.number == number))
            if row is None:
                return JSONResponse({"error": "no such order"}, 404)
            if row.state == "APPROVED":
                return JSONResponse({"number": number})
            row.state = "APPROVED"
            message = _message(row)
            await session.commit()
        headers = {"Nats-Msg-Id": f"{number}:approved"}
        await self._broker.publish(message, SUBJECT, headers=headers, stream=STREAM)
        return JSONResponse({"number": number})


def _message(row: OrderRow) -> dict[str, Any]:
    names = ("line_number", "item_number", "quantity", "ship_from")
    return {
        "number": row.number,
        "business_unit": row.business_unit,
        "customer_number": row.customer_number,
        "ship_to": json.loads(row.ship_to),
        "carrier_code": row.carrier_code,
        "lines": [{name: getattr(line, name) for name in names} for line in row.lines],
    }


async def serve(config: dict[str, Any]) -> None:
    """Until SIGTERM."""
    engine = create_async_engine(
        f"sqlite+aiosqlite:///{config['database']}", connect_args={"timeout": BUSY_SECONDS}
    )

    @event.listens_for(engine.sync_engine, "connect")
    def settle(connection: Any, _record: Any) -> None:
        for setting in ("journal_mode=WAL", "synchronous=FULL"):
            connection.execute(f"PRAGMA {setting}")

    async with engine.begin() as connection:
        await connection.run_sync(Table.metadata.create_all)
    broker = NatsBroker(config["nats"], logger=None, max_reconnect_attempts=-1)
    await broker.start()
    orders = Orders(async_sessionmaker(engine, expire_on_commit=False), broker)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        Path(config["ready"]).write_text("{}")
        yield

    routes = [
        Route("/orders", orders.create, methods=["POST"]),
        Route("/orders/{number}/approval", orders.approve, methods=["POST"]),
    ]
    settings = uvicorn.Config(
        Starlette(routes=routes, lifespan=lifespan),
        port=config["port"], access_log=False, log_level="warning", loop="asyncio",
    )  # fmt: skip
    await uvicorn.Server(settings).serve()
    await broker.stop()
    await engine.dispose()


if __name__ == "__main__":
    asyncio.run(serve(json.loads(Path(sys.argv[1]).read_text())))
