"""Runs the checks for one endpoint, and says of each how it ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from crossdock_adapters.sdk.conformance import (  # noqa: F401  each module adds its checks
    checks_endpoint,
    checks_inbound,
    checks_outbound,
)
from crossdock_adapters.sdk.conformance.bench import (
    CHECKS,
    EVERYTHING,
    WHOLE_SCOPES,
    Bench,
    Check,
    Inapplicable,
    NotGiven,
    Scope,
)
from crossdock_adapters.sdk.conformance.evidence import listening
from crossdock_adapters.sdk.conformance.report import Finding, Report, Result
from crossdock_adapters.sdk.conformance.stage import Failed, NotServing
from crossdock_adapters.sdk.conformance.subject import Subject

CHECK_SECONDS = 120.0
NEVER_EXCUSED = "declared_class"
NEEDS_NO_ENDPOINT = "described"


class UnknownCheck(ValueError):
    """A check was asked for that there is none of."""


async def conform(
    subject: Subject,
    folder: Path,
    *,
    place: str = "",
    only: Collection[str] = (),
    heard: Callable[[Finding], None] = lambda _: None,
) -> Report:
    """Every check, or those named; UnknownCheck before any is run. folder: empty. place: how
    another process finds the subject."""
    strange = sorted(set(only) - set(CHECKS))
    if strange:
        known = ", ".join(CHECKS)
        raise UnknownCheck(f"no check is called {', '.join(strange)}; there are: {known}")
    bench = Bench(subject, folder, place=place or subject.name)
    wanted = set(only) or set(CHECKS)
    report = Report(subject.name, subject.adapter.manifest.title, subject.adapter.manifest.version)
    report.left_out = [name for name in CHECKS if name not in wanted]
    with listening(bench.evidence):
        for check in sorted(CHECKS.values(), key=_turn):
            if check.name in wanted:
                for finding in await _findings(bench, check):
                    report.findings.append(finding)
                    heard(finding)
    return report


def _turn(check: Check) -> tuple[bool, int]:
    """Last what looks at everything that was said before."""
    return check.name == "secrets", list(Scope).index(check.scope)


async def _findings(bench: Bench, check: Check) -> list[Finding]:
    """The check run for everything that it is for; one that is for nothing has failed."""
    objects = _objects(bench.subject, check.scope)
    if not objects:
        reason = _reason(bench.subject, check, EVERYTHING)
        said = f"conformance.py describes no {check.scope}, and the manifest does not say why"
        result = Result.NOT_APPLICABLE if reason else Result.FAILED
        return [Finding(check.name, check.proves, "", result, reason or said)]
    found = [await _finding(bench, check, name, each) for name, each in objects]
    names = {EVERYTHING, *(name for name, _ in objects)}
    reasons = bench.subject.reasons.get(check.name, {})
    return found + [
        Finding(check.name, check.proves, what, Result.NOT_APPLICABLE, reason)
        for what, reason in reasons.items()
        if what not in names
    ]


async def _finding(bench: Bench, check: Check, name: str, each: Any) -> Finding:
    started = time.monotonic()
    reason = _reason(bench.subject, check, name)
    said, measured = "", ""
    try:
        if bench.not_serving and check.name != NEEDS_NO_ENDPOINT:
            raise Failed(f"not tried: {bench.not_serving}")
        async with asyncio.timeout(CHECK_SECONDS):
            measured = await check.run(bench, each) or ""
        bench.served = bench.served or check.name != NEEDS_NO_ENDPOINT
    except Inapplicable as why:
        seconds = time.monotonic() - started
        said = reason or str(why)
        return Finding(check.name, check.proves, name, Result.NOT_APPLICABLE, said, seconds)
    except (Failed, NotGiven) as failed:
        said = str(failed)
        if isinstance(failed, NotServing) and not bench.served:
            bench.not_serving = said
    except TimeoutError:
        said = f"not done within {CHECK_SECONDS:g} s"
    except Exception as error:
        said = f"the check broke: {type(error).__name__}: {error}"
    result = Result.FAILED if said else Result.PASSED
    if reason:
        # A reason that has become untrue is told, or nobody would ever take it out.
        result = Result.NOT_APPLICABLE if said else Result.FAILED
        said = reason if said else f"it passes; take it out of [not_applicable]: {reason}"
    about = "" if check.scope is Scope.ENDPOINT else name
    seconds = time.monotonic() - started
    return Finding(check.name, check.proves, about, result, said, seconds, measured)


def _objects(subject: Subject, scope: Scope) -> Sequence[tuple[str, Any]]:
    if scope is Scope.OPERATION:
        return [(case.operation, case) for case in subject.cases]
    if scope is Scope.WAY_IN:
        return [(way.source, way) for way in subject.ways_in]
    return [(subject.name, None)]


def _reason(subject: Subject, check: Check, name: str) -> str:
    """Why a check does not apply, as manifest or subject says; "" when neither does. Whether an
    operation makes something twice is never taken on its word."""
    if check.name == NEVER_EXCUSED and name in subject.adapter.manifest.operations:
        return ""
    declared = subject.reasons
    whole = next((word for word, scope in WHOLE_SCOPES.items() if scope is check.scope), "")
    for key in (check.name, whole):
        reasons = declared.get(key, {})
        if found := reasons.get(name) or reasons.get(EVERYTHING):
            return found
    return ""
