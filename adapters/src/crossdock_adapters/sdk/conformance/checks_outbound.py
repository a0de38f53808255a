"""What every operation has to show: one effect in the vendor's books, whatever gets lost."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from crossdock_adapters.sdk.conformance.bench import Bench, Inapplicable, NotGiven, Scope, check
from crossdock_adapters.sdk.conformance.ledger import (
    ANSWER_LATER,
    LEASE_EXPIRED,
    Delivery,
    numbered_twice,
)
from crossdock_adapters.sdk.conformance.stage import Stage, require, told, until
from crossdock_adapters.sdk.conformance.subject import Case
from crossdock_adapters.sdk.manifest import OperationClass
from crossdock_adapters.sdk.proving import SILENT_FAULTS, Trial, class_problems, lease_problems
from crossdock_adapters.sdk.sequences import Sequences
from crossdock_adapters.sdk.work import Work

Expire = Callable[[Any], Awaitable[Any]]
# Long enough for a vendor's answer that takes its calls one after another, short enough to wait.
GIVE_UP_SECONDS = 1.5
COMMIT_AFTER_SECONDS = 2.2
STILL_RUNS_SECONDS = COMMIT_AFTER_SECONDS - GIVE_UP_SECONDS
RETRY_AFTER_SECONDS = 0.3
# Longer than a pause that somebody made up; nobody waits for it here.
LONG_RETRY_AFTER_SECONDS = 90.0
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE_ID}-b7ad6b7169203331-01"
# A failure that proves nothing, and one that some vendors document as nothing done.
TROUBLE_STATUSES = (500, 503)
# How a vendor's log has a call that it took, and the statuses of one that it refused for what was
# asked: they say nothing of who asks.
ANSWERED = "ok"
ABOUT_THE_WORK = (404, 409, 410, 422)
NOBODY_HEARD = frozenset({"UNKNOWN", "CONFIRMED"})
# A class of none leaves these to a person.
NOBODY_KNOWS = frozenset({"UNKNOWN", LEASE_EXPIRED, ANSWER_LATER})
# What only prepares the work may be told as not done: making it again does nothing twice.
PREPARED = NOBODY_HEARD | {"RETRY"}


@check(Scope.OPERATION)
async def confirmed(bench: Bench, case: Case) -> None:
    """Asked once, it is confirmed: one effect, one number, and facts that the hub takes."""
    async with bench.outward() as stage:
        before = await _ready(stage, case)
        delivery = stage.new(case)
        await stage.settle(delivery)
        require(delivery.straight, told(delivery))
        await until(
            lambda: not stage.hub.facts_held_apart(),
            "the facts that the completion had no room for are written",
        )
        _one_effect(stage, case, delivery, before)


@check(Scope.OPERATION)
async def redelivery(bench: Bench, case: Case) -> None:
    """A message that comes three times, twice at once and once after the end, has one effect."""
    async with bench.outward() as stage:
        before = await _ready(stage, case)
        delivery = stage.new(case)
        messages = [stage.ask(delivery), stage.ask(delivery)]
        await stage.outcome(delivery)
        messages.append(stage.ask(delivery))
        await until(
            lambda: all(message.acked for message in messages), "every message is acknowledged"
        )
        await stage.settle(delivery)
        require(delivery.straight, told(delivery))
        require(not delivery.late, f"{delivery.late} attempts ran beside the one that was begun")
        _one_effect(stage, case, delivery, before)


@check(Scope.OPERATION)
async def reply_lost(bench: Bench, case: Case) -> None:
    """The vendor does it and its answer is lost: a confirmation in the end, and one effect."""
    strikes = await bench.strikes(case)
    for call in await bench.effects(case):
        ends = NOBODY_HEARD if call == strikes else PREPARED
        await _silent(bench, case, {"kind": "reply_lost", "count": 1, "operation": call}, ends)


@check(Scope.OPERATION)
async def not_done(bench: Bench, case: Case) -> None:
    """The vendor answers trouble and does nothing: not taken for done, and done once in the end."""
    strikes = await bench.strikes(case)
    for status in TROUBLE_STATUSES:
        async with bench.outward() as stage:
            before = await _ready(stage, case)
            delivery = stage.new(case)
            trouble = {"kind": "error_before", "count": 1, "status": status}
            with _faulty(stage, trouble | {"operation": strikes}):
                stage.ask(delivery)
                await stage.outcome(delivery)
                require(struck(stage, "error_before"), f"no call of {strikes} met trouble")
            done = delivery.last == "CONFIRMED" and stage.made(case) == before
            require(not done, told(delivery) + f", though {strikes} met {status}, and no effect")
            await _ends_well(stage, case, delivery, before)


@check(Scope.OPERATION)
async def late_commit(bench: Bench, case: Case) -> None:
    """The vendor does it only after we gave up waiting: still one effect, and a confirmation."""
    strikes = await bench.strikes(case)
    async with bench.outward(timeout_seconds=GIVE_UP_SECONDS) as stage:
        before = await _ready(stage, case)
        slow = {"kind": "slow", "count": 1, "delay_seconds": COMMIT_AFTER_SECONDS}
        delivery = stage.new(case)
        with _faulty(stage, slow | {"operation": strikes}):
            stage.ask(delivery)
            first = await stage.outcome(delivery)
            require(struck(stage, "slow"), f"no call of {strikes} was slow: nothing is proved")
        require(first == "UNKNOWN", told(delivery) + "; a call that may still work is unknown")
        early = _early(bench, case)
        if early is None:
            await until(lambda: stage.made(case) > before, "the vendor does it late")
        else:
            # As soon as declared, where what is left of the call is the longest that one may take.
            await asyncio.sleep(early * STILL_RUNS_SECONDS)
            await stage.settle(delivery)
            await asyncio.sleep(COMMIT_AFTER_SECONDS)
        await _ends_well(stage, case, delivery, before)
        too_soon = "NOT_FOUND" in delivery.outcomes
        require(not too_soon, told(delivery) + "; it was looked for while the call may still run")


@check(Scope.OPERATION)
async def crash(bench: Bench, case: Case) -> None:
    """A process that dies before the call, or after it and before it told, leaves one effect."""
    async with bench.outward() as stage:
        before = await _ready(stage, case)
        delivery = stage.new(case)
        delivery.begin(delivery.number, str(uuid.uuid4()))
        delivery.expire()
        await _ends_well(stage, case, delivery, before)
    async with bench.outward() as stage:
        before = await _ready(stage, case)
        delivery = stage.new(case)
        stage.hub.deaf_to.add((delivery.id, delivery.token + 1))
        stage.ask(delivery)
        await until(lambda: stage.made(case) > before, "the vendor does it")
        delivery.expire()
        await stage.start()
        await _ends_well(stage, case, delivery, before)


@check(Scope.OPERATION)
async def throttled(bench: Bench, case: Case) -> None:
    """A documented "too many calls" is told as such, with the vendor's wish; nothing is done."""
    strikes = await bench.strikes(case)
    for wish in (RETRY_AFTER_SECONDS, LONG_RETRY_AFTER_SECONDS):
        async with bench.outward() as stage:
            before = await _ready(stage, case)
            delivery = stage.new(case)
            many = {"kind": "throttle", "count": 1, "retry_after_seconds": wish}
            with _faulty(stage, many | {"operation": strikes}):
                stage.ask(delivery)
                first = await stage.outcome(delivery)
                require(struck(stage, "throttle"), f"no call of {strikes} was throttled")
            require(first == "THROTTLED", told(delivery) + " and not THROTTLED")
            wanted = delivery.completions[0].retry_after.ToNanoseconds() / 1e9
            require(
                wanted >= wish,
                f"the vendor wants {wish:g} s of rest, the hub was told {wanted:g} s",
            )
            require(stage.made(case) == before, "the throttled call had an effect")
            if wish == RETRY_AFTER_SECONDS:
                await _ends_well(stage, case, delivery, before)


@check(Scope.OPERATION)
async def vendor_down(bench: Bench, case: Case) -> None:
    """A vendor that cannot be reached is a retry, never a rejection; then the work is done once."""
    async with bench.outward() as stage:
        before = await _ready(stage, case)
        delivery = stage.new(case)
        with _faulty(stage, {"kind": "down"}):
            await stage.sandbox.apply_outage()
            stage.ask(delivery)
            first = await stage.outcome(delivery)
        await stage.sandbox.apply_outage()
        require(first == "RETRY", told(delivery) + " while the vendor was away, and not RETRY")
        await _ends_well(stage, case, delivery, before)


@check(Scope.OPERATION)
async def expired_token(bench: Bench, case: Case) -> None:
    """A token or session that the vendor forgot is renewed within the call; nobody has to look."""
    expire = bench.subject.expire
    if expire is None:
        raise NotGiven("give `expire`: what makes the vendor forget the tokens that it gave")
    missed = await _forgotten_before(bench, case, expire)
    if not missed:
        missed = await _forgotten_between(bench, case, expire)
    bench.token_missed |= missed
    # Whoever is excused is not asked, so it is not the last to say so.
    excused = bench.subject.reasons.get("expired_token", {})
    asked = [each for each in bench.subject.cases if each.operation not in excused]
    is_last = case is asked[-1] if asked else False
    said = "no call of any operation was refused for a forgotten token: nothing is proved"
    require(bench.token_missed or not is_last, said)
    # An operation may need no token, or ask for one before each call.
    if not missed:
        raise Inapplicable("no call was refused for a forgotten token: nothing is proved of it")


async def _forgotten_before(bench: Bench, case: Case, expire: Expire) -> bool:
    """Whether a call of the operation was refused because the vendor forgot what it had given until
    then; it has to be confirmed all the same."""
    async with bench.outward() as stage:
        before = await _ready(stage, case)
        await expire(stage.sandbox)
        seen = len(stage.sandbox.calls)
        delivery = stage.new(case)
        await stage.settle(delivery)
        require(delivery.straight, told(delivery))
        _one_effect(stage, case, delivery, before)
        return _missed(stage, seen)


async def _forgotten_between(bench: Bench, case: Case, expire: Expire) -> bool:
    """The same of an operation that is the first to need its token: a throttled attempt of its own
    gets one, which the vendor forgets before the next."""
    strikes = await bench.strikes(case)
    async with bench.outward() as stage:
        before = await _ready(stage, case)
        delivery = stage.new(case)
        many = {"kind": "throttle", "count": 1, "retry_after_seconds": RETRY_AFTER_SECONDS}
        with _faulty(stage, many | {"operation": strikes}):
            stage.ask(delivery)
            if await stage.outcome(delivery) != "THROTTLED":
                return False
        await expire(stage.sandbox)
        seen = len(stage.sandbox.calls)
        await stage.settle(delivery)
        later = [each for each in delivery.outcomes[1:] if each != ANSWER_LATER]
        require(later == ["CONFIRMED"], f"{told(delivery)}, once its token was forgotten")
        _one_effect(stage, case, delivery, before)
        return _missed(stage, seen)


def _missed(stage: Stage, seen: int) -> bool:
    """Whether the vendor refused a call since then for who asks."""
    return any(
        call.outcome != ANSWERED and call.status not in ABOUT_THE_WORK
        for call in stage.sandbox.calls[seen:]
    )


@check(Scope.OPERATION)
async def trace(bench: Bench, case: Case) -> None:
    """The trace of the event is carried on into every call that changes the vendor's books."""
    async with bench.outward() as stage:
        await _ready(stage, case)
        seen = len(stage.sandbox.calls)
        delivery = stage.new(case)
        stage.ask(delivery, TRACEPARENT)
        await stage.outcome(delivery)
        # Those of a way in that is at work beside it are of no event.
        ours = case.strikes if bench.is_answered else ""
        done = [call for call in stage.sandbox.calls[seen:] if call.effect]
        calls = [call for call in done if ours in ("", call.operation)]
        require(calls, told(delivery) + ", and no call of its had an effect")
        for call in calls:
            require(
                TRACE_ID in call.traceparent,
                f"{call.operation} came with {call.traceparent or 'no trace'}",
            )


@check(Scope.OPERATION)
async def poison(bench: Bench, case: Case) -> None:
    """An event without content, or that cannot be decoded, is parked with its reason."""
    async with bench.outward() as stage:
        before = await _ready(stage, case)
        empty, broken = stage.new(case), stage.new(case)
        empty.event, broken.event = b"", b"\xff\xff\xff"
        for delivery in (empty, broken):
            stage.ask(delivery)
            ended = await stage.outcome(delivery)
            # An operation may have nothing to do for nothing, and say so.
            fine = {"PARKED", "REJECTED"} | ({"CONFIRMED"} if delivery is empty else set())
            require(ended in fine, told(delivery) + "; it would be tried again for nothing")
            require(stage.made(case) == before, "a message without content had an effect")
            require(delivery.completions[-1].reason, f"{told(delivery)} and no reason")


@check(Scope.OPERATION)
async def declared_class(bench: Bench, case: Case) -> None:
    """The declared class is true: one effect after silent faults; trouble is not "not found"."""
    for strikes in await bench.effects(case):
        for fault in SILENT_FAULTS:
            async with bench.outward() as stage, _trial(stage, case, strikes) as trial:
                problems = await class_problems(trial, fault)
            require(not problems, f"{strikes}: " + "; ".join(problems))


@check(Scope.OPERATION)
async def lease(bench: Bench, case: Case) -> None:
    """With its lease over just before the call, nothing is sent, and the work is not given up."""
    strikes = await bench.strikes(case)
    async with bench.outward() as stage, _trial(stage, case, strikes) as trial:
        problems = await lease_problems(trial)
    require(not problems, "; ".join(problems))


def _early(bench: Bench, case: Case) -> float | None:
    """Which part of the longest call is over when an operation is looked for; None: all of it."""
    manifest = bench.subject.adapter.manifest
    declared = manifest.operations[case.operation]
    if declared.operation_class is not OperationClass.SEARCHABLE:
        return None
    part = declared.settle_after_seconds / manifest.call_seconds(declared)
    return part if part <= 1 else None


@asynccontextmanager
async def _trial(stage: Stage, case: Case, strikes: str) -> AsyncIterator[Trial]:
    await _ready(stage, case)
    assert stage.adapter.connect_function is not None
    vendor = await stage.adapter.connect_function(stage.settings, stage.secrets)
    delivery = stage.new(case)
    event = case.event(stage.sandbox.books())
    link = stage.link()

    def work() -> Work:
        return Work(
            delivery.id,
            stage.adapter.name,
            case.operation,
            case.item,
            delivery.reference,
            1,
            event,
            stage.settings,
            link.hub,
            link.numbers,
            sequences=Sequences(link),
            cursors=link,
        )

    try:
        yield Trial(
            stage.adapter,
            case.operation,
            vendor,
            stage.sandbox,
            work,
            lambda: stage.made(case),
            strikes,
            settle_seconds=stage.subject.settle_seconds,
        )
    finally:
        await vendor.close()


async def _silent(bench: Bench, case: Case, fault: dict[str, Any], ends: frozenset[str]) -> None:
    async with bench.outward() as stage:
        before = await _ready(stage, case)
        delivery = stage.new(case)
        call = fault["operation"]
        with _faulty(stage, fault):
            stage.ask(delivery)
            first = await stage.outcome(delivery)
            require(struck(stage, fault["kind"]), f"{fault['kind']} struck no call of {call}")
        require(first in ends, f"{told(delivery)}, though the vendor did {call}")
        await _ends_well(stage, case, delivery, before)


async def _ready(stage: Stage, case: Case) -> int:
    """What comes before is done; how many effects there are already."""
    await stage.prepare(case)
    return stage.made(case)


async def _ends_well(stage: Stage, case: Case, delivery: Delivery, before: int) -> None:
    """The hub does what it does, and there is one effect. A class of none ends with a person."""
    if delivery.kind is OperationClass.NONE and delivery.last in NOBODY_KNOWS:
        await _left_to_a_person(stage, case, delivery, before)
        return
    await stage.settle(delivery)
    require(delivery.last == "CONFIRMED", told(delivery))
    _one_effect(stage, case, delivery, before)


async def _left_to_a_person(stage: Stage, case: Case, delivery: Delivery, before: int) -> None:
    """An outcome that nobody knows is not repeated: no attempt follows it, and a message of it that
    comes once more begins none."""
    require(not delivery.again(), told(delivery) + ", and the hub would ask for it again")
    attempts = delivery.attempt
    message = stage.ask(delivery)
    await until(lambda: message.acked, "the message that came once more is acknowledged")
    require(delivery.attempt == attempts, told(delivery) + ", and was begun again")
    effects = stage.made(case) - before
    require(effects <= 1, f"{effects} effects of {case.operation} in the vendor's books, not one")


def _one_effect(stage: Stage, case: Case, delivery: Delivery, before: int) -> None:
    effects = stage.made(case) - before
    require(effects == 1, f"{effects} effects of {case.operation} in the vendor's books, not one")
    problems = stage.hub.notebook.problems
    require(not problems, "the hub refuses what it was told: " + "; ".join(problems[:3]))
    twice = numbered_twice(delivery.kind, delivery.completions)
    listed = "; ".join(f"{type_} {' and '.join(values)}" for type_, values in twice.items())
    require(not twice, f"{told(delivery)} as {listed}: the hub takes it for posted twice")


def struck(stage: Stage, fault: str) -> bool:
    """Whether a fault met a call at all."""
    return any(call.fault == fault for call in stage.sandbox.calls)


@contextmanager
def _faulty(stage: Stage, fault: dict[str, Any]) -> Iterator[None]:
    stage.sandbox.faults.add(fault)
    try:
        yield
    finally:
        stage.sandbox.faults.clear()
