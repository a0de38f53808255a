"""Queries about codes: rows, one row with its history, and how well they are covered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from itertools import chain
from typing import Any

from crossdock.endpoint.v1 import endpoint_pb2
from crossdock.errors import Refusal
from crossdock.mapping.v1 import mapping_pb2
from crossdock.mapping.v1 import mapping_service_pb2 as service_pb2

from crossdock_hub.config import Limits
from crossdock_hub.identity import Caller
from crossdock_hub.objects.mappings import (
    Code,
    awaits_prefix,
    row_id,
    topic_name,
    topic_value,
    unmapped_of,
)
from crossdock_hub.objects.unsent_words import unsent_of
from crossdock_hub.reading.mapping_messages import (
    row_for_endpoint,
    row_message,
    unmapped_message,
    unsent_message,
)
from crossdock_hub.reading.paging import next_token, page_size, position_of
from crossdock_hub.reading.presenting import word_message
from crossdock_hub.records import MappingRecord
from crossdock_hub.refusals import not_found
from crossdock_hub.store import Store, mapping_pages
from crossdock_hub.store.attempt_logs import words_of
from crossdock_hub.store.writing import registered
from crossdock_hub.unit import Refused

Answer = Callable[[Caller, Any, Any], Awaitable[Any]]

SERVICE = "/crossdock.mapping.v1.MappingService/"
OPERATOR = "OPERATOR"
UNMAPPED_CODES_MAX = 1_000


class MappingQueries:
    """Answers ListMappings, GetMapping and GetMappingCoverage."""

    def __init__(self, store: Store, limits: Limits) -> None:
        self._store = store
        self._limits = limits

    def answers(self) -> dict[str, Answer]:
        """Method -> async (caller, request, gRPC context) -> response."""
        return {
            f"{SERVICE}ListMappings": self.list,
            f"{SERVICE}GetMapping": self.get,
            f"{SERVICE}GetMappingCoverage": self.coverage,
        }

    async def list(self, caller: Caller, request: Any, _context: Any) -> Any:
        """A page of rows. The version is read first: whoever has it has what the page says, or
        what is newer. An endpoint sees its own kind, without who said something and why."""
        kind, topic = request.endpoint_kind, topic_name(request.topic)
        size, after = page_size(request, self._limits), position_of(request)
        everything = caller.role == OPERATOR
        async with self._store.read() as connection:
            if not everything:
                kind = await _own_kind(connection, caller.endpoint, kind)
            version = await mapping_pages.mapping_version(connection, kind) if kind else 0
            found = await mapping_pages.mapping_page(
                connection, kind, topic, request.deployment_only, after, size + 1
            )
        told = row_message if everything else row_for_endpoint
        response = service_pb2.ListMappingsResponse(
            rows=map(told, found[:size]), mapping_version=version
        )
        if len(found) > size:
            response.next_page_token = next_token(request, found[size - 1].id)
        return response

    async def get(self, _caller: Caller, request: Any, _context: Any) -> Any:
        """One row, and what was said about it."""
        key = row_id(request.endpoint_kind, topic_name(request.topic), Code.of(request.native))
        async with self._store.read() as connection:
            found = await mapping_pages.mapping_rows(connection, [key])
            words = await words_of(connection, [key])
        if key not in found:
            raise not_found("mapping", key)
        return service_pb2.GetMappingResponse(
            row=row_message(found[key]), words=map(word_message, words.get(key, ()))
        )

    async def coverage(self, _caller: Caller, request: Any, _context: Any) -> Any:
        """Codes that are known, by topic, and those that came and are not."""
        kind = request.endpoint_kind
        async with self._store.read() as connection:
            topics = await mapping_pages.topic_counts(connection, kind)
            counts = await mapping_pages.unmapped_counts(connection, kind, UNMAPPED_CODES_MAX + 1)
            told = counts[:UNMAPPED_CODES_MAX]
            waiting = [(count, u) for count in told if (u := unmapped_of(count.awaits))]
            ids = [row for _, unmapped in waiting for row in unmapped.row_ids()]
            known = await mapping_pages.mapping_rows(connection, ids)
            said = await words_of(connection, _backfilled(kind))
            unsent, more = await _unsent(connection, kind, UNMAPPED_CODES_MAX - len(told))
        response = service_pb2.GetMappingCoverageResponse(
            truncated=len(counts) > len(told) or more,
            words=map(word_message, sorted(chain(*said.values()), key=lambda word: word.id)),
        )
        for endpoint_kind, topic, rows, said_here in topics:
            response.topics.append(
                mapping_pb2.TopicCoverage(
                    endpoint_kind=endpoint_kind,
                    topic=topic_value(topic),
                    rows=rows,
                    deployment_rows=said_here,
                )
            )
        mapped = {row for row, record in known.items() if record.canonical}
        for count, unmapped in waiting:
            since = not mapped.isdisjoint(unmapped.row_ids())
            response.unmapped_codes.append(unmapped_message(count, unmapped, since))
        response.unmapped_codes.extend(unsent)
        return response


async def _unsent(
    connection: Any, kind: str, most: int
) -> tuple[list[mapping_pb2.UnmappedCode], bool]:
    """Words that were to be sent and have no code, and whether there are more of them."""
    counts = await mapping_pages.unsent_counts(connection, kind, most + 1)
    told = [(count, word) for count in counts[:most] if (word := unsent_of(count.awaits))]
    rows: dict[str, list[MappingRecord]] = {}
    for word in dict.fromkeys(word for _, word in told):
        if word.place not in rows:
            rows[word.place] = await mapping_pages.rows_of_word(
                connection, word.endpoint_kind, word.topic, word.canonical
            )
    found = [unsent_message(c, word, word.sent_by(rows[word.place])) for c, word in told]
    return found, len(counts) > most


def _backfilled(kind: str) -> list[str]:
    """Under what the words about backfills of a kind are kept: all of it, or one topic."""
    if not kind:
        return []
    topics = (topic_name(value) for value in mapping_pb2.MappingTopic.values())
    return [awaits_prefix(kind, topic) for topic in topics]


async def _own_kind(connection: Any, endpoint: str, asked: str) -> str:
    """The kind of an endpoint. Raises Refused when it asks for another one."""
    kind = endpoint
    for record in await registered(connection, [endpoint]):
        kind = endpoint_pb2.Manifest.FromString(record.manifest).adapter or endpoint
    if asked not in ("", kind):
        raise Refused(
            Refusal(
                "OUT_OF_SCOPE",
                f"endpoint_kind {asked!r} is not the caller's, which is {kind!r}; leave it empty, "
                "or ask as an operator",
                {"scope": "adapter"},
            )
        )
    return kind
