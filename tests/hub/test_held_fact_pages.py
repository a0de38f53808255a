"""Pages of held facts: no payload is read that the page does not tell."""

from __future__ import annotations

from typing import Any

import pytest
from crossdock.endpoint.v1 import held_fact_pb2
from crossdock_hub.store import rows
from decisions import CARRIER, ERP, request_id
from first_flow import Flow
from stored_flow import Books, books
from test_reading import ENDPOINTS, pages

__all__ = ["books"]


async def test_a_page_of_held_payloads_reads_what_it_tells(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that of large payloads only those are read that fit into the page, that all come, in
    order and once, and that the ids name those that are asked for."""
    flow = Flow()
    for number in range(9):
        raw = held_fact_pb2.HoldPayloadRequest(
            request_id=request_id(),
            payload=bytes([number]) * 512 * 1024,
            source="/hook",
            reason="no table",
        )
        flow.call(f"{ENDPOINTS}/HoldPayload", raw, CARRIER)
    await books.keep(flow)
    read: list[str] = []
    record_of = rows.held_record

    def noted(row: Any) -> Any:
        record = record_of(row)
        read.append(record.id)
        return record

    monkeypatch.setattr(rows, "held_record", noted)
    listed = held_fact_pb2.ListHeldFactsRequest(page_size=20)
    first = await books.ask(f"{ENDPOINTS}/ListHeldFacts", listed, caller=CARRIER)
    assert len(first.held_facts) == len(read) == 4
    read.clear()
    found = await pages(books, f"{ENDPOINTS}/ListHeldFacts", listed, "held_facts", caller=CARRIER)
    assert [fact.payload[0] for fact in found] == list(range(9))
    assert read == [fact.id for fact in found]
    some = [found[7].id, found[2].id, request_id()]
    listed = held_fact_pb2.ListHeldFactsRequest(ids=some, state=held_fact_pb2.HELD_FACT_STATE_HELD)
    chosen = await pages(books, f"{ENDPOINTS}/ListHeldFacts", listed, "held_facts", caller=CARRIER)
    assert [fact.id for fact in chosen] == [found[2].id, found[7].id]
    assert not (await books.ask(f"{ENDPOINTS}/ListHeldFacts", listed, caller=ERP)).held_facts
