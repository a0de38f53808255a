"""LTL freight and what carriers write in a response to a tender (990)."""

from __future__ import annotations

from pathlib import Path

import pytest
from crossdock_adapters.ltl_freight import tendering, translate_tender
from crossdock_adapters.ltl_freight.translate_tender import Response
from crossdock_adapters.sdk.outcomes import AnswerLater, Reject
from crossdock_adapters.sdk.x12 import envelopes
from crossdock_adapters.sdk.x12.segments import SegmentError
from ltl_freight_world import REFERENCE, World, pallets, running

ISA = (
    "ISA*00*          *00*          *02*EXLA           *ZZ*NORTHWIND      "
    "*260305*1407*U*00401*000000905*0*P*>~GS*GF*EXLA*NORTHWIND*20260305*1407*37*X*004010~"
)
OFFERED, OWN = "500000001", "071-4455"


def read(*body: str) -> Response:
    """What a 990 of these segments says."""
    count = len(body) + 2
    told = "".join(f"{each}~" for each in ("ST*990*0001", *body, f"SE*{count}*0001"))
    text = f"{ISA}{told}GE*1*37~IEA*1*000000905~"
    (interchange,) = envelopes.read(text.encode()).interchanges
    return translate_tender.response(interchange.groups[0].sets[0])


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (["B1*EXLA*REF*20260305*A"], Response("REF", "A")),
        (["B1*EXLA*REF*20260305*a", "N9*CN*071-4455"], Response("REF", "A", "", "0714455")),
        (["B1*EXLA*REF**A", "L11*0714455*CN"], Response("REF", "A", "", "0714455")),
        (["B1*EXLA**20260305*A", "N9*SI*REF"], Response("REF", "A")),
        (["B1*EXLA*REF**E", "K1*NO TRUCK*MONDAY"], Response("REF", "E", "NO TRUCK; MONDAY")),
        (["B1*EXLA*REF**D**NOE"], Response("REF", "D", "NOE")),
        (["B1*EXLA*REF**D", "V9*REJ*CAPACITY*20260305"], Response("REF", "D", "CAPACITY")),
    ],
)  # fmt: skip
def test_a_response_is_read_in_each_of_its_forms(body: list[str], said: Response) -> None:
    """Proves that both codes of a refusal refuse, with words or codes as their reason, that the
    reference is found in B1 or as the shipper's, and the carrier's number in N9 or L11."""
    assert read(*body) == said


@pytest.mark.parametrize("code", ["B", "C", "R", "U", "N"])
def test_what_is_neither_yes_nor_no_is_for_a_person(code: str) -> None:
    """Proves that a conditional or another answer is refused by its element."""
    with pytest.raises(SegmentError, match="none of A, D and E"):
        read(f"B1*EXLA*REF*20260305*{code}")


async def answered(world: World, code: str, **more: str) -> None:
    """A tender is out, and answered so."""
    await world.command("misbehave", kind="no_answer")
    with pytest.raises(AnswerLater):
        await world.buy(pallets(2))
    await world.answered()
    await world.command("respond", reference=REFERENCE, code=code, **more)
    await world.look()


async def test_the_carriers_own_number_is_what_it_reports_under(tmp_path: Path) -> None:
    """Proves that an acceptance under another PRO than the one that was offered makes labels of
    that number, so that what is reported under it finds them, and that ours stays where the
    carrier names it, too."""
    async with running(tmp_path, booking="tender") as world:
        await answered(world, "A", pro=OWN, reason="DOOR 4")
        done = await world.buy(pallets(2))
        assert [each.value for each in done.references] == ["0714455", "0714455"]
        assert [label.tracking_number for label in world.hub.stored] == ["0714455", "0714455-002"]
        assert "DOOR 4" in done.note and f"instead of {OFFERED}" in done.note
        again = await world.buy(pallets(2))
        assert again.references == done.references and again.note == done.note
    async with running(tmp_path, booking="tender") as world:
        await answered(world, "A", pro="500-000-001")
        done = await world.buy(pallets(2))
        assert done.references[0].value == OFFERED and "instead" not in done.note


@pytest.mark.parametrize("first", ["", OFFERED])
async def test_a_number_that_comes_with_a_second_acceptance_is_held(
    tmp_path: Path, first: str
) -> None:
    """Proves that a carrier's own PRO is not dropped because it comes after an acceptance without
    it, or with another one: a person sees it, and the first stands; the same again is nothing."""
    async with running(tmp_path, booking="tender") as world:
        await answered(world, "A", pro=first)
        await world.buy(pallets(2))
        for _ in range(2):
            await world.command("respond", reference=REFERENCE, code="A", pro=OWN)
            await world.look()
        ((_, reason), *_) = world.hub.held
        assert "it says A 0714455" in reason
        world.hub.held.clear()
        await world.command("respond", reference=REFERENCE, code="A", pro=first)
        await world.look()
        assert not world.hub.held
        assert (await world.buy(pallets(2))).references[0].value == OFFERED


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"pro": OWN, "reason": "DOOR 4"}, {"pro": OWN, "reason": "DOOR 5"}),
        ({"pro": OWN}, {"pro": "0714455", "reason": "THANKS"}),
        ({"pro": OWN}, {"pro": "TBA"}),
        ({}, {"pro": "TBA"}),
        # The number of the label that the first one made.
        ({}, {"pro": OFFERED}),
    ],
)
async def test_a_second_acceptance_that_names_no_other_number_is_nothing(
    tmp_path: Path, first: dict[str, str], second: dict[str, str]
) -> None:
    """Proves that nobody is called for a second acceptance with the same number and other words, or
    with what is no number."""
    async with running(tmp_path, booking="tender") as world:
        await answered(world, "A", **first)
        await world.buy(pallets(2))
        await world.command("respond", reference=REFERENCE, code="A", **second)
        await world.look()
        assert not world.hub.held


@pytest.mark.parametrize(
    "words", ["PRO ASSIGNED AT PICKUP", "PRO NUMBER TO FOLLOW; CALL", "PRO 123-456789", "PRO 77"]
)
async def test_words_of_an_acceptance_are_no_number(tmp_path: Path, words: str) -> None:
    """Proves that labels keep the PRO that was offered where the carrier names no number, however
    its remark begins, and that the remark is told."""
    async with running(tmp_path, booking="tender") as world:
        await answered(world, "A", reason=words)
        done = await world.buy(pallets(2))
        assert done.references[0].value == OFFERED and "instead" not in done.note
        assert words in done.note


@pytest.mark.parametrize(
    ("kept", "pro", "words"),
    [
        ("PRO 0714455; DOOR 4", "0714455", "DOOR 4"),
        ("PRO 0714455", "0714455", ""),
        ("PRO ASSIGNED AT PICKUP", OFFERED, "PRO ASSIGNED AT PICKUP"),
        ("PRO TBA; DOOR 4", OFFERED, "PRO TBA; DOOR 4"),
        ("PRO 123-456789", OFFERED, "PRO 123-456789"),
        ("DOOR 4", OFFERED, "DOOR 4"),
        ("", OFFERED, ""),
        ("TBA\x1fDOOR 4", OFFERED, "TBA; DOOR 4"),
        ("0714455\x1fPRO 9", "0714455", "PRO 9"),
    ],
)
def test_what_is_kept_of_an_acceptance_is_read(kept: str, pro: str, words: str) -> None:
    """Proves that an acceptance kept by an earlier version is read, its words never as a number,
    and that a number without a digit is none."""
    found = tendering._accepted(REFERENCE, OFFERED, kept)
    assert found.pro == pro and words in found.note


async def test_an_acknowledgement_of_a_later_release_is_heard(tmp_path: Path) -> None:
    """Proves that a 999 is noted with its tender as a 997 is."""
    async with running(tmp_path, booking="tender") as world:
        await world.command("misbehave", kind="no_997")
        await world.command("misbehave", kind="no_answer")
        with pytest.raises(AnswerLater, match="waits for its 997"):
            await world.buy(pallets(2))
        await world.sandbox.tick()
        later = (
            f"{ISA.replace('GS*GF', 'GS*FA')}ST*999*0001~AK1*SM*1*004010~AK2*204*0001~IK5*A~"
            "AK9*A*1*1*1~SE*6*0001~GE*1*37~IEA*1*000000905~"
        )
        world.put("later.edi", later.encode())
        await world.look()
        with pytest.raises(AnswerLater, match="waits for its answer"):
            await world.buy(pallets(2))
        assert not world.hub.held


async def test_a_tender_that_is_declined_by_the_standards_word_is_rejected(tmp_path: Path) -> None:
    """Proves that E is a refusal as D is."""
    async with running(tmp_path, booking="tender") as world:
        await answered(world, "E", reason="NO TRUCK")
        with pytest.raises(Reject, match="declined it NO TRUCK"):
            await world.buy(pallets(2))


async def test_the_carrier_minds_the_order_of_a_tender(tmp_path: Path) -> None:
    """Proves that our tender keeps the standard's rules of a stop, and that the simulated carrier
    cannot read one that does not."""
    async with running(tmp_path, booking="tender") as world:
        with pytest.raises(AnswerLater):
            await world.buy(pallets(2))
        (name,) = world.names("to_carrier")
        text = (world.folder("to_carrier") / name).read_text()
        assert "S5*1*LD*1810*L*2*PL~" in text
        await world.answered()
        assert len(world.sandbox.books()["tenders"]) == 1
        for number, wrong in enumerate((text.replace("*PL~", "~"), _dates_behind(text)), start=7):
            again = wrong.replace("000000001", f"{number:09}").replace("*1*X*", f"*{number}*X*")
            again = again.replace("GE*1*1~", f"GE*1*{number}~")
            (world.folder("to_carrier") / f"SM_{number:09}.edi").write_text(again)
            await world.sandbox.tick()
        books = world.sandbox.books()
        assert len(books["tenders"]) == 1 and books["tenders_doubled"] == 0


def _dates_behind(text: str) -> str:
    """The tender with the pick-up behind its party, where no date may stand."""
    head, _, rest = text.partition("G62*10*")
    date, _, behind = rest.partition("~")
    party, _, tail = behind.partition("S5*2")
    return f"{head}{party}G62*10*{date}~S5*2{tail}"
