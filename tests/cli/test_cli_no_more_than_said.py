"""What a command proposes, and the status it ends with, promise no more than the hub said."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from crossdock.cli import deliveries, posted_twice
from crossdock.cli.replay import WHY_NOT, plan_lines
from crossdock.delivery.v1 import delivery_pb2
from crossdock.lineage.v1 import lineage_service_pb2, posting_pb2
from crossdock.replay.v1 import replay_pb2
from typer.testing import CliRunner


def plan(counts: dict[str, int], *, needs_approval: bool = False) -> str:
    """What is printed of a plan with so many items of each verdict."""
    planned = replay_pb2.Replay(
        id="R",
        endpoint="erp",
        set=replay_pb2.REPLAY_SET_MISSING,
        state=replay_pb2.REPLAY_STATE_PLANNED,
        item_count=sum(counts.values()),
        needs_approval=needs_approval,
    )
    for name, count in counts.items():
        value = replay_pb2.ReplayVerdict.Value(f"REPLAY_VERDICT_{name}")
        planned.planned.add(verdict=value, count=count)
    return "\n".join(plan_lines(planned))


def test_every_verdict_that_posts_nothing_says_why() -> None:
    """Proves that no verdict of the contract is without words, and that a plan of only such items
    gives them instead of a command that starts it."""
    names = replay_pb2.ReplayVerdict.DESCRIPTOR.values_by_name
    verdicts = {name.removeprefix("REPLAY_VERDICT_") for name in names}
    assert set(WHY_NOT) == verdicts - {"UNSPECIFIED", "WOULD_POST"}
    for name in set(WHY_NOT) - {"WOULD_PARK"}:
        told = plan({name: 3})
        assert f"nothing would be posted: 3 {WHY_NOT[name]}" in told
        assert "replay start" not in told
        assert "crossdock replay show R --items" in told


def test_what_parks_is_told_before_the_start() -> None:
    """Proves that beside what would be posted the number of what parks is told with the reason,
    and that where all park the start is told as what it is."""
    told = plan({"WOULD_POST": 2, "WOULD_PARK": 1})
    assert "  WOULD_PARK        1" in told
    assert "of these 1 would not be posted but park" in told and "can't be asked" in told
    assert told.splitlines()[-1] == "start: crossdock replay start R --reason …"
    alone = plan({"WOULD_PARK": 2, "ALREADY_POSTED": 1})
    assert "nothing would be posted: 1 confirmed already; 2 would park" in alone
    assert alone.splitlines()[-1].startswith("park:  crossdock replay start R --reason …: makes")
    assert "park" not in plan({"WOULD_POST": 2})


def test_what_waits_for_a_second_person_says_so() -> None:
    """Proves that a plan all of which the policy holds back says who may let it go."""
    told = plan({"BLOCKED_BY_POLICY": 1}, needs_approval=True)
    assert "allow: crossdock replay approve R" in told and "nothing would be posted" in told


@pytest.mark.parametrize(
    ("token", "verdict", "code"),
    [
        ("", "POSTED_ONCE", 0),
        ("more", "POSTED_ONCE", 4),
        ("more", "POSTED_TWICE", 3),
    ],
)
def test_a_range_that_was_not_read_to_its_end_is_no_clean_one(
    monkeypatch: pytest.MonkeyPatch, token: str, verdict: str, code: int
) -> None:
    """Proves that `posted-twice --settled` ends with 4 where its limit was reached and nothing
    worse was found, since nobody has looked at the rest, and that its help says so."""
    value = posting_pb2.PostingVerdict.Value(f"POSTING_VERDICT_{verdict}")

    async def answer(_request: Any) -> Any:
        page = lineage_service_pb2.ListDoubtfulPostingsResponse(next_page_token=token)
        posting = page.postings.add(verdict=value)
        posting.deliveries.add()
        return page

    @asynccontextmanager
    async def opened(_place: Any) -> AsyncIterator[Any]:
        yield SimpleNamespace(lineage=SimpleNamespace(ListDoubtfulPostings=answer))

    monkeypatch.setattr(posted_twice, "open_hub", opened)
    monkeypatch.setattr(posted_twice, "find_place", lambda data: data)
    done = CliRunner().invoke(posted_twice.app, ["--settled", "--limit", "1"])
    assert done.exit_code == code, done.output
    told = " ".join(CliRunner().invoke(posted_twice.app, ["--help"]).output.split())
    assert "--limit was reached" in told


def test_a_refused_fact_is_marked_beside_the_document() -> None:
    """Proves that the result of a delivery counts its refused facts before the numbers that the
    vendor gave, and says nothing of facts where none was refused."""
    done = delivery_pb2.Delivery()
    done.vendor_references.add(type="so", value="7")
    assert deliveries._result(done) == "so 7"
    done.quarantined.add()
    assert deliveries._result(done) == "1 refused fact; so 7"
    done.quarantined.add()
    assert deliveries._result(done) == "2 refused facts; so 7"
    del done.vendor_references[:]
    assert deliveries._result(done) == "2 refused facts"
