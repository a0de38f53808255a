"""What every way in has to show: each fact once, nothing guessed, nothing lost, nothing fatal."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Any

from crossdock.mapping.v1.mapping_pb2 import MappingTopic
from google.protobuf.message import Message

from crossdock_adapters.sdk.conformance import payloads
from crossdock_adapters.sdk.conformance.bench import Bench, Inapplicable, NotGiven, Scope, check
from crossdock_adapters.sdk.conformance.ledger import ENDED
from crossdock_adapters.sdk.conformance.memory import forget_the_peak, peak_bytes
from crossdock_adapters.sdk.conformance.notebook import texts_of
from crossdock_adapters.sdk.conformance.stage import Failed, Stage, require, told, until
from crossdock_adapters.sdk.conformance.subject import Answers, Delivered, UnknownCode, WayIn
from crossdock_adapters.sdk.hub_link import MAX_HELD_BYTES
from crossdock_adapters.sdk.inbound import POLL_SOURCE

OVERSIZE_BYTES = MAX_HELD_BYTES + 64 * 1024
BOMB_SECONDS = 10.0
# How long after the hub takes things again what had come meanwhile may take to be told.
COMES_BACK_SECONDS = 20.0
# Until a poll that told nothing begins again; its pause is its own.
ROUND_SECONDS = 5.0
# How much the process may grow by at its peak while it reads one payload. What the adapters here
# take at most is 77 MiB: legacy-file, of 4 MB that are separators alone.
GROWTH_MIB = 128
MEBIBYTE = 1024 * 1024
TOO_MANY = 429
SHOWN = 160
Order = Callable[[list[bytes]], list[bytes]]


@check(Scope.WAY_IN)
async def arrives(bench: Bench, way: WayIn) -> None:
    """What the vendor sends becomes facts that the hub takes; nothing of it is held or refused."""
    if not way.payloads:
        raise NotGiven("give `payloads`: what the vendor sends, in order")
    async with bench.inward(way) as stage:
        for number, payload in enumerate(way.payloads):
            before = len(stage.hub.notebook.facts)
            answer = await stage.deliver(way, payload)
            _taken(answer, f"payload {number}")
            require(not stage.held_from(way), _held(stage, way, f"payload {number}"))
            require(
                len(stage.hub.notebook.facts) > before, f"payload {number} told the hub nothing"
            )
        _no_problems(stage)


@check(Scope.WAY_IN)
async def duplicate_inbound(bench: Bench, way: WayIn) -> None:
    """Each payload twice, and all of them once more, are the same facts as each payload once."""
    if not way.tells_facts:
        await _answered_alike(
            bench, way, lambda said: [*(two for two in said for _ in "12"), *said]
        )
        return
    once = await bench.facts(way)
    async with bench.inward(way) as stage:
        for payload in [each for pair in way.payloads for each in (pair, pair)] + [*way.payloads]:
            _taken(await stage.deliver(way, payload), "a payload that came before")
        _same_facts(stage, way, once)


@check(Scope.WAY_IN)
async def out_of_order_inbound(bench: Bench, way: WayIn) -> None:
    """Payloads in the wrong order become the same facts as in the right one."""
    if not way.tells_facts:
        await _answered_alike(bench, way, lambda said: said[::-1])
        return
    if len(way.payloads) < 2:
        raise NotGiven("give two `payloads` or more: one alone has no order")
    once = await bench.facts(way)
    async with bench.inward(way) as stage:
        for payload in reversed(way.payloads):
            _taken(await stage.deliver(way, payload), "a payload out of order")
        _same_facts(stage, way, once)


@check(Scope.WAY_IN)
async def hub_away(bench: Bench, way: WayIn) -> None:
    """What comes while the hub takes nothing is there once it does: no fact is lost, none is held.

    What cannot be read is held then, too: of a way in that tells no facts, that is all there is.
    """
    sent = list(way.payloads) if way.tells_facts else []
    unread = payloads.malformed(way)[:1]
    if not sent and not unread:
        raise NotGiven("give `payloads` or `malformed`: something to come while the hub is away")
    once = await bench.facts(way) if sent else {}
    async with bench.inward(way) as stage:
        for number, payload in enumerate(sent):
            _taken(await _came_to_nobody(stage, way, payload), f"payload {number}, come again,")
        with contextlib.suppress(Failed):
            await until(
                lambda: stage.hub.notebook.facts.keys() >= once.keys(),
                "all facts are told",
                COMES_BACK_SECONDS,
            )
        _same_facts(stage, way, once)
    async with bench.inward(way) as stage:
        for each in unread:
            answer = await _came_to_nobody(stage, way, each.payload)
            said = "what cannot be read, and came while the hub took nothing, was dropped"
            if answer.status < 400:
                await until(lambda: bool(stage.held_from(way)), said, COMES_BACK_SECONDS)


async def _came_to_nobody(stage: Stage, way: WayIn, payload: bytes) -> Delivered:
    """The payload comes while the hub takes nothing, and again when it does where the vendor has to
    send it again: the last answer."""
    hub = stage.hub
    before, hub.takes_nothing = hub.turned_away, True
    if way.deliver is None:
        answer = await stage.deliver(way, payload)
        hub.takes_nothing = False
        comes_again = answer.status >= 500 or answer.status == TOO_MANY
        said = f"a payload was answered {answer.status}, and the hub had taken nothing"
        require(answer.status >= 400 or hub.turned_away == before, f"{said}: nobody sends it again")
        return await stage.deliver(way, payload) if comes_again else answer
    bringing = asyncio.create_task(stage.deliver(way, payload))
    try:
        await until(
            lambda: hub.turned_away > before or bringing.done(), "what came is told to the hub"
        )
        if hub.turned_away == before and way.source.startswith(POLL_SOURCE):
            # The poll is past it and has told nothing, or has not yet: it may have moved its cursor
            # first. When it begins again, all that it was about to tell came to nobody.
            rounds, cursor = hub.cursor_reads, way.source.removeprefix(POLL_SOURCE)
            begun = rounds[cursor]
            with contextlib.suppress(Failed):
                await until(
                    lambda: hub.turned_away > before or rounds[cursor] > begun,
                    "the poll begins again",
                    ROUND_SECONDS,
                )
        hub.takes_nothing = False
        return await bringing
    finally:
        bringing.cancel()


@check(Scope.WAY_IN)
async def unknown_code(bench: Bench, way: WayIn) -> None:
    """A code without a row is neither guessed nor dropped: it is kept as the vendor wrote it."""
    if way.unknown_code is None:
        raise NotGiven("give `unknown_code`: a payload with a code that nobody has documented")
    for given in (way.unknown_code, *way.unknown_codes):
        await _kept_unguessed(bench, way, given)


async def _kept_unguessed(bench: Bench, way: WayIn, given: UnknownCode) -> None:
    async with bench.inward(way) as stage:
        _taken(await stage.deliver(way, given.payload), "a payload with an unknown code")
        facts = list(stage.hub.notebook.facts.values())
        held = stage.held_from(way)
        require(facts or held, f"the payload with {given.raw} was dropped")
        kept = any(given.raw in text for fact in facts for text in texts_of(fact))
        raw = given.raw.encode()
        require(
            kept or any(raw in each.payload or raw.decode() in each.reason for each in held),
            f"neither a fact nor a held payload has {given.raw} as the vendor wrote it",
        )
        awaited = {each.unread_codes.topic for each in held if each.HasField("unread_codes")}
        require(
            given.topic is None or awaited == {MappingTopic.Value(f"MAPPING_TOPIC_{given.topic}")},
            f"the hub is not told that what has {given.raw} waits for a row of {given.topic}",
        )
        for fact in facts if given.field else []:
            for value in values_of(fact, given.field):
                known = value == given.told if given.told else _says_nothing(value)
                require(known, f"{given.raw} became {given.field} {value}: guessed")
        _no_problems(stage)


@check(Scope.WAY_IN)
async def unknown_field(bench: Bench, way: WayIn) -> None:
    """Fields and values that nobody documented are tolerated: the facts are the same without."""
    larger = payloads.grown(way)
    if larger is None:
        raise NotGiven("give `grown`: the first payload with fields that nobody documented")
    async with bench.inward(way) as stage:
        _taken(await stage.deliver(way, way.payloads[0]), "the payload as it is")
        plain = _without_ids(stage)
    async with bench.inward(way) as stage:
        _taken(await stage.deliver(way, larger), "the payload with unknown fields")
        require(not stage.held_from(way), _held(stage, way, "the payload with unknown fields"))
        require(_without_ids(stage) == plain, "the unknown fields changed the facts")


@check(Scope.WAY_IN)
async def malformed(bench: Bench, way: WayIn) -> None:
    """What cannot be read is refused or held, and the reason says where; no fact comes of it."""
    broken = payloads.malformed(way)
    if not broken:
        raise NotGiven("give `malformed` (or `needed` places): payloads that cannot be read")
    async with bench.inward(way) as stage:
        for each in broken:
            facts, held = len(stage.hub.notebook.facts), len(stage.held_from(way))
            answer = await stage.deliver(way, each.payload)
            shown = each.payload[-SHOWN:].decode("utf-8", "replace")
            require(answer.status < 500, f"answered {answer.status} to …{shown}")
            require(len(stage.hub.notebook.facts) == facts, f"a fact was made of …{shown}")
            reasons = [one.reason for one in stage.held_from(way)[held:]]
            reasons += [answer.said] if answer.status >= 400 else []
            require(reasons, f"nobody refused or held …{shown}")
            require(
                payloads.places(reasons, each.place),
                f"the reason {reasons[0]!r} does not say where ({each.place}) in …{shown}",
            )
        await _still_serves(stage, way)


@check(Scope.WAY_IN)
async def oversize(bench: Bench, way: WayIn) -> str:
    """A payload larger than the hub holds is refused, told or held in part; the next one passes."""
    large = payloads.oversize(way, OVERSIZE_BYTES)
    if not large:
        raise NotGiven("give `oversize`: a payload larger than what the hub holds")
    async with bench.inward(way) as stage:
        grown = [
            await _small_growth(stage, way, payload, "an oversize payload") for payload in large
        ]
        await _still_serves(stage, way)
    return _at_most(grown)


@check(Scope.WAY_IN)
async def bomb(bench: Bench, way: WayIn) -> str:
    """Payloads made to eat time or memory get an answer soon, and the next one passes."""
    hostile = [(payload, "") for payload in payloads.bombs(way)]
    if not hostile:
        raise NotGiven("give `bombs`: payloads that are meant to eat time or memory")
    if way.deliver is None:
        hostile.append((payloads.inflating(2 * GROWTH_MIB), payloads.GZIP))
    grown = []
    async with bench.inward(way) as stage:
        for payload, encoding in hostile:
            started = time.monotonic()
            what = f"the bomb {encoding} {payload[:40]!r}"
            grown.append(await _small_growth(stage, way, payload, what, encoding))
            took = time.monotonic() - started
            require(took < BOMB_SECONDS, f"{what} took {took:.1f} s")
        await _still_serves(stage, way)
    return _at_most(grown)


async def _small_growth(
    stage: Stage, way: WayIn, payload: bytes, what: str, encoding: str = ""
) -> int:
    """How many MiB the process was larger by at most while it dealt with the payload."""
    forget_the_peak()
    before = peak_bytes()
    await _accounted(stage, way, payload, what, encoding)
    grown_mib = max(0, peak_bytes() - before) // MEBIBYTE
    require(grown_mib < GROWTH_MIB, f"{what} took {grown_mib} MiB, the limit is {GROWTH_MIB} MiB")
    return grown_mib


def _at_most(grown_mib: list[int]) -> str:
    return f"{max(grown_mib)} MiB more memory at most, of {GROWTH_MIB}"


@check(Scope.WAY_IN)
async def unproven_sender(bench: Bench, way: WayIn) -> None:
    """Who does not prove that he is the vendor is refused; nothing of his is told or held."""
    if way.source.startswith(POLL_SOURCE):
        raise Inapplicable("a poll asks the vendor itself: nobody can call it")
    if way.headers is None and way.signed is None:
        raise NotGiven("give `headers` or `signed`: what the vendor proves itself with")
    payload = way.payloads[0]
    async with bench.inward(way) as stage:
        strangers = {"a stranger": {}, "another proof": _altered(stage.proof(way, payload))}
        if way.signed is not None:
            strangers["the proof of other bytes"] = stage.proof(way, payload + b" ")
        for who, shown in strangers.items():
            answer = await stage.deliver(way, payload, shown)
            require(answer.status in (401, 403), f"{who} was answered {answer.status}")
            require(not stage.hub.notebook.facts, f"the payload with {who} became a fact")
            require(not stage.hub.held, f"the payload with {who} is held")


def values_of(fact: Message, name: str) -> list[Any]:
    """The value of every field of that name, however deep; an enum value by its name."""
    found: list[Any] = []
    for descriptor in fact.DESCRIPTOR.fields:
        value = getattr(fact, descriptor.name)
        values = list(value) if descriptor.is_repeated else [value]
        if descriptor.name == name:
            enum = descriptor.enum_type
            found += [enum.values_by_number[each].name if enum else each for each in values]
        elif descriptor.message_type is not None:
            there = descriptor.is_repeated or fact.HasField(descriptor.name)
            found += [one for each in values if there for one in values_of(each, name)]
    return found


async def _answered_alike(bench: Bench, way: WayIn, as_they_come: Order) -> None:
    """The operation that waits for what comes ends as it does when each answer comes once."""
    given = way.answers
    if given is None:
        raise NotGiven("give `answers`: it tells no facts, so what becomes of a case is compared")
    once = await _ended_by(bench, way, given, lambda said: said)
    other = await _ended_by(bench, way, given, as_they_come)
    require(other == once, f"{given.operation} ended {other} and not {once}")


async def _ended_by(bench: Bench, way: WayIn, given: Answers, as_they_come: Order) -> list[str]:
    """How the case ended with these answers: outcome, what the vendor calls it, and facts. The
    draft is another one in each world."""
    async with bench.inward(way) as stage:
        await given.silence(stage)
        delivery = stage.new(bench.subject.case(given.operation))
        stage.ask(delivery)
        said = list(await given.said(stage))
        require(len(said) > 1, "give `answers` of two payloads or more: one alone has no order")
        for payload in as_they_come(said):
            _taken(await stage.deliver(way, payload), "an answer")
        await stage.settle(delivery)
        require(delivery.last in ENDED, told(delivery) + ", with all its answers there")
        require(not stage.held_from(way), _held(stage, way, "an answer"))
        _no_problems(stage)
        last = delivery.completions[-1]
        named = [f"{each.type} {each.value}" for each in last.vendor_references]
        facts = [fact.hex() for fact in _without_ids(stage)]
        return [delivery.last, *(each.replace(delivery.draft, "draft") for each in named), *facts]


def _altered(proof: Mapping[str, str]) -> dict[str, str]:
    """Of the same form, and nobody's. In the middle: the last letters of base64 may say nothing,
    and the first may be the name of a scheme."""
    found = {}
    for name, value in proof.items():
        middle = len(value) // 2
        other = "B" if value[middle : middle + 1] in ("A", "a") else "A"
        found[name] = value[:middle] + other + value[middle + 1 :]
    return found


def _says_nothing(value: Any) -> bool:
    return not value or str(value).endswith(("_UNSPECIFIED", "_UNKNOWN"))


def _taken(answer: Delivered, what: str) -> None:
    require(answer.status < 300, f"{what} was answered {answer.status}: {answer.said[:SHOWN]}")


def _held(stage: Stage, way: WayIn, what: str) -> str:
    return f"{what} is held: " + "; ".join(held.reason for held in stage.held_from(way))


def _no_problems(stage: Stage) -> None:
    problems = stage.hub.notebook.problems
    require(not problems, "the hub refuses what it was told: " + "; ".join(problems[:3]))


def _same_facts(stage: Stage, way: WayIn, once: dict[tuple[str, str], bytes]) -> None:
    _no_problems(stage)
    found = stage.hub.notebook.told()
    require(not stage.held_from(way), _held(stage, way, "a payload"))
    require(found.keys() <= once.keys(), f"{len(found.keys() - once.keys())} facts too many")
    require(found.keys() >= once.keys(), f"{len(once.keys() - found.keys())} facts are missing")
    require(found == once, "the facts say something else")


def _without_ids(stage: Stage) -> list[bytes]:
    found = []
    for (method, _), fact in stage.hub.notebook.facts.items():
        plain: Any = type(fact)()
        plain.CopyFrom(fact)
        plain.ClearField("request_id")
        found.append(method.encode() + plain.SerializeToString(deterministic=True))
    return sorted(found)


async def _accounted(
    stage: Stage, way: WayIn, payload: bytes, what: str, encoding: str = ""
) -> None:
    """It was refused, told, or held: not lost, and not repeated for ever."""
    notebook = stage.hub.notebook
    before = len(notebook.facts), len(stage.hub.held), notebook.repeats
    answer = await stage.deliver(way, payload, encoding=encoding)
    require(answer.status < 500, f"{what} was answered {answer.status}")
    refused = answer.status >= 400
    # The same facts may have been told before: telling them again is an answer too.
    after = len(notebook.facts), len(stage.hub.held), notebook.repeats
    require(refused or after != before, f"{what} was dropped")


async def _still_serves(stage: Stage, way: WayIn) -> None:
    held = len(stage.held_from(way))
    before = len(stage.hub.notebook.facts) + stage.hub.notebook.repeats
    _taken(await stage.deliver(way, way.payloads[0]), "the next payload")
    after = len(stage.hub.notebook.facts) + stage.hub.notebook.repeats
    require(after > before or not way.tells_facts, "the next payload told the hub nothing")
    require(len(stage.held_from(way)) == held, _held(stage, way, "the next payload"))
    task = stage.running.task
    require(not task.done(), "the endpoint ended")
