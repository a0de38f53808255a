"""A played flow in a real database: what the decisions made, written as the committer writes it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from crossdock.shipment.v1 import shipment_pb2
from crossdock_hub.config import Limits
from crossdock_hub.identity import Caller
from crossdock_hub.reading.catalogue import answer
from crossdock_hub.reading.chain import Chain, Situation, StoredEvent, situations
from crossdock_hub.reading.queries import Queries
from crossdock_hub.records import UNIT_CONVERSION, occupies
from crossdock_hub.store import Reader, Store
from crossdock_hub.store.writing import write
from crossdock_hub.unit import Changes, Key, Refused
from crossdock_hub.waiting import Waiters
from databases import open_store
from decisions import CONTRACT, OPERATOR, Company
from first_flow import Flow

# Kinds of records that are never written over.
ONLY_INSERTED = ("reference", "package_number")


class Books:
    """A database and the queries over it."""

    def __init__(self, store: Store, limits: Limits) -> None:
        self.store = store
        self.reader = Reader(store, limits)
        self.waiters = Waiters()
        self.queries = Queries(self.reader, CONTRACT, limits, self.waiters)
        self._events = 0
        self._scans = 0
        self._kept: dict[Key, Any] = {}

    async def keep(self, company: Company) -> None:
        """Write what a company knows that is not written yet, in one transaction."""
        records = {
            key: record
            for key, record in company.records.items()
            if key[0] not in ONLY_INSERTED or key not in self._kept
        }
        changes = Changes(
            records=records,
            events=company.events[self._events :],
            scans=company.scans[self._scans :],
        )
        self._events, self._scans = len(company.events), len(company.scans)
        async with self.store.write() as connection:
            await write(connection, changes, stored=self._kept.get)
        self._kept |= records

    async def ask(
        self, method: str, request: Any, caller: Caller = OPERATOR, seconds_left: float = 5.0
    ) -> Any:
        """A reading method's answer. `method`: "order.v1.OrderService/GetOrder"."""
        full = f"/crossdock.{method}"
        rule = CONTRACT.methods[full]
        assert caller.role in rule.callers, f"{caller.role} may not call {method}"
        broken = CONTRACT.validate(rule.request_type, request.SerializeToString())
        assert not broken, broken
        return await answer(self.queries, full, caller, request, seconds_left)


@pytest.fixture
async def books(tmp_path: Path) -> AsyncIterator[Books]:
    """An empty database of its own."""
    store = await open_store(tmp_path)
    yield Books(store, Limits())
    await store.close()


def chain_of(company: Company, root_id: str) -> Chain:
    """The flow of a root object as lineage reads it, without a database."""
    objects = [r for k, r in company.records.items() if k[0] == "object" and r.root_id == root_id]
    deliveries = [d for d in company.deliveries() if d.root_id == root_id]
    return Chain(
        root_id,
        sorted(objects, key=lambda record: record.id),
        [StoredEvent(event, True) for event in company.events if event.root_id == root_id],
        deliveries,
        {d.id: company.attempts_of(d) for d in deliveries},
        company.scans,
        held=[fact for fact in company.held() if fact.root_id == root_id],
        conversions=[r for k, r in company.records.items() if k[:2] == ("object", UNIT_CONVERSION)],
    )


def situations_of(company: Company) -> dict[str, Situation]:
    """How a company's endpoints are."""
    endpoints = [record for key, record in company.records.items() if key[0] == "endpoint"]
    in_use: dict[str, int] = {}
    for record in company.deliveries():
        if occupies(record):
            in_use[record.endpoint] = in_use.get(record.endpoint, 0) + 1
    return situations(endpoints, in_use, company.limits, company.now)


async def refusal(books: Books, method: str, request: Any, caller: Caller = OPERATOR) -> Any:
    """The refusal that a reading method answers with."""
    with pytest.raises(Refused) as refused:
        await books.ask(method, request, caller)
    return refused.value.refusal


def played() -> tuple[Flow, shipment_pb2.Shipment]:
    """A shipment of two labelled parcels on its way."""
    flow = Flow()
    shipment = flow.labelled(packages=2)
    flow.manifest()
    return flow, shipment
