"""The list of checks: each is a function, its name, and the first line of its docstring."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from crossdock_adapters.sdk.conformance.evidence import Evidence
from crossdock_adapters.sdk.conformance.stage import Stage, require, staged, told
from crossdock_adapters.sdk.conformance.subject import Case, Subject, WayIn
from crossdock_adapters.sdk.inbound import POLL_SOURCE

EVERYTHING = "*"
Run = Callable[["Bench", Any], Awaitable[str | None]]


class Scope(StrEnum):
    """What a check is run for: each of these by itself."""

    OPERATION = "operation"
    WAY_IN = "way in"
    ENDPOINT = "endpoint"


class Inapplicable(Exception):
    """What the check looks for cannot be there, by the nature of the thing; the text says why."""


class NotGiven(Exception):
    """conformance.py gives nothing to check with; the text says what to add."""


@dataclass(frozen=True, slots=True)
class Check:
    """One check. run: raises Failed, NotGiven or Inapplicable, or returns, some with what they
    measured."""

    name: str
    proves: str
    scope: Scope
    run: Run


CHECKS: dict[str, Check] = {}
# Keys of [not_applicable] that stand for all checks of a scope.
WHOLE_SCOPES = {"outbound": Scope.OPERATION, "inbound": Scope.WAY_IN}


def check(scope: Scope) -> Callable[[Run], Run]:
    """Makes a function a check of the kit."""

    def register(run: Run) -> Run:
        proves = (run.__doc__ or "").strip().partition("\n")[0]
        CHECKS[run.__name__] = Check(run.__name__, proves, scope, run)
        return run

    return register


@dataclass
class Bench:
    """Makes the worlds that checks run in, and keeps what several of them want to know."""

    subject: Subject
    folder: Path
    evidence: Evidence = field(default_factory=Evidence)
    place: str = ""
    # Why the endpoint does not serve: where it never has, no check waits for it once more.
    not_serving: str = ""
    served: bool = False
    # Whether the vendor ever refused a call for a token that it forgot.
    token_missed: bool = False
    _effects: dict[str, list[str]] = field(default_factory=dict)
    _facts: dict[str, dict[tuple[str, str], bytes]] = field(default_factory=dict)

    def outward(self, **options: Any) -> Any:
        """A world without ways in but those by which answers come: else nothing but the check calls
        the vendor."""
        ways = sorted({case.answered_by for case in self.subject.cases if case.answered_by})
        return staged(self.subject, self.evidence, self.folder, ways_in=ways, **options)

    @asynccontextmanager
    async def inward(self, way: WayIn) -> AsyncIterator[Stage]:
        """A world with one way in."""
        ways = [way.source]
        async with staged(self.subject, self.evidence, self.folder, ways_in=ways) as stage:
            if way.ready is not None:
                await way.ready(stage)
            yield stage

    @property
    def is_answered(self) -> bool:
        """Whether a way in is at work beside operations, so that a call with an effect may be its
        own, such as an acknowledgement."""
        return any(case.answered_by for case in self.subject.cases)

    async def strikes(self, case: Case) -> str:
        """The vendor's call that does the work of a case. Failed: no call has an effect."""
        return case.strikes or (await self.effects(case))[-1]

    async def effects(self, case: Case) -> list[str]:
        """Every call with an effect that the case makes, each once, in order: the answer of any of
        them may be lost. Where a way in is at work beside it, that which does the work alone.
        Failed: no call has an effect."""
        if self.is_answered and case.strikes:
            return [case.strikes]
        if case.operation not in self._effects:
            async with self.outward() as stage:
                await stage.prepare(case)
                seen = len(stage.sandbox.calls)
                delivery = stage.new(case)
                await stage.settle(delivery)
                done = [call.operation for call in stage.sandbox.calls[seen:] if call.effect]
                require(done, told(delivery) + ", and no call of its had an effect")
                self._effects[case.operation] = list(dict.fromkeys(done))
        return self._effects[case.operation]

    async def facts(self, way: WayIn) -> dict[tuple[str, str], bytes]:
        """What the payloads of a way in become when each comes once, in order."""
        if way.source not in self._facts:
            async with self.inward(way) as stage:
                for payload in way.payloads:
                    await stage.deliver(way, payload)
                self._facts[way.source] = stage.hub.notebook.told()
        return self._facts[way.source]


def described_ways(subject: Subject) -> set[str]:
    """Every way in of an adapter, under the name by which a subject describes it."""
    polls = {POLL_SOURCE + name for name in subject.adapter.polls}
    return polls | set(subject.adapter.webhooks)


def wrong_answers(subject: Subject) -> list[str]:
    """Cases whose answer comes by a way in that is not there, or that do not say what they do."""
    problems = []
    answered = [case.operation for case in subject.cases if case.answered_by]
    for case in subject.cases:
        if case.answered_by and case.answered_by not in described_ways(subject):
            known = ", ".join(sorted(described_ways(subject))) or "no way in at all"
            problems.append(
                f"{case.operation}: answered_by names {case.answered_by}; there is {known}"
            )
        if answered and not case.strikes:
            which = "it" if case.answered_by else answered[0]
            said = f"give strikes, because {which} is answered_by a way in"
            problems.append(f"{case.operation}: {said}")
    return problems


def unknown_reasons(subject: Subject) -> list[str]:
    """Entries of [not_applicable] that name no check, or nothing that the check is run for."""
    problems = []
    for name, reasons in subject.reasons.items():
        scope = WHOLE_SCOPES.get(name) or (CHECKS[name].scope if name in CHECKS else None)
        if scope is None:
            known = ", ".join([*WHOLE_SCOPES, *CHECKS])
            problems.append(f"[not_applicable] {name}: no such check; there are {known}")
            continue
        known_objects = {EVERYTHING, *names_of(subject, scope)}
        problems += [
            f"[not_applicable.{name}] {what}: no such {scope}"
            for what in reasons
            if what not in known_objects
        ]
    return problems


def names_of(subject: Subject, scope: Scope) -> list[str]:
    """Everything of an endpoint that checks of a scope may be run for."""
    if scope is Scope.OPERATION:
        return list(subject.adapter.manifest.operations)
    if scope is Scope.WAY_IN:
        polls = [f"poll:{name}" for name in subject.adapter.polls]
        return [*polls, *subject.adapter.webhooks]
    return [subject.name, *subject.adapter.manifest.operations, *names_of(subject, Scope.WAY_IN)]
