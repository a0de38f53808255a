"""Freight invoices of an LTL carrier: read exactly, told once, acknowledged."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import grpc
import pytest
from carrier_hub import refusal
from crossdock.errors import NotFoundError, Refusal
from crossdock.types.v1.types_pb2 import Money
from crossdock_adapters.ltl_freight import translate_invoice
from crossdock_adapters.ltl_freight.adapter import ADAPTER
from crossdock_adapters.sdk.places import Unreadable
from crossdock_adapters.sdk.work import HeldPayload
from crossdock_adapters.sdk.x12 import envelopes, segments
from crossdock_adapters.sdk.x12.segments import USUAL
from ltl_freight_world import pallets, running

PRO = "500000001"


async def test_an_invoice_is_told_and_acknowledged(tmp_path: Path) -> None:
    """Proves that the hub is told an invoice that adds up, exactly and by its PRO, and that one
    which does not is held and told to the carrier by its element."""
    async with running(tmp_path) as world:
        await world.buy(pallets(1))
        lines = {"": "500.25", "FUE": "61.10", "LFT": "45.00", "DSC": "-20.00"}
        await world.command("invoice", pro=PRO, net="586.35", lines=lines)
        await world.command("invoice", pro=PRO, net="586.36", lines=lines, correction="CO")
        await world.answered()
        (told,) = world.hub.billed.values()
        assert (told.carrier_code, told.tracking_number) == ("LTL", PRO)
        assert told.invoice.number == f"INV{PRO}"
        assert told.invoice.amount == Money(amount="586.35", currency="USD")
        assert [(each.code, each.amount.amount) for each in told.invoice.lines] == list(
            lines.items()
        )
        assert told.invoice.issuer == "EXLA"
        (reason,) = [reason for _, reason in world.hub.held]
        assert reason == "segment 4 (B3), element 7: is not the sum of its charges"
        said = world.sandbox.books()["acknowledged"]
        assert [each["status"] for each in said] == ["A", "E"]


async def test_an_invoice_that_is_sent_again_is_told_again(tmp_path: Path) -> None:
    """Proves that each sending of an invoice is told under an id of its own, so that the hub looks
    at what it knows by now and does not answer from memory; a file that is read again keeps its
    ids; and a correction is told as what the carrier calls it."""
    async with running(tmp_path) as world:
        await world.buy(pallets(1))
        for _ in range(2):
            await world.command("invoice", pro=PRO, net="10.00", lines={"": "10.00"})
        await world.command("invoice", pro=PRO, net="9.00", lines={"": "9.00"}, correction="CO")
        await world.answered()
        told = [
            (each.invoice.amount.amount, each.invoice.correction_code)
            for each in world.hub.billed.values()
        ]
        assert told == [("10.00", ""), ("10.00", ""), ("9.00", "CO")]
        for name in world.names("archive"):
            world.put(name, (world.folder("archive") / name).read_bytes())
        await world.look()
        assert len(world.hub.billed) == 3
        assert world.hub.held == []


def test_a_sending_is_known_by_sender_and_numbers() -> None:
    """Proves that the same invoice has another id by another sender, in another interchange, in
    one that was made at another time (who counts anew), in another group and in another set, and
    the same one alone in the envelopes that it came in."""
    changes = [
        ("", ""),
        ("*02*EXLA ", "*02*EXLB "),
        ("*260305*1900*U", "*260306*1900*U"),
        ("000000009", "000000010"),
        ("*9*X*", "*8*X*"),
        ("*0001~", "*0002~"),
    ]
    texts = [INVOICE.replace(*change) for change in changes]
    ids = [told_id(text.encode()) for text in texts]
    assert len(set(ids)) == len(ids) == 6
    (interchange,) = envelopes.read(INVOICE.encode()).interchanges
    (group,) = interchange.groups
    held = envelopes.write(envelopes.alone(interchange, group, group.sets[0]))
    assert told_id(held) == ids[0]


def told_id(file: bytes) -> str:
    """The id under which the one invoice of a file is told."""
    (interchange,) = envelopes.read(file).interchanges
    (group,) = interchange.groups
    (found,) = group.sets
    billed = translate_invoice.invoice(found)
    sending = translate_invoice.sending(found, group)
    return translate_invoice.request(billed, "ltl", "LTL", sending).request_id


async def test_each_invoice_of_a_file_that_the_hub_refuses_is_held_by_itself(
    tmp_path: Path,
) -> None:
    """Proves that of a file with many invoices each one is held with the hub's words, as a payload
    that is told again once the hub takes it; and that one which does not add up is held with the
    file."""
    file = many_invoices(40)
    translate = ADAPTER.polls["mailbox"].translate_held
    assert translate is not None
    async with running(tmp_path) as world:
        world.hub.refuse_invoices = refusal("not today")
        for name in ("a.edi", "b.edi"):
            world.put(name, file)
            await world.look()
        held = dict(world.hub.held)
        assert len(world.hub.held) == 80 and len(held) == 40
        assert held.pop(file).endswith("(L3), element 5: is not the net amount of the invoice")
        world.hub.refuse_invoices = None
        for number, (payload, reason) in enumerate(held.items(), start=1):
            assert reason.startswith(f"freight invoice 77-{number} of EXLA over 512.40 USD")
            assert "not today" in reason
            world.hub.held.clear()
            again = HeldPayload("1", "poll:mailbox", payload, "application/edi-x12", True)
            await translate(world.poll(), again, world.vendor)
            assert world.hub.held == []
        numbers = [each.invoice.number for each in world.hub.billed.values()]
        assert numbers == [f"77-{number}" for number in range(1, 40)]
        # By itself or with its file, it is told under one id.
        world.put("c.edi", file)
        await world.look()
        assert len(world.hub.billed) == 39


async def test_an_invoice_of_freight_that_is_not_ours_keeps_nothing_back(tmp_path: Path) -> None:
    """Proves that an invoice whose shipment the endpoint may not see is held with the hub's words,
    and the file behind it is read."""
    async with running(tmp_path) as world:
        await world.buy(pallets(1))
        world.hub.refuse_invoices = NotFoundError(
            Refusal("OBJECT_NOT_FOUND", "shipment 9 is not there"), grpc.StatusCode.NOT_FOUND
        )
        await world.command("invoice", pro=PRO, net="10.00", lines={"": "10.00"})
        await world.answered()
        (reason,) = [reason for _, reason in world.hub.held]
        assert f"INV{PRO}" in reason and "shipment 9 is not there" in reason
        world.hub.refuse_invoices = None
        await world.command("invoice", pro=PRO, net="9.00", lines={"": "9.00"}, correction="CO")
        await world.answered()
        assert [each.invoice.amount.amount for each in world.hub.billed.values()] == ["9.00"]


def many_invoices(count: int) -> bytes:
    """A file with so many invoices, of which the total of the last one is wrong."""
    (interchange,) = envelopes.read(INVOICE.encode()).interchanges
    (group,) = interchange.groups
    texts = [INVOICE.replace("77-1", f"77-{number}") for number in range(1, count + 1)]
    texts = [text.replace("*0001~", f"*{at:04}~") for at, text in enumerate(texts, start=1)]
    texts[-1] = texts[-1].replace("***51240~SE", "***51241~SE")
    many = replace(
        group,
        sets=tuple(map(invoice_in, texts)),
        trailer=segments.segment(USUAL, "GE", str(count), "9"),
    )
    return envelopes.write(envelopes.Payload((replace(interchange, groups=(many,)),)))


INVOICE = (
    "ISA*00*          *00*          *02*EXLA           *ZZ*NORTHWIND      "
    "*260305*1900*U*00401*000000009*0*P*>~GS*IM*EXLA*NORTHWIND*20260305*1900*9*X*004010~"
    "ST*210*0001~B3**77-1*S-2001*PP**20260309*51240****EXLA~C3*USD~N9*CN*041-2345678~"
    "LX*1~L1*1*12.50*PH*46240~LX*2~L1*2***5000****405~L3*905*G***51240~SE*10*0001~GE*1*9~"
    "IEA*1*000000009~"
)


def test_an_invoice_is_read_exactly() -> None:
    """Proves implied decimals, the lines with their codes, and the carrier's reference."""
    billed = translate_invoice.invoice(invoice_in(INVOICE))
    assert (billed.key, billed.pro, billed.net) == ("EXLA/77-1", "0412345678", Decimal("512.40"))
    assert [(each.amount, each.code) for each in billed.charges] == [
        (Decimal("462.40"), ""),
        (Decimal("50.00"), "405"),
    ]


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("*51240****EXLA", "*****EXLA", r"segment 4 \(B3\), element 7: is missing"),
        ("*20260309*", "**", r"segment 4 \(B3\), element 6: is missing"),
        ("**EXLA~C3", "~C3", r"segment 4 \(B3\), element 11: is missing"),
        ("***51240~SE", "***51241~SE", r"segment 11 \(L3\), element 5: is not the net"),
        ("*46240~", "*46241~", r"segment 4 \(B3\), element 7: is not the sum"),
        ("*46240~", "*462,40~", r"segment 8 \(L1\), element 4: is no number"),
        ("*46240~", "*462.405~", r"segment 8 \(L1\), element 4: has more than 2 decimals"),
        ("B3**77", "B4**77", r"segment 3 \(ST\): has no B3"),
        ("****EXLA~", "****RDWY~", r"segment 4 \(B3\), element 11: is not the carrier"),
        ("C3*USD", "C3*US", r"segment 5 \(C3\), element 1: is no code"),
        ("CN*041-2345678", "CN*---", r"segment 6 \(N9\), element 2: has neither"),
        ("****405~", f"****{'4' * 17}~", r"segment 10 \(L1\), element 8: has more than 16"),
    ],
)
def test_a_wrong_invoice_is_told_by_its_place(old: str, new: str, place: str) -> None:
    """Proves that what is missing from an invoice, or does not add up, is told by element."""
    with pytest.raises(Unreadable, match=place):
        translate_invoice.invoice(invoice_in(INVOICE.replace(old, new, 1)), ["EXLA"])


def test_more_charges_than_are_read_are_told() -> None:
    """Proves that an invoice is never told without some of its charges."""
    one = "L1*2***1****405~"
    text = INVOICE.replace("L1*2***5000****405~", one * 200).replace("SE*10*", "SE*209*")
    with pytest.raises(Unreadable, match="is charge 201: that many are not read"):
        translate_invoice.invoice(invoice_in(text))


def invoice_in(text: str) -> Any:
    """The set of an interchange that has one."""
    (interchange,) = envelopes.read(text.encode()).interchanges
    return interchange.groups[0].sets[0]
