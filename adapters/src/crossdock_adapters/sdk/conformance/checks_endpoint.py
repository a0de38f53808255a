"""What the endpoint as a whole has to show."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from crossdock_adapters.sdk import registry, testing
from crossdock_adapters.sdk.conformance import payloads
from crossdock_adapters.sdk.conformance.bench import (
    Bench,
    NotGiven,
    Scope,
    check,
    described_ways,
    unknown_reasons,
    wrong_answers,
)
from crossdock_adapters.sdk.conformance.checks_outbound import struck
from crossdock_adapters.sdk.conformance.ledger import ANSWER_LATER, Delivery
from crossdock_adapters.sdk.conformance.process import ADDRESS
from crossdock_adapters.sdk.conformance.stage import Stage, require, told, until
from crossdock_adapters.sdk.manifest import ManifestError

# A running process of the endpoint has this long to end, by the promise of `run`.
DRAIN_SECONDS = 10.0
SLOW_SECONDS = 1.0
START_SECONDS = 30.0
STATE = "state"
HALF_SENT = "Host: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 4096\r\n\r\n{"
PROCESS = "crossdock_adapters.sdk.conformance.process"
TROUBLES = (
    {"kind": "error_before", "count": 1, "status": 500},
    {"kind": "error_after", "count": 1},
    {"kind": "throttle", "count": 1, "retry_after_seconds": 0.0},
)


@check(Scope.ENDPOINT)
async def described(bench: Bench, _: Any) -> None:
    """Manifest and wiring agree, and each operation and way in is described or excused by name."""
    subject = bench.subject
    try:
        subject.adapter.check()
    except ManifestError as error:
        require(False, str(error))
    wrong = unknown_reasons(subject) + wrong_answers(subject)
    require(not wrong, "; ".join(wrong))
    excused = subject.reasons.get("described", {})
    cases = {case.operation for case in subject.cases}
    ways = {way.source for way in subject.ways_in}
    missing = (set(subject.adapter.manifest.operations) - cases) | (described_ways(subject) - ways)
    silent = missing - set(excused)
    require(not silent, f"conformance.py describes nothing of {_list(silent)}")
    require(not (set(excused) - missing), f"described and excused: {_list({*excused} - missing)}")
    if subject.name in registry.names() and registry.adapter(subject.name) is subject.adapter:
        findings = testing.static_findings(subject.name)
        findings += await testing.sandbox_findings(subject.name, bench.folder)
        require(not findings, "; ".join(map(str, findings)))


@check(Scope.ENDPOINT)
async def drain(bench: Bench, _: Any) -> None:
    """SIGTERM in mid-call: the call ends and is told, nothing more is begun, the process ends.

    Every way in is at work meanwhile, and a request to each webhook is half there.
    """
    if not bench.subject.cases:
        raise NotGiven("there is no operation to be in the middle of")
    case = bench.subject.cases[0]
    strikes = await bench.strikes(case)
    async with bench.outward() as stage:
        await stage.prepare(case)
        before = stage.made(case)
        delivery, later = stage.new(case), stage.new(case)
        await stage.running.stop()
        slow = {"kind": "slow", "count": 1, "delay_seconds": SLOW_SECONDS, "operation": strikes}
        stage.sandbox.faults.add(slow)
        process = await _process(bench, stage)
        try:
            await _send(process, delivery)
            await until(
                lambda: (
                    any(each.fault == "slow" for each in stage.sandbox.calls)
                    or process.returncode is not None
                ),
                "the vendor is in the middle of the call",
            )
            require(process.returncode is None, f"it ended by itself with {process.returncode}")
            async with _half_sent(stage, bench.subject.adapter.webhooks):
                process.send_signal(signal.SIGTERM)
                await _in_state(process, stage, ("draining", "stopped"))
                with contextlib.suppress(ConnectionError):
                    await _send(process, later)
                bench.evidence.log(await _ended(process))
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
        ended = delivery.last in ("CONFIRMED", ANSWER_LATER)
        require(ended, told(delivery) + " while it drained")
        require(stage.made(case) == before + 1, "the call that ran had no effect, or two")
        require(not later.attempt, "it began a delivery after SIGTERM")


@check(Scope.ENDPOINT)
async def secrets(bench: Bench, _: Any) -> None:
    """No secret, of the settings or the vendor's tokens, is logged, printed, told or answered."""
    for case in bench.subject.cases:
        strikes = await bench.strikes(case)
        async with bench.outward() as stage:
            await stage.prepare(case)
            for trouble in TROUBLES:
                stage.sandbox.faults.add(trouble | {"operation": strikes})
                await stage.settle(stage.new(case))
                stage.sandbox.faults.clear()
            met = any(struck(stage, str(trouble["kind"])) for trouble in TROUBLES)
            require(met, f"no trouble met a call of {strikes}: nothing is proved")
    for way in bench.subject.ways_in:
        async with bench.inward(way) as stage:
            for payload in [*way.payloads, *(each.payload for each in payloads.malformed(way))]:
                await stage.deliver(way, payload)
            if way.deliver is None:
                await stage.deliver(way, b"a stranger's", {})
    evidence = bench.evidence
    if not any(each.kind == "secret" for each in bench.subject.adapter.manifest.settings.values()):
        raise NotGiven("the manifest declares no secret")
    require(evidence.secrets, "the settings give no secret to look for")
    require(evidence.logged and evidence.told, "nothing was said at all: nothing is proved")
    require(not evidence.is_cut, "more was said than is kept: nobody looked at the rest")
    require(not evidence.found(), "a secret stands in " + "; ".join(evidence.found()))


async def _process(bench: Bench, stage: Stage) -> asyncio.subprocess.Process:
    """The endpoint in a process of its own, serving; deliveries go in by its standard input."""
    order = _home(stage) / "process.json"
    order.write_text(
        json.dumps(
            {
                "place": bench.place,
                "hub": stage.address,
                "token_file": str(stage.token_file),
                "settings": dict(stage.config.settings),
                "state": str(_home(stage) / STATE),
                "ways_in": sorted(described_ways(bench.subject)),
            }
        )
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        PROCESS,
        str(order),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    await _in_state(process, stage, ("serving",))
    if process.returncode is not None and process.stderr is not None:
        said = (await process.stderr.read()).decode("utf-8", "replace")
        require(False, f"the process ended with {process.returncode}: {said[-400:]}")
    return process


async def _in_state(
    process: asyncio.subprocess.Process, stage: Stage, states: tuple[str, ...]
) -> None:
    """The process says that it is in one of these states, or it has ended."""
    file = _home(stage) / STATE

    def holds() -> bool:
        return process.returncode is not None or (file.exists() and file.read_text() in states)

    await until(holds, f"a process of the endpoint is {states[0]}", START_SECONDS)


def _home(stage: Stage) -> Path:
    return stage.token_file.parent


@asynccontextmanager
async def _half_sent(stage: Stage, paths: Iterable[str]) -> AsyncIterator[None]:
    """A request to each of these webhooks that the vendor has not ended yet."""
    address = urlsplit((_home(stage) / STATE).with_suffix(ADDRESS).read_text())
    async with AsyncExitStack() as stack:
        for path in paths:
            _, writer = await asyncio.open_connection(address.hostname, address.port)
            stack.callback(writer.close)
            writer.write(f"POST {path} HTTP/1.1\r\n{HALF_SENT}".encode())
            await writer.drain()
        yield


async def _send(process: asyncio.subprocess.Process, delivery: Delivery) -> None:
    assert process.stdin is not None
    process.stdin.write(base64.b64encode(delivery.dispatch().SerializeToString()) + b"\n")
    await process.stdin.drain()


async def _ended(process: asyncio.subprocess.Process) -> str:
    """What it said on standard error."""
    started, said = time.monotonic(), b""
    try:
        async with asyncio.timeout(DRAIN_SECONDS):
            _, said = await process.communicate()
    except TimeoutError:
        require(False, f"it runs on {DRAIN_SECONDS:g} s after SIGTERM")
    took = time.monotonic() - started
    require(process.returncode == 0, f"it ended with {process.returncode} after {took:.1f} s")
    return said.decode("utf-8", "replace")


def _list(names: set[str]) -> str:
    return ", ".join(sorted(names))
