"""What a person has to see is found among any number of letters that nobody has to see."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from crossdock.dead_letter.v1 import dead_letter_service_pb2 as service_pb2
from crossdock_hub.config import SECOND, Limits
from crossdock_hub.delivery import breaking
from crossdock_hub.delivery.causes import cause_of
from crossdock_hub.delivery.dead_letters import Patience, is_dead
from crossdock_hub.records import DeliveryRecord, EndpointRecord
from crossdock_hub.store.dead_letters import find_groups
from crossdock_hub.store.sightings import find_group
from crossdock_hub.store.writing import write
from crossdock_hub.unit import Changes
from databases import KINDS, open_store
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event
from stored_flow import Books

NOW = 1_800_000_000_000_000
QUARTER = int(Limits().dead_letter_unknown_seconds * SECOND)
PATIENCE = Patience.of(Limits())
MOST = 5
ERP = EndpointRecord("netsuite", "ERP", (), (), (), "ACTIVE", b"")
DOWN = replace(ERP, id="ups", breaker_state="OPEN", breaker_since=NOW - 3 * QUARTER)


@pytest.fixture(params=KINDS)
async def books(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Books]:
    """An empty database of its own, of each kind; its hub looks at few letters."""
    store = await open_store(tmp_path, request.param)
    books = Books(store, Limits(dead_letters_max=MOST))
    books.queries.clock = lambda: NOW
    yield books
    await store.close()


def delivery(number: int, endpoint: str, state: str, age: int, unknown: int = 0) -> DeliveryRecord:
    """One that was changed so long ago, and has been in doubt for so long; microseconds."""
    return DeliveryRecord(
        id=f"{endpoint}-{number}", event_id="e", event_type="t", endpoint=endpoint, item="",
        operation="work", ordering_key=f"o-{number}", state=state, created_at=number,
        updated_at=NOW - age, kind="order", object_id=f"o-{number}", root_id=f"o-{number}",
        vendor_reference=f"v-{number}", waiting_on="no",
        first_unknown_at=NOW - unknown if unknown else None,
    )  # fmt: skip


async def keep(books: Books, *records: DeliveryRecord) -> None:
    changes = Changes(records={("delivery", each.id): each for each in records})
    for endpoint in (ERP, DOWN):
        changes.records["endpoint", endpoint.id] = endpoint
    async with books.store.write() as connection:
        await write(connection, changes)


async def listed(books: Books, endpoint: str | None = None) -> tuple[list[str], bool]:
    """Ids of the letters that a person is shown, and whether there are more."""
    async with books.store.read() as connection:
        found = await find_groups(connection, MOST, NOW, PATIENCE, endpoint)
    return sorted(m.id for group in found.groups for m in group.members), found.truncated


async def test_doubt_that_is_left_to_the_hub_hides_no_letter(books: Books) -> None:
    """Proves that more doubt of an outage than is looked at, each newer than what waits for a
    person, pushes nothing off the list, and leaves nothing out that is not said to be left out."""
    hidden = [delivery(n, "ups", "RESOLVING", n, 2 * QUARTER + n) for n in range(1, 3 * MOST)]
    young = [delivery(n, "netsuite", "UNKNOWN", n, QUARTER - n) for n in range(1, 3 * MOST)]
    parked = delivery(90, "netsuite", "PARKED", QUARTER)
    doubt = delivery(91, "netsuite", "UNKNOWN", QUARTER, QUARTER)
    old = delivery(92, "ups", "UNKNOWN", QUARTER, int(Limits().unanswered_seconds_max * SECOND))
    before = delivery(93, "ups", "UNKNOWN", QUARTER, 4 * QUARTER)
    await keep(books, *hidden, *young, parked, doubt, old, before)
    shown = sorted(record.id for record in (parked, doubt, old, before))
    assert await listed(books) == (sorted({*shown} - {before.id}), False)
    answered = replace(DOWN, answered_windows=((0, NOW - 3 * QUARTER),))
    async with books.store.write() as connection:
        await write(connection, Changes(records={("endpoint", DOWN.id): answered}))
    assert await listed(books) == (shown, False)
    for record in (parked, doubt, old, before):
        async with books.store.read() as connection:
            wanted = cause_of(record, "").id
            assert await find_group(connection, wanted, MOST, NOW, PATIENCE) is not None


async def test_a_list_that_leaves_letters_out_says_so(books: Books) -> None:
    """Proves that of more letters than are looked at the newest are listed, and that there are
    more is said."""
    await keep(books, *(delivery(n, "netsuite", "PARKED", n) for n in range(1, MOST + 2)))
    newest = [f"netsuite-{n}" for n in range(1, MOST + 1)]
    assert await listed(books) == (newest, True)


@pytest.mark.parametrize(("endpoint", "state"), [("netsuite", "PARKED"), ("", "UNROUTED")])
async def test_a_group_is_shown_whatever_stopped_elsewhere_since(
    books: Books, endpoint: str, state: str
) -> None:
    """Proves that a group is shown and acknowledged by its id with all its members at its endpoint,
    or of work that no endpoint has, though more letters of another endpoint are newer."""
    mine = [delivery(n, endpoint, state, QUARTER + n) for n in range(1, 4)]
    noise = [delivery(n, "ups", "REJECTED", n) for n in range(1, 3 * MOST)]
    await keep(books, *mine, *noise)
    group_id = cause_of(mine[0], "").id
    assert (await listed(books, endpoint))[0] == [record.id for record in mine]
    assert mine[0].id not in (await listed(books))[0]
    request: Any = service_pb2.GetDeadLettersRequest(group_id=group_id)
    answer = await books.ask("dead_letter.v1.DeadLetterService/GetDeadLetters", request)
    assert [member.delivery.id for member in answer.members] == [record.id for record in mine]
    async with books.store.read() as connection:
        seen = await find_group(connection, group_id, MOST, NOW, PATIENCE)
    assert seen is not None
    assert seen.cause == cause_of(mine[0], "")


@pytest.mark.parametrize("many", [False, True])
async def test_endpoints_are_gone_through_only_when_some_were_not_seen(
    books: Books, many: bool
) -> None:
    """Proves that an id of no group is looked for once where everything that stopped was seen, and
    at each endpoint and nobody's too where there is more than is looked at."""
    count = MOST if many else MOST - 1
    await keep(books, *(delivery(n, "netsuite", "PARKED", n) for n in range(count)))
    asked: list[str] = []

    def hear(_c: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        asked.append(statement)

    async with books.store.read() as connection:
        heard = connection.sync_connection
        event.listen(heard, "before_cursor_execute", hear)
        assert await find_group(connection, "no such group", MOST, NOW, PATIENCE) is None
        event.remove(heard, "before_cursor_execute", hear)
    looked = [statement for statement in asked if "FROM held_facts" in statement]
    assert len(looked) == (1 + len(("", ERP, DOWN)) if many else 1)


Spans = st.lists(st.integers(0, 30), min_size=0, max_size=6, unique=True).map(sorted)


@given(Spans, st.booleans(), st.integers(0, 10), st.integers(0, 40), st.integers(0, 40))
def test_what_the_database_is_asked_for_is_what_is_dead(
    moments: list[int], answers: bool, microseconds: int, now: int, unknown_at: int
) -> None:
    """Proves for any outages that doubt is looked for by when it began exactly where it shows."""
    windows = tuple(zip(moments[::2], moments[1::2], strict=False))
    last = moments[-1] if moments else 0
    found = breaking.answered("CLOSED" if answers else "OPEN", last, windows)
    patience = Patience(microseconds, 25, {"ups": found})
    record = replace(delivery(1, "ups", "UNKNOWN", 0), first_unknown_at=unknown_at)
    assert is_dead(record, patience, now) == (unknown_at <= patience.latest_shown("ups", now))
