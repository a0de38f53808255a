"""LTL freight and interchanges of ours that the carrier did not take (TA1), and advances billed."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from crossdock_adapters.ltl_freight import conformance, translate_invoice
from crossdock_adapters.ltl_freight.adapter import ADAPTER
from crossdock_adapters.sdk.outcomes import AnswerLater, NeedsPerson
from crossdock_adapters.sdk.x12 import envelopes
from crossdock_adapters.sdk.x12.segments import SegmentError
from ltl_freight_world import World, pallets, running
from test_ltl_freight_standard import received

HEADER = conformance.status(1, "X1", "1350").decode()[:106]


def answer(number: str, said: str, note: str = "006") -> bytes:
    """An interchange that holds nothing but a TA1 about one of ours."""
    control = HEADER[90:99]
    return f"{HEADER}TA1*{number}*260305*1900*{said}*{note}~IEA*0*{control}~".encode()


async def tendered(world: World) -> None:
    """A tender is out, and nothing is said to it."""
    await world.command("misbehave", kind="no_997")
    await world.command("misbehave", kind="no_answer")
    with pytest.raises(AnswerLater):
        await world.buy(pallets(1))


async def test_a_tender_in_a_refused_interchange_is_for_a_person(tmp_path: Path) -> None:
    """Proves that a TA1 which refuses the interchange of a tender parks its delivery at once, as a
    997 that refuses its group does, and that nothing else has to be looked at."""
    async with running(tmp_path, booking="tender") as world:
        await tendered(world)
        world.put("ta1.edi", answer("000000001", "R"))
        await world.look()
        assert world.hub.held == [] and "ta1.edi" in world.names("archive")
        with pytest.raises(NeedsPerson, match="could not read interchange 000000001"):
            await world.buy(pallets(1))


@pytest.mark.parametrize(
    ("number", "said", "told"),
    [
        ("000000007", "R", "did not take interchange 000000007 of ours, note 006: it acknowledges"),
        ("7", "R", "did not take interchange 7 of ours, note 006: it acknowledges group 7"),
        ("00000000X", "R", "did not take interchange 00000000X of ours, note 006"),
        ("000000001", "E", "took interchange 000000001 of ours with errors, note 006"),
        ("000000001", "A", ""),
        # What no code says of it refuses nothing.
        ("000000001", "r", "'r' of interchange 000000001 of ours is none of A, E and R"),
        ("000000001", "", "'' of interchange 000000001 of ours is none of A, E and R"),
    ],
)
async def test_what_a_ta1_says_of_nothing_known_is_held(
    tmp_path: Path, number: str, said: str, told: str
) -> None:
    """Proves that a refusal of what is not known to be sent, and errors in what was taken, are held
    with the interchange that they are about, that an acceptance is not, and that none of them
    refuses the tender that waits."""
    async with running(tmp_path, booking="tender") as world:
        await tendered(world)
        world.put("ta1.edi", answer(number, said))
        await world.look()
        reasons = [reason for _, reason in world.hub.held]
        assert len(reasons) == bool(told) and told in "".join(reasons)
        with pytest.raises(AnswerLater):
            await world.buy(pallets(1))


async def test_a_number_that_came_before_refuses_no_tender(tmp_path: Path) -> None:
    """Proves that a TA1 which refuses an interchange because its number came before (note 025), as
    of a file that was published again after a death, is held: the tender in the first one stands,
    and parked it would be offered a second time."""
    async with running(tmp_path, booking="tender") as world:
        await tendered(world)
        world.put("ta1.edi", answer("000000001", "R", "025"))
        await world.look()
        (held,) = [reason for _, reason in world.hub.held]
        assert "TA1), element 5: the partner had interchange 000000001 of ours before" in held
        with pytest.raises(AnswerLater):
            await world.buy(pallets(1))


async def test_a_ta1_is_answered_by_none(tmp_path: Path) -> None:
    """Proves that an interchange that holds nothing but a TA1 gets no TA1, also where its ISA14
    asks for one: two sides that always ask would write to each other for ever."""
    said = answer("000000001", "A").decode()
    async with running(tmp_path) as world:
        world.put("ta1.edi", f"{said[:100]}1{said[101:]}".encode())
        await ADAPTER.polls["mailbox"].pull(world.poll(), world.vendor)
        assert world.names("to_carrier") == [] and "ta1.edi" in world.names("archive")


STATUS = conformance.status(1, "X1", "1350").decode()
ACKNOWLEDGED = (
    STATUS[: STATUS.index("ST*")].replace("GS*QM", "GS*FA")
    + "ST*997*0001~AK1*PO*9~AK9*A*1*1*1~SE*4*0001~"
    + STATUS[STATUS.index("GE*") :]
)


@pytest.mark.parametrize(
    ("text", "wanted", "sets"),
    [
        (STATUS, "1", ["997"]),
        (STATUS, "0", ["997"]),
        (ACKNOWLEDGED, "1", []),
        (ACKNOWLEDGED, "0", None),
    ],
)
async def test_who_asks_for_a_ta1_gets_one(
    tmp_path: Path, text: str, wanted: str, sets: list[str] | None
) -> None:
    """Proves that an interchange whose ISA14 wants it is answered by a TA1 with its number, day and
    time, before the 997 if there is one, again on a repeat, and that another one is not."""
    body = f"{text[:100]}{wanted}{text[101:]}".encode()
    async with running(tmp_path) as world:
        for name in ("a.edi", "again.edi"):
            world.put(name, body)
            await ADAPTER.polls["mailbox"].pull(world.poll(), world.vendor)
        names = world.names("to_carrier")
        assert len(names) == (0 if sets is None else 2)
        for name in names:
            file = (world.folder("to_carrier") / name).read_bytes()
            (interchange,) = envelopes.read(file).interchanges
            told = (text[90:99], text[70:76], text[77:81], "A", "000")
            assert [each.elements for each in interchange.others] == ([told] * int(wanted))
            assert [each.id for group in interchange.groups for each in group.sets] == sets


HEAD = "B3**77-1*S-2001*PP**20260305*51240****EXLA"


@pytest.mark.parametrize(
    ("charges", "billed"),
    [
        # An advance is a charge of its own where the net amount has it in it.
        (["L1*1***50000", "L1*2****1240***LUM"], [("500.00", ""), ("12.40", "LUM")]),
        (["L1*1***50000*1240"], [("500.00", ""), ("12.40", "")]),
        (["L1*1****51240***LUM"], [("512.40", "LUM")]),
        # One that is told beside the charges is none.
        (["L1*1***51240*1240"], [("512.40", "")]),
        # A field that is filled up with zeros is none, either.
        (["L1*1***50000*0", "L1*2***1240*000***LUM"], [("500.00", ""), ("12.40", "LUM")]),
    ],
)
def test_advances_are_billed_where_they_are_in_the_amount(
    charges: list[str], billed: list[tuple[str, str]]
) -> None:
    """Proves of what the carrier laid out (L1-05), which an L1 may have in place of a charge, that
    it is billed where the net amount is the sum with it, and not where it is the sum without."""
    found, _ = received("210", HEAD, *charges)
    told = translate_invoice.invoice(found).charges
    assert [(each.amount, each.code) for each in told] == [(Decimal(a), c) for a, c in billed]


@pytest.mark.parametrize("charges", [["L1*1***50000*1000"], ["L1*1****1000"]])
def test_advances_that_make_no_sum_are_refused(charges: list[str]) -> None:
    """Proves that an invoice which adds up neither with its advances nor without is not told."""
    found, _ = received("210", HEAD, *charges)
    with pytest.raises(SegmentError, match="is not the sum of its charges"):
        translate_invoice.invoice(found)
