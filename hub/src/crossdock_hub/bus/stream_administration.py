"""Makes, checks, reads and empties streams and consumers through JetStream's API."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog
from crossdock.bus import MESSAGE_ID_HEADER

from crossdock_hub.bus.errors import BusFull, BusRefused, BusUnavailable, StreamMismatch
from crossdock_hub.bus.streams import (
    FORBIDDEN_PARTS,
    ConsumerSpec,
    Difference,
    Repair,
    StreamSpec,
    consumer_differences,
    stream_differences,
)
from crossdock_hub.records import BusConsumer

CALL_TIMEOUT_SECONDS: Final = 5.0
# A question to the leader of a stream that has just died is never answered: ask the next one soon.
READ_TIMEOUT_SECONDS: Final = 1.5
# Limits of account or server, by nats-server's errors.json: resources of the account, resources,
# consumers, streams, memory, storage, bytes of one stream.
_INSUFFICIENT_RESOURCES: Final = 10023
_LIMITS: Final = frozenset({10002, _INSUFFICIENT_RESOURCES, 10026, 10027, 10028, 10047, 10122})
_SUBJECTS_OVERLAP: Final = 10065
_CLEARING_PAUSES_SECONDS: Final = (0.05, 0.2, 1.0)
_NO_STREAM: Final = frozenset({10059})
_NO_CONSUMER: Final = frozenset({10059, 10014})
_NO_MESSAGE: Final = frozenset({10059, 10037})

log = structlog.get_logger("crossdock.bus")


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message as a stream holds it."""

    subject: str
    sequence: int
    payload: bytes
    headers: Mapping[str, str]

    @property
    def message_id(self) -> str:
        return self.headers.get(MESSAGE_ID_HEADER, "")


@dataclass(frozen=True, slots=True)
class StreamState:
    """How much a stream holds. Sequences are 0 in a stream that never held anything."""

    messages: int
    bytes: int
    first_sequence: int
    last_sequence: int
    # Messages that are missing between the first and the last.
    deleted: int = 0
    # On so many nodes.
    copies: int = 1


class StreamAdministration(ABC):
    """What the bus can do with streams and consumers. Every call raises BusUnavailable when
    JetStream does not answer, and BusRefused when it says no (BusFull: for want of room)."""

    @abstractmethod
    async def ask(
        self, subject: str, payload: bytes, timeout_seconds: float = CALL_TIMEOUT_SECONDS
    ) -> bytes:
        """A question over core NATS. BusUnavailable: nobody answers, or not in time."""

    @abstractmethod
    def served(self) -> None:
        """JetStream has answered a call of its API."""

    async def call_api(
        self,
        subject: str,
        wanted: Mapping[str, Any] | None = None,
        absent: frozenset[int] = frozenset(),
        timeout_seconds: float = CALL_TIMEOUT_SECONDS,
    ) -> dict[str, Any] | None:
        """One call of JetStream's API; None where it answers one of the codes in `absent`."""
        payload = json.dumps(wanted).encode() if wanted else b""
        told: dict[str, Any] = json.loads(
            await self.ask(f"$JS.API.{subject}", payload, timeout_seconds)
        )
        error = told.get("error")
        if not error:
            self.served()
            return told
        code, text = int(error.get("err_code", 0)), f"{subject}: {error.get('description')}"
        if code in absent:
            return None
        if error.get("code") == 503 and code != _INSUFFICIENT_RESOURCES:
            raise BusUnavailable(text)
        raise (BusFull if code in _LIMITS else BusRefused)(text, code)

    async def ensure_streams(self, specs: Sequence[StreamSpec]) -> list[str]:
        """Make the streams that are missing, and make those that exist as they have to be.

        Returns the names of those that were made, or made anew: they hold nothing. StreamMismatch:
        one differs in what cannot be changed, and may hold what nothing else holds.
        """
        return [spec.name for spec in specs if await self._ensure_stream(spec)]

    async def make_stream(self, spec: StreamSpec, first_sequence: int = 1) -> None:
        """Make a stream that is not there; its first message will get that sequence."""
        more = {"first_seq": first_sequence} if first_sequence > 1 else {}
        await self._create(spec, spec.configuration() | more)

    async def ensure_consumer(self, spec: ConsumerSpec) -> None:
        """The same for a consumer; one that is made anew sends what is unacknowledged again."""
        name = f"{spec.stream}.{spec.name}"
        told = await self.call_api(f"CONSUMER.INFO.{name}", absent=_NO_CONSUMER)
        if told is not None:
            differences = consumer_differences(spec, told["config"])
            if not differences:
                return
            if any(each.repair is Repair.RECREATE for each in differences):
                _require_rebuildable("consumer", name, spec.rebuildable, differences)
                await self.call_api(f"CONSUMER.DELETE.{name}", absent=_NO_CONSUMER)
            log.warning("consumer corrected", consumer=name, because=_told(differences))
        wanted = {"stream_name": spec.stream, "config": spec.configuration(), "action": ""}
        told = await self.call_api(f"CONSUMER.CREATE.{name}.{spec.filter_subject}", wanted)
        _require_same("consumer", name, consumer_differences(spec, (told or {}).get("config", {})))

    async def stream_state(self, stream: str) -> StreamState | None:
        """What a stream holds; None where there is none."""
        told = await self.call_api(f"STREAM.INFO.{stream}", None, _NO_STREAM, READ_TIMEOUT_SECONDS)
        if told is None:
            return None
        state = told["state"]
        names = ("messages", "bytes", "first_seq", "last_seq", "num_deleted")
        counts = [int(state.get(name, 0)) for name in names]
        copies = int(told["config"].get("num_replicas", 1))
        return StreamState(*[*counts, copies])

    async def subjects(self, stream: str, among: str) -> list[str]:
        """The subjects that a stream holds messages of, among those of a wildcard."""
        wanted = {"subjects_filter": among}
        told = await self.call_api(
            f"STREAM.INFO.{stream}", wanted, _NO_STREAM, READ_TIMEOUT_SECONDS
        )
        return sorted(((told or {}).get("state") or {}).get("subjects") or ())

    async def pending(self, stream: str, consumer: str) -> int | None:
        """Messages that a consumer has not acknowledged or not even got; None: no consumer."""
        told = await self.call_api(f"CONSUMER.INFO.{stream}.{consumer}", absent=_NO_CONSUMER)
        return None if told is None else int(told["num_pending"]) + int(told["num_ack_pending"])

    async def purge(self, stream: str, *, subject: str = "", before_sequence: int = 0) -> int:
        """Drop messages: all, those of a subject, or those before a sequence. How many went."""
        wanted: dict[str, Any] = {"filter": subject} if subject else {}
        if before_sequence:
            wanted["seq"] = before_sequence
        told = await self.call_api(f"STREAM.PURGE.{stream}", wanted)
        return int((told or {}).get("purged", 0))

    async def delete_stream(self, stream: str) -> bool:
        """Drop a stream with all it holds; False where there was none."""
        told = await self.call_api(f"STREAM.DELETE.{stream}", absent=_NO_STREAM)
        return told is not None

    async def consumers(self, stream: str) -> list[BusConsumer]:
        """The durable consumers of a stream, and how far each has acknowledged."""
        found: list[BusConsumer] = []
        seen, total = 0, 1
        while seen < total:
            told = await self.call_api(f"CONSUMER.LIST.{stream}", {"offset": seen}, _NO_STREAM)
            page = (told or {}).get("consumers") or []
            total = int((told or {}).get("total", 0)) if page else 0
            seen += len(page)
            found += [_consumer(stream, each) for each in page if "durable_name" in each["config"]]
        return found

    async def make_consumer(self, consumer: BusConsumer) -> None:
        """Make a consumer as it was, and let it go on behind what it has acknowledged."""
        name = f"{consumer.stream}.{consumer.name}"
        config = json.loads(consumer.configuration)
        subject = config.get("filter_subject", "")
        wanted = {"stream_name": consumer.stream, "config": config, "action": ""}
        await self.call_api(f"CONSUMER.CREATE.{name}{'.' if subject else ''}{subject}", wanted)
        if consumer.stream_sequence:
            wanted = {"seq": consumer.stream_sequence + 1}
            await self.call_api(f"CONSUMER.RESET.{name}", wanted)

    async def delete_consumer(self, stream: str, consumer: str) -> bool:
        """Drop a consumer; its stream keeps the messages. False where there was none."""
        told = await self.call_api(f"CONSUMER.DELETE.{stream}.{consumer}", absent=_NO_CONSUMER)
        return told is not None

    async def last_message(self, stream: str, subject: str) -> StoredMessage | None:
        """The newest message of a subject (wildcards allowed); None where there is none."""
        return await self._stored(stream, {"last_by_subj": subject})

    async def message_at(self, stream: str, sequence: int) -> StoredMessage | None:
        """The message with a sequence; None where it is gone, or was never there."""
        return await self._stored(stream, {"seq": sequence})

    async def next_message(self, stream: str, subject: str, after: int) -> StoredMessage | None:
        """The first message of a subject behind the sequence `after`; None where there is none."""
        return await self._stored(stream, {"seq": after + 1, "next_by_subj": subject})

    async def _ensure_stream(self, spec: StreamSpec) -> bool:
        """Whether the stream had to be made, or made anew."""
        actual = await self._stream_configuration(spec.name)
        if actual is not None:
            differences = stream_differences(spec, actual)
            if not differences:
                return False
            log.warning("stream is not as it has to be", stream=spec.name, why=_told(differences))
            if _must_recreate(differences):
                _require_rebuildable("stream", spec.name, spec.rebuildable, differences)
                await self.delete_stream(spec.name)
                await self._create(spec, spec.configuration())
                return True
        if actual is None:
            await self._create(spec, spec.configuration())
            return True
        # What the hub has no opinion on (placement, compression) stays an operator's.
        others = {key: value for key, value in actual.items() if key not in FORBIDDEN_PARTS}
        with _overlap_told(spec):
            await self.call_api(f"STREAM.UPDATE.{spec.name}", others | spec.configuration())
        await self._require_made(spec)
        return False

    async def _create(self, spec: StreamSpec, configuration: Mapping[str, Any]) -> None:
        """Make a stream; after a deletion the server clears the old directory behind its answer."""
        with _overlap_told(spec):
            for pause_seconds in _CLEARING_PAUSES_SECONDS:
                try:
                    await self.call_api(f"STREAM.CREATE.{spec.name}", configuration)
                    break
                except BusRefused as error:
                    full = spec.storage == "memory" and isinstance(error, BusFull)
                    if full or error.code == _SUBJECTS_OVERLAP:
                        raise
                    log.info("stream cannot be made yet", stream=spec.name, why=str(error))
                    await asyncio.sleep(pause_seconds)
            else:
                await self.call_api(f"STREAM.CREATE.{spec.name}", configuration)
        await self._require_made(spec)

    async def _require_made(self, spec: StreamSpec) -> None:
        now = await self._stream_configuration(spec.name)
        _require_same("stream", spec.name, stream_differences(spec, now or {}))

    async def _stream_configuration(self, stream: str) -> dict[str, Any] | None:
        told = await self.call_api(f"STREAM.INFO.{stream}", absent=_NO_STREAM)
        return None if told is None else dict(told["config"])

    async def _stored(self, stream: str, which: Mapping[str, Any]) -> StoredMessage | None:
        told = await self.call_api(
            f"STREAM.MSG.GET.{stream}", which, _NO_MESSAGE, READ_TIMEOUT_SECONDS
        )
        if told is None:
            return None
        message = told["message"]
        return StoredMessage(
            str(message["subject"]),
            int(message["seq"]),
            base64.b64decode(message.get("data", "")),
            _headers(base64.b64decode(message.get("hdrs", ""))),
        )


@contextlib.contextmanager
def _overlap_told(spec: StreamSpec) -> Iterator[None]:
    try:
        yield
    except BusRefused as error:
        if error.code != _SUBJECTS_OVERLAP:
            raise
        raise StreamMismatch(
            f"stream {spec.name} cannot be made: another stream has {', '.join(spec.subjects)};"
            " delete that stream, or use another NATS account"
        ) from error


def _headers(block: bytes) -> dict[str, str]:
    lines = block.decode(errors="replace").split("\r\n")[1:]
    pairs = (line.partition(":") for line in lines if ":" in line)
    return {name.strip(): value.strip() for name, _, value in pairs}


def _consumer(stream: str, told: Mapping[str, Any]) -> BusConsumer:
    config = dict(told["config"])
    notes = config.get("metadata") or {}
    config["metadata"] = {k: v for k, v in notes.items() if not k.startswith("_nats.")}
    acknowledges = config.get("ack_policy") != "none"
    place = told["ack_floor" if acknowledges else "delivered"]["stream_seq"]
    return BusConsumer(stream, str(told["name"]), json.dumps(config, sort_keys=True), int(place))


def _must_recreate(differences: Sequence[Difference]) -> bool:
    return any(each.repair is Repair.RECREATE for each in differences)


def _told(differences: Sequence[Difference]) -> str:
    return ", ".join(map(str, differences))


def _require_rebuildable(
    kind: str, name: str, is_rebuildable: bool, differences: Sequence[Difference]
) -> None:
    if not is_rebuildable:
        raise StreamMismatch(
            f"{kind} {name} cannot be used and cannot be changed: {_told(differences)}; "
            "delete it when nothing else needs it, then start again"
        )


def _require_same(kind: str, name: str, differences: Sequence[Difference]) -> None:
    if differences:
        raise StreamMismatch(f"the server did not make {kind} {name} as told: {_told(differences)}")
