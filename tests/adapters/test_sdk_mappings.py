"""Rows of mappings.toml: read or refused with every problem, and what a hub makes of them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from crossdock.errors import InvalidRequestError, NotAllowedError, Refusal, UnreachableError
from crossdock.mapping.v1 import mapping_pb2
from crossdock.mapping.v1 import mapping_service_pb2 as service_pb2
from crossdock_adapters.sdk import hub_link, mapping_sync
from crossdock_adapters.sdk.attempts import HubAway
from crossdock_adapters.sdk.manifest import ManifestError
from crossdock_adapters.sdk.mapping_sync import MappingSync
from crossdock_adapters.sdk.mappings import (
    Code,
    Mappings,
    Meaning,
    Told,
    Topic,
    UnreadCodes,
    read_file,
)
from crossdock_adapters.sdk.places import Unreadable, inside, unread_codes

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
FILE = """
version = "7"
[sources]
guide = "the vendor's guide, table 3"
[[status]]
type = "E"
means = "DELIVERED"
codes = ["D1", "D2"]
source = "guide"
confidence = "H"
[[service_level]]
means = "GROUND"
preferred = true
codes = ["03"]
source = "guide"
confidence = "M"
"""


@dataclass
class SmallHub:
    """The mapping service as far as an adapter knows it: what was told, and what was set since."""

    rows: dict[str, mapping_pb2.MappingRow] = field(default_factory=dict)
    version: int = 0
    told: int = 0
    refuses: bool = False

    @property
    def mappings(self) -> SmallHub:
        return self

    async def PublishDefaultMappings(self, request: Any, timeout: float) -> Any:
        if self.refuses:
            raise InvalidRequestError(
                Refusal("METHOD_UNKNOWN", "no such service", {}), grpc.StatusCode.UNIMPLEMENTED
            )
        self.told += 1
        for row in request.rows:
            self.put(row.native.code, row.meaning.canonical, row)
        return service_pb2.PublishDefaultMappingsResponse(changed=len(request.rows))

    async def ListMappings(self, request: Any, timeout: float) -> Any:
        codes = sorted(self.rows)
        start = int(request.page_token or 0)
        page = codes[start : start + 1]
        return service_pb2.ListMappingsResponse(
            rows=[self.rows[code] for code in page],
            mapping_version=self.version,
            next_page_token=str(start + 1) if start + 1 < len(codes) else "",
        )

    def put(self, code: str, canonical: str, default: Any = None) -> None:
        row = self.rows.setdefault(code, mapping_pb2.MappingRow(endpoint_kind="pigeon"))
        if default is not None:
            row.topic = default.topic
            row.native.CopyFrom(default.native)
            row.default_mapping.CopyFrom(default)
        row.meaning.canonical = canonical
        self.version += 1


def sync(hub: SmallHub, mappings: Mappings) -> MappingSync:
    return MappingSync("pigeon-eu", "pigeon", hub, mappings)  # type: ignore[arg-type]


def test_a_file_becomes_a_row_for_each_code() -> None:
    """Proves that each code has its meaning, its source in words and its confidence."""
    file = read_file(FILE)
    assert file.version == "7"
    assert [(row.topic, row.code, row.meaning.canonical) for row in file.rows] == [
        (Topic.STATUS, Code("E", "D1"), "DELIVERED"),
        (Topic.STATUS, Code("E", "D2"), "DELIVERED"),
        (Topic.SERVICE_LEVEL, Code("", "03"), "GROUND"),
    ]
    assert {row.source for row in file.rows} == {"the vendor's guide, table 3"}


@pytest.mark.parametrize(
    ("was", "becomes", "problem"),
    [
        ('version = "7"', "", "version is missing"),
        ("[[service_level]]", "[[service]]", "is no topic"),
        ('"D1", "D2"', '"D1", "D1"', "is claimed twice"),
        ('"D1", "D2"', "1", "1 is no code"),
        ('"D1", "D2"', "", "there are no codes"),
        ("DELIVERED", "delivered", "no word of capitals"),
        ('source = "guide"', 'source = "rumour"', "'rumour' is not in"),
        ('confidence = "M"', 'confidence = "Q"', "is not H, M or L"),
        ("preferred", "prefered", "prefered is no key"),
        ('means = "GROUND"', 'means = "GROUND"\nreason = "OTHER"', "or of no status"),
        ('DELIVERED"', 'EXCEPTION"\nreason = "BORED"', "'BORED' is none"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(was: str, becomes: str, problem: str) -> None:
    """Proves that a row that cannot be is refused with the place and the rule, before it runs."""
    assert was in FILE
    with pytest.raises(ManifestError, match=problem):
        read_file(FILE.replace(was, becomes))


def test_a_file_may_be_the_rows_that_the_sdk_has() -> None:
    """Proves that rows which several endpoints have are written once: such a file has them with
    their version, and those of its own beside them with both versions. It is refused where it says
    one of their codes again, or names no rows of the SDK: no other file of it, none elsewhere."""
    shared = read_file('rows_of = "usual_erp_units"')
    natives = Mappings(shared).natives(Topic.UNIT)
    assert shared.version and natives["KGM"] == "KG"
    own = """
version = "1"
[sources]
list = "the ERP's own list"
[[item_status]]
means = "ACTIVE"
codes = ["A"]
source = "list"
confidence = "H"
"""
    both = read_file('rows_of = "usual_erp_units"' + own)
    assert both.version == f"1+{shared.version}" and both.rows[:-1] == shared.rows
    assert (both.rows[-1].topic, both.rows[-1].code) == (Topic.ITEM_STATUS, Code("", "A"))
    with pytest.raises(ManifestError, match="KG is claimed twice"):
        again = own.replace("item_status", "unit").replace('"A"', '"KG"')
        read_file('rows_of = "usual_erp_units"' + again)
    for wrong in (
        'rows_of = "nowhere"',
        "rows_of = 1",
        'rows_of = ["usual_erp_units"]',
        'rows_of = "state_zones"',
        'rows_of = "../ups/mappings"',
    ):
        with pytest.raises(ManifestError, match=r"rows_of names rows.*usual_erp_units"):
            read_file(wrong)


def test_what_is_sent_is_the_preferred_code_of_whoever_spoke_last() -> None:
    """Proves that one code is sent for a word: the preferred one, the deployment's before the
    file's; and none where no code is preferred, for that would be a guess."""
    mappings = Mappings(read_file(FILE))
    assert mappings.natives(Topic.SERVICE_LEVEL) == {"GROUND": "03"}
    assert mappings.natives(Topic.STATUS, "E") == {}
    ground = Meaning("GROUND", preferred=True)
    mappings.replace(
        [
            Told("SERVICE_LEVEL", Code("", "03"), ground, False),
            Told("SERVICE_LEVEL", Code("", "01"), ground, True),
            Told("SERVICE_LEVEL", Code("", "99"), Meaning("GROUND"), True),
        ]
    )
    assert mappings.natives(Topic.SERVICE_LEVEL) == {"GROUND": "01"}


async def test_rows_follow_the_hub() -> None:
    """Proves that the file is told, that a change is read with the heartbeat that tells it, page by
    page, and that a heartbeat without a change reads nothing."""
    hub, mappings = SmallHub(), Mappings(read_file(FILE))
    followed = sync(hub, mappings)
    await followed.follow(0)
    assert mappings.first(Topic.STATUS, [Code("E", "D1")]) is not None
    await followed.publish()
    hub.put("D1", "IN_TRANSIT")
    await followed.follow(hub.version)
    found = mappings.first(Topic.STATUS, [Code("E", "ZZ"), Code("E", "D1")])
    assert found == (Code("E", "D1"), Meaning("IN_TRANSIT"))
    hub.rows.clear()
    await followed.follow(hub.version)
    assert mappings.first(Topic.STATUS, [Code("E", "D1")]) is not None
    assert hub.told == 1


async def test_who_follows_says_whether_rows_are_others() -> None:
    """Proves that what waits for a row is looked at again when rows changed, at each endpoint of a
    process once, whichever of them read them, and not at heartbeats that change nothing."""
    hub, mappings = SmallHub(), Mappings(read_file(FILE))
    one, other = sync(hub, mappings), sync(hub, mappings)
    await one.publish()
    await one.follow(hub.version), await other.follow(hub.version)
    hub.put("D1", "IN_TRANSIT")
    assert await one.follow(hub.version)
    assert await other.follow(hub.version)
    assert not await one.follow(hub.version)
    assert not await other.follow(hub.version)


def test_what_is_unread_is_told_with_the_rows_that_did_not_do() -> None:
    """Proves that codes are told once each, and with the revisions of the rows that they have, so
    that the hub knows which rows it was that did not do."""
    mappings = Mappings(read_file(FILE))
    codes = [Code("E", "D1"), Code("E", "ZZ"), Code("E", "D1")]
    assert mappings.unread(Topic.STATUS, codes) == UnreadCodes(Topic.STATUS, (codes[0], codes[1]))
    mappings.replace([Told("STATUS", Code("E", "D1"), Meaning("ODD"), True, 7)])
    assert mappings.unread(Topic.STATUS, codes).revision == 7


def test_codes_are_found_behind_what_was_raised_for_them() -> None:
    """Proves that codes without a row reach the hub whatever the error was wrapped in, with the
    place moved too; that another error has none, and that a code no row can have is not told."""
    unread = UnreadCodes(Topic.UNIT, (Code("", "FTM"),))
    with pytest.raises(KeyError) as raised:
        try:
            with inside("/lines/0"):
                raise Unreadable("has no row", "/unit", unread)
        except Unreadable as problem:
            assert (problem.place, problem.codes) == ("/lines/0/unit", unread)
            raise KeyError("told as something else") from problem
    assert unread_codes(raised.value) == unread
    assert unread_codes(ValueError("other")) is None
    told = hub_link.unread_message(unread)
    assert told is not None and told.native_codes[0].code == "FTM"
    for odd in ("x" * 65, "a\0b", "\ud800"):
        assert hub_link.unread_message(UnreadCodes(Topic.UNIT, (Code("", odd),))) is None


async def test_a_hub_that_lost_the_rows_is_told_again() -> None:
    """Proves that a database put back from before the registration leaves nothing unmapped."""
    hub, mappings = SmallHub(), Mappings(read_file(FILE))
    followed = sync(hub, mappings)
    await followed.publish()
    hub.rows.clear()
    hub.version = 0
    await followed.follow(0)
    assert hub.told == 2
    assert set(hub.rows) == {"D1", "D2", "03"}
    assert mappings.first(Topic.STATUS, [Code("E", "D2")]) is not None


async def test_where_a_hub_takes_no_rows_the_file_holds(caplog: pytest.LogCaptureFixture) -> None:
    """Proves that an older hub stops no adapter, and that it is said once."""
    hub, mappings = SmallHub(refuses=True), Mappings(read_file(FILE))
    followed = sync(hub, mappings)
    for version in (0, 1):
        await followed.publish()
        await followed.follow(version)
    assert mappings.first(Topic.STATUS, [Code("E", "D1")]) is not None
    assert caplog.text.count("those of the adapter hold") == 1


async def test_what_an_operator_says_arrives_although_the_file_was_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Proves that a hub which refuses the file is still followed: an operator's row arrives, the
    rest of the file holds, and the file is told again until the hub takes it."""
    hub, mappings = SmallHub(refuses=True), Mappings(read_file(FILE))
    followed = sync(hub, mappings)
    await followed.publish()
    hub.put("D1", "RETURNED")
    hub.rows["D1"].topic = mapping_pb2.MAPPING_TOPIC_STATUS
    hub.rows["D1"].native.type, hub.rows["D1"].native.code = "E", "D1"
    hub.rows["D1"].origin = mapping_pb2.MAPPING_ORIGIN_DEPLOYMENT
    await followed.follow(hub.version)
    assert mappings.first(Topic.STATUS, [Code("E", "D1")]) == (
        Code("E", "D1"), Meaning("RETURNED"),
    )  # fmt: skip
    assert mappings.first(Topic.STATUS, [Code("E", "D2")]) == (
        Code("E", "D2"), Meaning("DELIVERED"),
    )  # fmt: skip
    hub.refuses = False
    await followed.follow(hub.version)
    assert hub.told == 0, "it is not told at every heartbeat"
    monkeypatch.setattr(mapping_sync, "PUBLISH_AGAIN_SECONDS", 0.0)
    await followed.follow(hub.version)
    assert hub.told == 1


@dataclass
class SlowHub(SmallHub):
    """Answers a list of rows when it is let; away as long as it is told to be."""

    lists: int = 0
    listing: int = 0
    most_at_once: int = 0
    away: bool = False
    let: asyncio.Event = field(default_factory=asyncio.Event)

    async def ListMappings(self, request: Any, timeout: float) -> Any:
        if self.away:
            raise UnreachableError(Refusal("HUB_UNAVAILABLE", "away", {}), UNAVAILABLE)
        self.lists += not request.page_token
        self.listing += 1
        self.most_at_once = max(self.most_at_once, self.listing)
        answer = await super().ListMappings(request, timeout)
        await self.let.wait()
        self.listing -= 1
        return answer


async def followed_slowly(endpoints: int = 1) -> tuple[SlowHub, Mappings, list[MappingSync]]:
    """A hub, and endpoints of one process that have read its rows."""
    hub, mappings = SlowHub(), Mappings(read_file(FILE))
    hub.let.set()
    each = [sync(hub, mappings) for _ in range(endpoints)]
    for one in each:
        await one.publish()
        await one.follow(hub.version)
    hub.lists = 0
    hub.let.clear()
    return hub, mappings, each


def means(mappings: Mappings) -> str:
    found = mappings.first(Topic.STATUS, [Code("E", "D1")])
    assert found is not None
    return found[1].canonical


async def test_what_begins_has_the_rows_of_its_begin() -> None:
    """Proves that what begins after a row was set waits for it, that nothing is read where nothing
    changed or an older hub does not say, and that what waits for rows hears of them all the same
    with the next heartbeat."""
    hub, mappings, (followed,) = await followed_slowly()
    await followed.reach(hub.version)
    await followed.reach(None)
    assert hub.lists == 0
    assert not await followed.follow(hub.version)
    hub.put("D1", "IN_TRANSIT")
    reached = asyncio.ensure_future(followed.reach(hub.version))
    await asyncio.sleep(0)
    assert not reached.done() and means(mappings) == "DELIVERED"
    hub.let.set()
    await reached
    assert means(mappings) == "IN_TRANSIT"
    assert await followed.follow(hub.version)
    assert hub.lists == 1


async def test_what_begins_at_once_reads_rows_once() -> None:
    """Proves that of many deliveries that begin together at endpoints of one kind one reads at a
    time, that those whose rows may be newer than what is being read have it read once more, and
    that each ends with the rows of its own begin or newer ones."""
    hub, mappings, endpoints = await followed_slowly(2)
    hub.put("D1", "IN_TRANSIT")
    first = [asyncio.ensure_future(one.reach(hub.version)) for one in endpoints * 10]
    await turns()
    hub.put("D1", "EXCEPTION")
    later = [asyncio.ensure_future(one.reach(hub.version)) for one in endpoints * 10]
    beaten = [asyncio.ensure_future(one.follow(hub.version)) for one in endpoints]
    await turns()
    hub.let.set()
    await asyncio.gather(*first)
    await asyncio.gather(*later)
    assert means(mappings) == "EXCEPTION"
    assert await asyncio.gather(*beaten) == [True, True]
    assert hub.most_at_once == 1
    assert hub.lists == 2


async def test_a_slow_reading_never_brings_older_rows_back() -> None:
    """Proves that an endpoint which began to read before a row was set does not put what it read in
    the place of what another endpoint of the kind had to read after it."""
    hub, mappings, (one, other) = await followed_slowly(2)
    hub.put("D1", "IN_TRANSIT")
    slow = asyncio.ensure_future(one.follow(hub.version))
    await turns()
    hub.put("D1", "EXCEPTION")
    newer = asyncio.ensure_future(other.reach(hub.version))
    await turns()
    hub.let.set()
    await asyncio.gather(slow, newer)
    assert means(mappings) == "EXCEPTION"


async def test_rows_that_cannot_be_read_let_nothing_begin() -> None:
    """Proves that a delivery is not translated by rows that are known to be old while the hub does
    not answer, that whoever waited behind it asks anew, and that the next one has them."""
    hub, mappings, (followed,) = await followed_slowly()
    hub.let.set()
    hub.put("D1", "IN_TRANSIT")
    hub.away = True
    ended = await asyncio.gather(
        *(followed.reach(hub.version) for _ in range(3)), return_exceptions=True
    )
    assert [type(each) for each in ended] == [HubAway] * 3
    hub.away = False
    await followed.reach(hub.version)
    assert means(mappings) == "IN_TRANSIT"


async def test_rows_that_a_hub_refuses_are_asked_for_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Proves that deliveries go by the rows there are where the hub refuses those of now, without
    asking for them each time, until a heartbeat has them or they change."""
    hub, mappings, (followed,) = await followed_slowly()
    hub.let.set()
    asked = 0

    async def refuse(_request: Any, timeout: float) -> Any:
        nonlocal asked
        asked += 1
        refusal = Refusal("METHOD_NOT_ALLOWED", "that kind is not the caller's", {})
        raise NotAllowedError(refusal, grpc.StatusCode.PERMISSION_DENIED)

    with monkeypatch.context() as refusing:
        refusing.setattr(hub, "ListMappings", refuse)
        hub.put("D1", "IN_TRANSIT")
        for _ in range(3):
            await followed.reach(hub.version)
        assert asked == 1 and means(mappings) == "DELIVERED"
        hub.put("D1", "EXCEPTION")
        await followed.reach(hub.version)
        assert asked == 2
    await followed.follow(hub.version)
    assert means(mappings) == "EXCEPTION"


async def test_what_comes_in_has_the_rows_of_now() -> None:
    """Proves that what comes in after a row was set has it, that those who come while the hub is
    asked share the next question, and that nothing is read where nothing changed."""
    hub, mappings, (followed,) = await followed_slowly()
    hub.let.set()
    await followed.catch_up()
    assert hub.lists == 1
    hub.put("D1", "IN_TRANSIT")
    await followed.catch_up()
    assert means(mappings) == "IN_TRANSIT" and hub.lists == 3
    hub.let.clear()
    asked = [asyncio.ensure_future(followed.catch_up())]
    await turns()
    hub.put("D1", "EXCEPTION")
    for _ in range(20):
        asked.append(asyncio.ensure_future(followed.catch_up()))
        await turns()
    hub.let.set()
    await asyncio.gather(*asked)
    assert means(mappings) == "EXCEPTION"
    # The first alone, the second alone, the others together, and the rows once.
    assert hub.lists == 3 + 4
    hub.away = True
    with pytest.raises(HubAway):
        await followed.catch_up()


async def test_what_comes_in_is_read_where_the_hub_tells_no_rows(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that what comes in goes by the file where a hub refuses to tell of rows, and that this
    is said once."""
    hub, mappings, (followed,) = await followed_slowly()

    async def refuse(_request: Any, timeout: float) -> Any:
        refusal = Refusal("METHOD_UNKNOWN", "no such service", {})
        raise InvalidRequestError(refusal, grpc.StatusCode.UNIMPLEMENTED)

    monkeypatch.setattr(hub, "ListMappings", refuse)
    for _ in range(3):
        await followed.catch_up()
    assert means(mappings) == "DELIVERED"
    assert caplog.text.count("those of the adapter hold") == 1


async def turns() -> None:
    """Whatever can go on has gone on."""
    for _ in range(20):
        await asyncio.sleep(0)
