"""Keeps an adapter's mappings as the hub has them: tells the file, follows what changes."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import AsyncIterator

from crossdock.client import HubClient
from crossdock.errors import NotAllowedError
from crossdock.mapping.v1 import mapping_pb2, mapping_service_pb2
from crossdock.request_ids import new_request_id
from crossdock.types.v1 import types_pb2

from crossdock_adapters.sdk.attempts import HubAway, HubRefused
from crossdock_adapters.sdk.coalesce import Coalescer
from crossdock_adapters.sdk.hub_link import CALL_SECONDS, told
from crossdock_adapters.sdk.mappings import Code, Mappings, Meaning, Row, Told

log = logging.getLogger(__name__)

PAGE_ROWS = 500
MAX_PAGES = 100
# How often a hub that refused the file is told it again.
PUBLISH_AGAIN_SECONDS = 60.0
_TOPIC = "MAPPING_TOPIC_"


class MappingSync:
    """The mappings of one endpoint's kind. Raises HubAway; a hub that refuses is told of once."""

    def __init__(self, endpoint: str, kind: str, hub: HubClient, mappings: Mappings) -> None:
        self._endpoint = endpoint
        self._kind = kind
        self._hub = hub
        self.mappings = mappings
        self._published = False
        # The version of which a hub refused the rows to a delivery: the next one does not ask.
        self._refused_version = -1
        # All endpoints of a kind in a process have the same rows: another one may have read them.
        self._seen = mappings.told()
        # Before the first time nobody tells it again.
        self._told_at = float("inf")
        self._refusals: dict[str, str] = {}
        self._version = Coalescer(self._ask_version)

    async def publish(self) -> None:
        """Tell the hub the file, and take what it makes of it.

        What a hub has is read although it refused the file: an operator may have said something.
        """
        async with self.mappings.one_reads():
            await self._publish()

    async def _publish(self) -> None:
        file = self.mappings.file
        if file is None:
            return
        request = mapping_service_pb2.PublishDefaultMappingsRequest(
            request_id=new_request_id(),
            endpoint=self._endpoint,
            defaults_version=file.version,
            rows=map(_message, file.rows),
        )
        self._told_at = time.monotonic()
        try:
            answer = await told(
                self._hub.mappings.PublishDefaultMappings(request, timeout=CALL_SECONDS)
            )
            if answer.newer_version:
                log.info(
                    "endpoint %s: the hub has mappings of %s of version %s, which hold instead of "
                    "version %s",
                    self._endpoint,
                    self._kind,
                    answer.newer_version,
                    file.version,
                )
            self._published = True
        except HubRefused as why:
            self._published = False
            self._say("telling", str(why))
        try:
            await self._read()
        except HubRefused as why:
            self._say("reading", str(why))

    async def follow(self, version: int) -> bool:
        """Read the rows again unless they are of this version, as a heartbeat tells it. Whether
        others hold than the last time.

        A hub that has none of the file's rows any more, as one whose database is older, is told
        the file again, and so is one that refused it. Whether they are all there is not asked:
        while an old and a new adapter run side by side, each would go on telling its own.
        """
        if self.mappings.file is None:
            return False
        if self._is_behind(version):
            async with self._turn():
                await self._follow(version)
        before, self._seen = self._seen, self.mappings.told()
        return before != self._seen

    def _is_behind(self, version: int) -> bool:
        return version != self.mappings.version or self._is_to_tell_again()

    def _is_to_tell_again(self) -> bool:
        return not self._published and time.monotonic() - self._told_at >= PUBLISH_AGAIN_SECONDS

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """One at a time reads the rows. Whoever waited while the hub did not answer the one before
        does not ask it again: each would wait for the same, and heartbeats behind all of them."""
        unanswered = self.mappings.unanswered
        async with self.mappings.one_reads():
            if self.mappings.unanswered > unanswered:
                raise HubAway("the hub did not answer who asked for the rows of codes before")
            try:
                yield
            except HubAway:
                self.mappings.note_silence()
                raise

    async def _follow(self, version: int) -> None:
        if self._is_to_tell_again():
            await self._publish()
        if version != self.mappings.version:
            await self._read_again()

    async def reach(self, version: int | None) -> None:
        """Have the rows of what begins while the hub has this version; None: it does not say.

        Rows of another version are read first, by one at a time: whoever waited meanwhile does
        with what was read from its beginning on while it waited, since the hub's rows only get
        newer. What a hub refuses is not asked for again before its rows are others.
        """
        if self.mappings.file is None or version is None or self._has(version):
            return
        readings = self.mappings.readings
        async with self._turn():
            if self._has(version) or self.mappings.read_since(readings):
                return
            if not await self._read_again():
                self._refused_version = version

    async def catch_up(self) -> None:
        """Have the rows that the hub has now, as `reach` does. Who asks meanwhile shares the next
        question. A hub that refuses it leaves the rows as they are."""
        if self.mappings.file is None:
            return
        try:
            version = await self._version.call(None)
        except HubRefused as why:
            self._say("asking", str(why))
            return
        await self.reach(version)

    async def _ask_version(self, callers: list[None]) -> list[int]:
        request = mapping_service_pb2.ListMappingsRequest(endpoint_kind=self._kind, page_size=1)
        answer = await self._listed(request)
        return [answer.mapping_version] * len(callers)

    def _has(self, version: int) -> bool:
        return version in (self.mappings.version, self._refused_version)

    async def _read_again(self) -> bool:
        """False: the hub refuses."""
        try:
            if not await self._read() and self._published:
                await self._publish()
        except HubRefused as why:
            self._say("reading", str(why))
            return False
        self._refused_version = -1
        return True

    async def _read(self) -> bool:
        """Take the rows of the hub; False: it has no defaults, so those of the file stay, with
        what an operator says on top."""
        self.mappings.begin_reading()
        rows: list[Told] = []
        defaults = False
        version, token = -1, ""
        for _ in range(MAX_PAGES):
            request = mapping_service_pb2.ListMappingsRequest(
                endpoint_kind=self._kind, page_size=PAGE_ROWS, page_token=token
            )
            answer = await self._listed(request)
            # Of the first page: what changed while the others were read is read again.
            version = answer.mapping_version if version < 0 else version
            defaults = defaults or any(row.HasField("default_mapping") for row in answer.rows)
            rows += [_told(row) for row in answer.rows if row.HasField("meaning")]
            token = answer.next_page_token
            if not token:
                break
        if defaults:
            self.mappings.replace(rows, version)
        else:
            # Rows that come later take the place of those before. Of a hub that is told the file
            # again, everything is read again.
            version = -1 if self._published else version
            self.mappings.replace([*self.mappings.of_file(), *rows], version)
        return defaults

    async def _listed(
        self, request: mapping_service_pb2.ListMappingsRequest
    ) -> mapping_service_pb2.ListMappingsResponse:
        try:
            return await told(self._hub.mappings.ListMappings(request, timeout=CALL_SECONDS))
        except HubAway as away:
            if isinstance(away.__cause__, NotAllowedError):
                # The endpoint is of another kind by now: no repeat of this would do.
                raise HubRefused(str(away)) from away
            raise

    def _say(self, what: str, refusal: str) -> None:
        if refusal not in self._refusals.values():
            self._refusals[what] = refusal
            log.warning(
                "endpoint %s: the hub takes no mappings of %s, those of the adapter hold: %s",
                self._endpoint,
                self._kind,
                refusal,
            )


def _message(row: Row) -> mapping_pb2.DefaultMapping:
    return mapping_pb2.DefaultMapping(
        topic=mapping_pb2.MappingTopic.Value(f"{_TOPIC}{row.topic}"),
        native=types_pb2.NativeCode(type=row.code.type, code=row.code.code),
        meaning=mapping_pb2.Meaning(
            canonical=row.meaning.canonical,
            exception_reason=row.meaning.exception_reason,
            preferred=row.meaning.preferred,
        ),
        source=row.source,
        confidence=row.confidence,
    )


def _told(row: mapping_pb2.MappingRow) -> Told:
    known = row.topic in mapping_pb2.MappingTopic.values()
    topic = mapping_pb2.MappingTopic.Name(row.topic).removeprefix(_TOPIC) if known else ""
    meaning = Meaning(row.meaning.canonical, row.meaning.exception_reason, row.meaning.preferred)
    by_deployment = row.origin == mapping_pb2.MAPPING_ORIGIN_DEPLOYMENT
    code = Code(row.native.type, row.native.code)
    return Told(topic, code, meaning, by_deployment, row.revision)
