"""The skeleton of an adapter that speaks X12: what it does with a partner that is not tidy."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from carrier_hub import SmallHub, refusal
from crossdock_adapters.sdk import carrier_scans, edi_replies
from crossdock_adapters.sdk.edi_mailbox import EdiMailbox, Read
from crossdock_adapters.sdk.edi_replies import Sent
from crossdock_adapters.sdk.outcomes import NeedsPerson
from crossdock_adapters.sdk.scaffold.creating import create
from crossdock_adapters.sdk.testing import OUTSIDE_PREFIX
from crossdock_adapters.sdk.work import Poll
from crossdock_adapters.sdk.x12 import acknowledgments, envelopes
from crossdock_adapters.sdk.x12.acknowledgments import Status
from test_sequences import KeptCursors

NAME = "untidy-partner"
PACKAGE = f"{OUTSIDE_PREFIX}untidy_partner"
LEFT = "AT7*X4*NS***20260305*1340*UT~"
BROKEN = "AT7*X4*NS***20260305*2505*UT~"


class Skeleton:
    """The skeleton's modules, a small hub, and its poll of the mailbox."""

    def __init__(self) -> None:
        self.adapter: Any = importlib.import_module(f"{PACKAGE}.adapter")
        self.conformance: Any = importlib.import_module(f"{PACKAGE}.conformance")
        self.hub: Any = SmallHub()
        self.cursors: Any = KeptCursors()

    async def tell(self, payload: bytes) -> tuple[Read, Status]:
        """What came of the one set of a payload, and what its 997 says."""
        ((group,),) = [each.groups for each in envelopes.read(payload).interchanges]
        (found,) = group.sets

        read = await self.adapter._tell(self.poll(), found, group)
        return read, acknowledgments.judged(found, read.faults, *read.codes).status

    def poll(self) -> Poll:
        async def put(raw: bytes) -> None: ...

        nobody: Any = None
        return Poll(
            "mailbox", NAME, b"", nobody, self.hub, put, self.hub.hold, cursors=self.cursors
        )

    def status(self, more: str = "") -> bytes:
        """A file with a 214: one scan, and these segments behind it."""
        payload: bytes = self.conformance.status(1, "AF", "0905", more=more)
        return payload

    def response(self, number: str) -> bytes:
        """A file with a 990 that accepts tender S-1, under a number of the partner's."""
        body = f"ST*990*0001~B1*PIGN*S-1*20260305*A~N9*CN*{number}~SE*4*0001~"
        head, _, rest = self.status().decode().partition("ST*")
        return (head + body + rest[rest.index("GE*") :]).encode()


@pytest.fixture
def skeleton(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Skeleton]:
    create(NAME, "edi", tmp_path / "it")
    monkeypatch.syspath_prepend(str(tmp_path / "it" / "src"))
    yield Skeleton()
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]


async def test_a_scan_that_cannot_be_read_costs_no_other(skeleton: Skeleton) -> None:
    """Proves that of a 214 with a broken AT7 the others are told, that its 997 takes it with an
    error which names the element, and that a person sees it; and that one without any AT7 is taken
    with the error that it is missing."""
    read, said = await skeleton.tell(skeleton.status(BROKEN + LEFT))
    told = [scan.status_code for scan in skeleton.hub.scans.values()]
    assert told == ["AF", "X4"] and said is Status.WITH_ERRORS
    (problem,) = read.problems
    assert problem.startswith("segment 6 (AT7), element 6")
    assert (await skeleton.tell(skeleton.status(LEFT)))[0] == Read()
    empty = skeleton.status().replace(b"AT7*AF*NS***20260305*0905*UT~", b"K1*WORDS~")
    read, said = await skeleton.tell(empty)
    (fault,) = read.faults
    assert said is Status.WITH_ERRORS and fault.segment_code == "3"


async def test_more_scans_than_one_request_takes_are_several(skeleton: Skeleton) -> None:
    """Proves that a 214 with more scans than the hub takes at once is told whole, and that what the
    hub refuses is for a person."""
    most = carrier_scans.MAX_SCANS_PER_REQUEST
    clocks = [f"{at // 60:02}{at % 60:02}" for at in range(most + 1)]
    many = "".join(LEFT.replace("1340", clock) for clock in clocks)
    assert (await skeleton.tell(skeleton.status(many)))[0] == Read()
    assert len(skeleton.hub.scans) == most + 2
    skeleton.hub.refuse_scans = True
    read, _ = await skeleton.tell(skeleton.status())
    (problem,) = read.problems
    assert problem.startswith("segment 3 (ST)") and str(refusal("invented")) in problem


async def test_a_second_number_for_one_tender_is_for_a_person(skeleton: Skeleton) -> None:
    """Proves that a second 990 which accepts a tender under another number is not dropped: the
    first stands, and a person sees both; the same one again is no news."""
    sent = edi_replies.noted((), Sent("S-1", 7, datetime(2026, 3, 5, tzinfo=UTC)))
    name = f"{edi_replies.CURSOR_PREFIX}{skeleton.adapter.TENDERS}"
    await skeleton.cursors.put_cursor(name, edi_replies.encode(sent), 0)
    for _ in range(2):
        assert (await skeleton.tell(skeleton.response("PGN1")))[0] == Read()
    read, _ = await skeleton.tell(skeleton.response("PGN2"))
    (problem,) = read.problems
    assert "PGN1" in problem and "PGN2" in problem
    raw, _ = await skeleton.cursors.get_cursor(name)
    (kept,) = edi_replies.decode(raw)
    assert kept.reason == "PGN1"


async def test_a_ta1_that_refuses_a_tender_parks_it(skeleton: Skeleton) -> None:
    """Proves that a tender in an interchange which the partner did not take is for a person, as one
    whose 997 rejects it is, and that the TA1 itself is held only where nothing is known of it."""
    sent = edi_replies.noted((), Sent("S-1", 7, datetime(2026, 3, 5, tzinfo=UTC)))
    name = f"{edi_replies.CURSOR_PREFIX}{skeleton.adapter.TENDERS}"
    await skeleton.cursors.put_cursor(name, edi_replies.encode(sent), 0)
    client: Any = importlib.import_module(f"{PACKAGE}.client")
    nowhere: Any = None
    mailbox = EdiMailbox(nowhere, client.way(60.0))
    head = skeleton.status().decode()[:106]
    for number in ("000000007", "000000008"):
        said = f"{head}TA1*{number}*260305*1900*R*006~IEA*0*{head[90:99]}~".encode()
        held: Any = SimpleNamespace(payload=said)
        await skeleton.adapter.tell_held(skeleton.poll(), held, mailbox)
    (kept,) = edi_replies.decode((await skeleton.cursors.get_cursor(name))[0])
    with pytest.raises(NeedsPerson, match="could not read interchange 000000007"):
        edi_replies.check_syntax(kept)
    ((_, reason),) = skeleton.hub.held
    assert "did not take interchange 000000008 of ours" in reason
