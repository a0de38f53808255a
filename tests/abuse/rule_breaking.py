"""A2: messages that break one rule of the contract each, for every rule and every way to it.

Each has to be refused by the right code and reason, with the field as the caller wrote it, the rule
and words that say what to do; and the hub's database has to be byte for byte what it was.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
from abuse.answers import EXCEPTION_TEXT
from abuse.broken_rules import Breach, Variation, breaches
from crossdock import contracts
from crossdock.contracts import Method
from crossdock.errors import Refusal, from_message, from_rpc_error
from crossdock.tracking.v1 import tracking_service_pb2
from fixtures_hub import ROLES, RunningHub

IN_FLIGHT: Final = 32
DEADLINE_SECONDS: Final = 30.0
WRONG_MAX: Final = 10
MISSING_ID: Final = "REQUEST_ID_MISSING"


@dataclass(slots=True)
class Broken:
    """What a run found. rules: rule as declared -> messages that broke it; wrong: bad answers."""

    rules: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    wrong_count: int = 0
    state_changed: bool = False

    def document(self) -> dict[str, Any]:
        """As it stands in a report."""
        return {
            "rules": len(self.rules),
            "messages": sum(self.rules.values()),
            "least_per_rule": min(self.rules.values(), default=0),
            "wrong": self.wrong_count,
            "examples": self.wrong,
            "state_changed": self.state_changed,
        }

    def judge(self, breach: Breach, refusal: Refusal | None, code: grpc.StatusCode | None) -> None:
        """Compare what the hub said with what it has to say."""
        self.rules[breach.declared] += 1
        complaint = _complaint(breach, refusal, code)
        if complaint:
            self.wrong_count += 1
            if len(self.wrong) < WRONG_MAX:
                told = f"{breach.method.name}: {breach.declared} at {breach.field!r}: {complaint}"
                self.wrong.append(f"{told}: {refusal}"[:600])


def _complaint(breach: Breach, refusal: Refusal | None, code: grpc.StatusCode | None) -> str:
    if refusal is None:
        return "was taken"
    if code is not None and code is not grpc.StatusCode.INVALID_ARGUMENT:
        return f"code {code.name}"
    if not refusal.message or EXCEPTION_TEXT.search(refusal.message):
        return "no sentence for a person"
    if refusal.reason == MISSING_ID:
        return "" if breach.field == "request_id" else "names another field"
    if refusal.reason != "INVALID_FIELD":
        return f"reason {refusal.reason}"
    named = [v for v in refusal.violations if (v.field, v.rule) == (breach.field, breach.rule)]
    if not named:
        return f"does not name {breach.rule}"
    return "" if named[0].description else "does not say what is wrong"


async def measure(
    hub: RunningHub, per_rule_and_field: int, *, most_per_rule: int, seed: str = "1"
) -> Broken:
    """Break every rule at every place of every request.

    per_rule_and_field: random values beside the fixed ones. most_per_rule: enough of one rule.
    """
    broken = Broken()
    before = fingerprint(hub)
    left: defaultdict[str, int] = defaultdict(lambda: most_per_rule)
    for method in contracts.load().methods.values():
        more = Variation(random.Random(f"{seed}/{method.full_name}"), per_rule_and_field)
        await _send(hub, method, _few(breaches(method, more), left), broken)
    broken.state_changed = fingerprint(hub) != before
    return broken


def _few(found: Iterable[Breach], left: dict[str, int]) -> Iterator[Breach]:
    for breach in found:
        if left[breach.declared] > 0:
            left[breach.declared] -= 1
            yield breach


def fingerprint(hub: RunningHub) -> str:
    """A hash over every row of every table of the hub's database."""
    digest = hashlib.sha256()
    for table in hub.database.tables():
        for row in hub.query(f'SELECT * FROM "{table}" ORDER BY 1'):
            digest.update(repr((table, *row)).encode())
    return digest.hexdigest()


async def _send(hub: RunningHub, method: Method, found: Iterator[Breach], broken: Broken) -> None:
    endpoint = next(name for name, role in ROLES.items() if role in method.callers)
    metadata = (("authorization", f"Bearer {hub.token(endpoint)}"),)
    async with grpc.aio.insecure_channel(hub.address) as channel:
        if method.client_streaming:
            await _frames(channel, method, list(found), metadata, broken)
            return

        async def sender() -> None:
            for breach in found:
                data = breach.request.SerializeToString()
                try:
                    await _one(channel, method, data, metadata)
                    broken.judge(breach, None, None)
                except grpc.aio.AioRpcError as error:
                    refusal = from_rpc_error(error, method.full_name).refusal
                    broken.judge(breach, refusal, error.code())

        await asyncio.gather(*(sender() for _ in range(IN_FLIGHT)))


async def _one(channel: Any, method: Method, data: bytes, metadata: Any) -> None:
    options = {"metadata": metadata, "timeout": DEADLINE_SECONDS}
    if method.server_streaming:
        await channel.unary_stream(method.full_name)(data, **options).read()
    else:
        await channel.unary_unary(method.full_name)(data, **options)


async def _frames(
    channel: Any, method: Method, found: list[Breach], metadata: Any, broken: Broken
) -> None:
    async def frames() -> AsyncIterator[bytes]:
        for breach in found:
            yield breach.request.SerializeToString()

    call = channel.stream_stream(method.full_name)(
        frames(), metadata=metadata, timeout=DEADLINE_SECONDS
    )
    for breach in found:
        raw = await call.read()
        assert raw is not grpc.aio.EOF, f"the stream ended at {breach.declared}"
        answer = tracking_service_pb2.StreamTrackingEventsResponse.FromString(raw)
        refusal = from_message(answer.refusal) if answer.HasField("refusal") else None
        broken.judge(breach, refusal, None)
    call.cancel()
