"""What a begun attempt is told of the rows of its kind, wherever they were set."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from crossdock.client import HubClient
from crossdock.endpoint.v1 import endpoint_pb2
from crossdock.mapping.v1 import mapping_service_pb2 as service_pb2
from crossdock_hub import known_by_heart
from crossdock_hub.config import Limits
from crossdock_hub.known_by_heart import KnownByHeart
from crossdock_hub.objects.mappings import Code, row_id
from crossdock_hub.records import EndpointRecord, MappingRecord
from crossdock_hub.unit import NotLoaded, View
from fixtures_hub import Lane, RunningHub
from fixtures_nats import eventually
from played_endpoint import ERP_OPERATIONS, PlayedEndpoint
from shared_hubs import SharedHubs
from story import Story, seed_master_data, unique
from test_mapping_rpc import set_row

KIND = "played"
LANE = Lane(1)
ROWS = 3
TAKEN_OVER_SECONDS = 60.0


async def version_in_the_store(client: HubClient) -> int:
    request = service_pb2.ListMappingsRequest(endpoint_kind=KIND, page_size=1)
    return (await client.mappings.ListMappings(request)).mapping_version


async def told_at_begin(story: Story, erp: PlayedEndpoint) -> int:
    """Of a new delivery, which another attempt of is told the same."""
    await story.approved()
    dispatch = await erp.take()
    attempt_id = "0190a5b0-0000-4000-8000-000000000001"
    first = await erp.try_begin(dispatch, attempt_id=attempt_id)
    again = await erp.try_begin(dispatch, attempt_id=attempt_id)
    assert first.HasField("mapping_version")
    assert again.mapping_version == first.mapping_version
    await erp.complete(dispatch.delivery_id, first.token, "CONFIRMED")
    return first.mapping_version


async def test_an_attempt_is_told_of_every_row_set_before(hub: RunningHub, lane: Lane) -> None:
    """Proves that the very next attempt after a row was set is told a version that has it, as often
    as rows are set, and that a refused one is told none."""
    async with Story(hub, lane) as story, PlayedEndpoint(hub, lane.erp, ERP_OPERATIONS) as erp:
        before = await told_at_begin(story, erp)
        assert before == await version_in_the_store(story.operator)
        code = unique("Q")
        for number in range(1, ROWS + 1):
            await set_row(story.operator, KIND, code, "IN_TRANSIT")
            assert await told_at_begin(story, erp) == before + number
        await set_row(story.operator, unique("other").lower(), code, "IN_TRANSIT")
        assert await told_at_begin(story, erp) == before + ROWS
        await story.approved()
        dispatch = await erp.take()
        dispatch.dispatch_number += 1
        refused = await erp.try_begin(dispatch)
        assert refused.HasField("refusal") and not refused.HasField("mapping_version")


@pytest.fixture
def hubs(tmp_path: Path) -> Iterator[SharedHubs]:
    """Two hubs, the first of which leads."""
    running = SharedHubs(tmp_path).start()
    asyncio.run(seed_master_data(running.hubs[0]))
    yield running
    running.end()


async def test_an_attempt_is_told_of_rows_set_at_any_hub(hubs: SharedHubs) -> None:
    """Proves the same of attempts and rows at different hubs of one database, and of a hub that
    began to lead after rows were set which it had not been asked about."""
    first, second = hubs.hubs
    async with (
        Story(first, LANE) as there,
        Story(second, LANE) as here,
        PlayedEndpoint(second, LANE.erp, ERP_OPERATIONS) as erp,
    ):
        before = await told_at_begin(here, erp)
        for story in (there, here):
            await set_row(story.operator, KIND, "QQ", "IN_TRANSIT")
            before += 1
            assert await told_at_begin(here, erp) == before
        await set_row(there.operator, KIND, "QQ", "DELIVERED")
        term, _ = hubs.leader()
        first.kill()
        await eventually(lambda: hubs.leader()[0] > term, "a new leader", TAKEN_OVER_SECONDS)
        assert await told_at_begin(here, erp) == before + 1


def known_of(version: int) -> KnownByHeart:
    """What a hub knows after a batch in which somebody asked for the version of the ERP's kind."""
    manifest = endpoint_pb2.Manifest(adapter=KIND).SerializeToString()
    known = KnownByHeart(Limits())
    known.learn([EndpointRecord("netsuite", "ERP", (), (), (), "ACTIVE", manifest)])
    committed(known, version)
    return known


def committed(known: KnownByHeart, read: int | None = None, *changed: MappingRecord) -> None:
    view = View()
    known.tell(view)
    if read is not None:
        view.add(("mapping_version", KIND), read)
    for row in changed:
        view.changes.records["mapping_row", row.id] = row
    known.committed(view, known.after(view))


def row(kind: str) -> MappingRecord:
    key = row_id(kind, "STATUS", Code("", "QQ"))
    return MappingRecord(key, kind, "STATUS", "", "QQ", "DELIVERED", "", False, b"", "", b"", 2)


def told_by(known: KnownByHeart) -> int:
    view = View()
    known.tell(view)
    version: int = view.get(("mapping_version", KIND))
    return version


def test_a_version_is_known_until_a_row_changes() -> None:
    """Proves that a hub asks its store for a version once, not at each begin, and once more after a
    row of that kind, and no other one, has changed in any batch."""
    known = known_of(7)
    committed(known)
    committed(known, None, row("another"))
    assert told_by(known) == 7
    committed(known, 7, row(KIND))
    with pytest.raises(NotLoaded):
        told_by(known)
    committed(known, 8)
    assert told_by(known) == 8


async def test_a_hub_in_doubt_knows_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves that a hub which begins to lead once more, or that does not know how a commit ended,
    asks its store again: another hub may have set a row meanwhile."""
    known = known_of(7)
    left = [each.health for each in known.endpoints]

    async def stored(_connection: object) -> list[EndpointRecord]:
        return left

    monkeypatch.setattr(known_by_heart, "every_endpoint", stored)
    store: Any = None
    await known.ready(store)
    assert told_by(known) == 7
    known.doubt()
    await known.ready(store)
    with pytest.raises(NotLoaded):
        told_by(known)
    assert [each.id for each in known.endpoints] == ["netsuite"]
    committed(known, 9)
    await known.ready(store)
    assert told_by(known) == 9


async def test_a_doubt_that_comes_while_the_store_is_read_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Proves that a hub which hears of a change while it reads the endpoints reads them once more:
    what it was reading may be from before; and once more, too, when the store did not answer."""
    known = known_of(7)
    left = [each.health for each in known.endpoints]
    reads = 0

    async def stored(_connection: object) -> list[EndpointRecord]:
        nonlocal reads
        reads += 1
        if reads == 1:
            # What is registered now is not in what this reading has.
            known.doubt()
            return left
        if reads == 2:
            raise OSError("the store does not answer")
        return [*left, EndpointRecord("ups", "CARRIER", (), (), (), "ACTIVE", b"")]

    monkeypatch.setattr(known_by_heart, "every_endpoint", stored)
    store: Any = None
    known.doubt()
    await known.ready(store)
    with pytest.raises(OSError):
        await known.ready(store)
    await known.ready(store)
    assert [each.id for each in known.endpoints] == ["netsuite", "ups"]
    await known.ready(store)
    assert reads == 3
