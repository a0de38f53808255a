"""`crossdock freight` against a running hub: a charge is found, disputed, approved, finalised."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from crossdock.cli import app
from crossdock.freight.v1 import freight_pb2, freight_service_pb2
from crossdock.types.v1 import types_pb2
from fixtures_hub import Lane, RunningHub
from fixtures_nats import eventually
from story import Story, label, request_id, unique
from typer.testing import CliRunner, Result


class Command:
    """`crossdock freight` as transport management at a hub."""

    def __init__(self, hub: RunningHub, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CROSSDOCK_ADDRESS", hub.address)
        monkeypatch.setenv("CROSSDOCK_TOKEN_FILE", str(hub.token_file("shipping-desk")))

    def __call__(self, *words: str, code: int = 0) -> Result:
        done = CliRunner().invoke(app, ["freight", *words])
        assert done.exit_code == code, done.output
        return done

    def json(self, *words: str) -> Any:
        return json.loads(self(*words, "--json").output)


@pytest.fixture
def command(hub: RunningHub, monkeypatch: pytest.MonkeyPatch) -> Command:
    return Command(hub, monkeypatch)


def money(amount: str) -> types_pb2.Money:
    return types_pb2.Money(amount=amount, currency="USD")


async def _bill(
    hub: RunningHub, lane: Lane, number: str, tracking_number: str, amount: str
) -> freight_pb2.FreightCharge:
    async with Story(hub, lane) as story:
        answer = await story.carrier.freight.RecordFreightInvoice(
            freight_service_pb2.RecordFreightInvoiceRequest(
                request_id=request_id(),
                carrier_code="UPSN",
                tracking_number=tracking_number,
                invoice=freight_pb2.FreightInvoice(
                    number=number, invoice_date="2026-03-09", amount=money(amount)
                ),
            )
        )
        return answer.freight_charge


async def _shipped(hub: RunningHub, lane: Lane, tracking_number: str) -> str:
    """An order of one labelled parcel; its id."""
    async with Story(hub, lane) as story:
        packed = await story.packed()
        carton = packed.packages[0].id
        await story.carrier.labels.CreateLabel(label(packed.id, carton, tracking_number))
        return packed.order_id


def test_a_charge_is_audited_by_its_invoices_number(
    hub: RunningHub, lane: Lane, command: Command
) -> None:
    """Proves the audit's words one after another, each by the number on the carrier's invoice: the
    correction replaces what is disputed, less is approved than billed (and never without a reason,
    nor a reason dropped), and what is final stays."""
    number, tracking_number = unique("INV"), unique("1Z")
    order_id = asyncio.run(_shipped(hub, lane, tracking_number))
    charge = asyncio.run(_bill(hub, lane, number, tracking_number, "20.00"))
    row = next(line for line in command("list").output.splitlines() if charge.id in line)
    for words in (number, tracking_number, "INVOICED", "20.00 USD"):
        assert words in row
    told = command("dispute", number, "--reason", "twice the rate", "--yes").output
    assert "DISPUTED" in told
    asyncio.run(_bill(hub, lane, number, tracking_number, "10.00"))

    async def corrected() -> bool:
        found = await asyncio.to_thread(command.json, "list", "--state", "invoiced")
        amounts = {
            each["id"]: each["invoice"]["amount"]["amount"] for each in found["freight_charges"]
        }
        return amounts.get(charge.id) == "10.00"

    asyncio.run(eventually(corrected, "the correction", 30.0))
    for half in (("--amount", "9.50"), ("--reason", "as agreed")):
        alone = str(command("approve", number, *half, "--yes", code=1).exception)
        assert "--amount and --reason go together" in alone
    words = ("--amount", "9.50", "--reason", "as agreed", "--yes")
    approved = command.json("approve", order_id, *words)
    assert approved["audit"]["amount"] == {"amount": "9.50", "currency": "USD"}
    assert "FINALISED" in command("finalise", charge.id, "--yes").output
    refused = command("cancel", number, "--reason", "a mistake", "--yes", code=1)
    assert "FINALISED" in str(refused.exception)


def test_a_charge_that_nobody_can_mean_is_told(
    hub: RunningHub, lane: Lane, command: Command
) -> None:
    """Proves that several charges of an order are named instead of one of them taken, and that
    unknown states and orders without freight are told."""
    tracking_number = unique("1Z")
    order_id = asyncio.run(_shipped(hub, lane, tracking_number))
    none = command("approve", order_id, "--yes", code=1)
    assert "names 0 freight charges" in str(none.exception)
    ids = {
        asyncio.run(_bill(hub, lane, unique("INV"), tracking_number, "5.00")).id for _ in range(2)
    }
    several = str(command("approve", order_id, "--yes", code=1).exception)
    assert "names 2 freight charges" in several
    assert all(each in several for each in ids)
    unknown = command("list", "--state", "paid", code=1)
    assert "there is no state 'paid'" in str(unknown.exception)
