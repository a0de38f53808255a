"""G6 and G20: what is left of a hub that is killed, what refuses a second one, and how one ends."""

from __future__ import annotations

import shutil
import signal
import time

from fixtures_hub import RunningHub, deployment
from fixtures_nats import eventually, is_alive

from tests.faults.history.records import Rpc
from tests.faults.naive.orphan import naive_g6
from tests.faults.naive.stopping import naive_g20
from tests.faults.trials.round import Round, moments, played, reached
from tests.faults.trials.trial import Piece, Result, Size, Trial, judged
from tests.faults.yard.site import Plan, mix_of

CHILD_SECONDS_MAX = 1.0
STOP_SECONDS_MAX = 10.0
REFUSED = 69
PAUSE_SECONDS_MAX = 0.3
WRITERS = 24


async def run_g6(piece: Piece) -> Result:
    """Kill a hub: its child is gone. Start a second one beside it: it is refused."""
    hub = RunningHub(piece.directory / "hub", deployment(1))
    other = RunningHub(piece.directory / "other", deployment(1))
    gone: list[float] = []
    refused = 0
    broken: list[str] = []
    try:
        for number in range(piece.size.faults):
            hub.start()
            said = _second(hub, other, same_port=number % 2 == 1)
            if said:
                broken.append(said)
            else:
                refused += 1
            child = hub.nats_pid
            killed = time.monotonic()
            hub.kill()
            await eventually(lambda pid=child: not is_alive(pid), "the end of the child", 10.0)
            gone.append(time.monotonic() - killed)
    finally:
        hub.kill()
        other.kill()
    slow = [f"{seconds:.1f} s" for seconds in gone if seconds > CHILD_SECONDS_MAX]
    broken += [f"a child lived on for {seconds}" for seconds in slow]
    counts = {"parent kills": len(gone), "second hubs refused": refused}
    return Result(counts, measured={"s from kill to no child": gone}, broken=broken)


def _second(hub: RunningHub, other: RunningHub, *, same_port: bool) -> str:
    """Start another hub on the same data, or on the same port; what is wrong with its end."""
    if same_port:
        shutil.rmtree(other.data, ignore_errors=True)
        code, said = other.run_to_its_end(listen=hub.address)
    else:
        code, said = hub.run_to_its_end(listen="127.0.0.1:0")
    sentences = [line for line in said.splitlines() if line.startswith("the hub can't start")]
    if code == REFUSED and len(sentences) == 1:
        return ""
    where = "port" if same_port else "data"
    return f"a second hub on the same {where} ended with {code}: {said[-300:]}"


async def run_g20(piece: Piece) -> Result:
    """SIGTERM under load, again and again: nothing that was done goes unanswered."""
    ends: list[float] = []
    broken: list[str] = []
    stops: list[tuple[float, float]] = []

    async def stop(round_: Round) -> None:
        for moment in moments(piece, "stops", PAUSE_SECONDS_MAX):
            await reached(round_, moment)
            round_.site.note("SIGTERM", "hub")
            wall, started = time.time(), time.monotonic()
            process = round_.site.hub.process
            assert process is not None
            process.send_signal(signal.SIGTERM)
            await eventually(lambda p=process: p.poll() is not None, "the end of the hub", 30.0)
            ends.append(time.monotonic() - started)
            stops.append((wall, time.time()))
            if process.returncode != 0:
                broken.append(f"the hub ended with {process.returncode}")
            await round_.site.start_hub()

    async with played(piece, Plan(piece.seed, mix=mix_of("well")), [stop], WRITERS) as round_:
        history = await round_.history()
        kept = dict(round_.site.hub.query("SELECT request_id, created_at FROM requests"))
    calls = history.of(Rpc)
    unanswered = _unanswered(calls, kept)
    broken += [f"{call.method} was done and not answered ({call.reason})" for call in unanswered]
    broken += [f"it took {s:.1f} s to end" for s in ends if s > STOP_SECONDS_MAX]
    counts = {
        "SIGTERMs": len(ends),
        "orders": round_.load.done,
        "writes": len({call.request_id for call in calls}),
        "calls turned away": sum(call.outcome == "unknown" for call in calls),
        "accepted calls that failed": len(unanswered),
    }
    path = piece.directory / "history.jsonl"
    return judged(history, path, counts, {"s from SIGTERM to the end": ends}, broken)


def _unanswered(calls: list[Rpc], kept: dict[str, int]) -> list[Rpc]:
    """Calls that were done while they ran, and were told nothing."""
    return [
        call
        for call in calls
        if call.outcome == "unknown" and call.start <= kept.get(call.request_id, 0) <= call.end
    ]


G6 = Trial(
    "G6",
    "kill -9 of the hub; a second hub on the same data, or on the same port",
    "no nats-server after 1 s; every second hub is refused in one clear sentence",
    run_g6,
    Size(1, faults=4),
    Size(5, faults=20),
    {"parent kills": 100},
    baseline=naive_g6,
    baseline_size=Size(1, faults=10),
)
G20 = Trial(
    "G20",
    "SIGTERM of the hub under load",
    "no accepted call fails; it ends within 10 s",
    run_g20,
    Size(1, orders=150, faults=3),
    Size(10, orders=250, faults=10),
    {"SIGTERMs": 100},
    baseline=naive_g20,
    baseline_size=Size(1, faults=5),
)
