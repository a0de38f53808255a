"""The table of the fault tests, and the same as JSON: asked, done, found, and the naive figure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.progress import NO_WORDS, Done, Progress
from tests.faults.trials.trial import Size, Trial

FIRST_REAL_SEED = 1_000
# What `make faults` may take in all; longer is told, and fails nothing.
QUICK_MINUTES_MAX = 30.0
HEADING = (
    f"{'test':5}{'pieces':>8}{'lost':>6}{'doubled':>9}{'reordered':>11}{'regressed':>11}"
    "  verdict      done; naive"
)


@dataclass(frozen=True, slots=True)
class Line:
    """A test's row, as it is read and as it counts.

    missed: its full counts were run, it kept its promise, and a bound of seconds or rate was not
    met.
    """

    text: str
    passed: bool
    missed: bool = False


def line(trial: Trial, size: Size, progress: Progress) -> Line:
    """The row of a test."""
    told = document(trial, progress)
    found = told["found"]
    whole = size == trial.full and told["pieces"] >= size.pieces
    few = _too_few(trial.asked, told["done"]) if whole else []
    passed = told["passed"] and not few
    verdict = _verdict(told, passed, told["pieces"] < size.pieces)
    counts = ", ".join(f"{value:,} {name}" for name, value in told["done"].items())
    baseline = ", ".join(_naive(told))
    columns = (
        f"{trial.id:5}{told['pieces']:>4}/{size.pieces:<3}{_shown(found['lost']):>6}"
        f"{_shown(found['doubled']):>9}{_shown(found['reordered']):>11}"
        f"{_shown(found['regressed']):>11}  {verdict:13}"
    )
    slow = "".join(f"; {name} beyond {bound:g}" for name, bound in told["beyond"].items())
    slow += "".join(f"; {name} below {floor:g}" for name, floor in told["below"].items())
    slow += "".join(f"; too few: {each}" for each in few)
    slow += "".join(f"; {each}" for each in _otherwise(told))
    text = f"{columns}{counts}{slow}" + (f"; {baseline}" if baseline else "")
    missed = whole and passed and bool(told["beyond"] or told["below"])
    return Line(text, passed and told["pieces"] > 0, missed)


def _judged(pieces: Sequence[Done], name: str) -> int | None:
    """How often a kind was found; None where no piece looked for it."""
    found = [each.result.verdict[name] for each in pieces if name in each.result.verdict]
    return sum(found) if found else None


def _shown(found: int | None) -> str:
    return "-" if found is None else str(found)


def _verdict(told: Mapping[str, Any], passed: bool, is_part: bool) -> str:
    """PASS only where every bound was met too: seconds that were missed fail nothing."""
    if not passed:
        return "FAIL"
    if is_part:
        return "so far"
    if told["beyond"]:
        return "kept, beyond"
    return "kept, below" if told["below"] else "PASS"


def _otherwise(told: Mapping[str, Any]) -> list[str]:
    """Which pieces were run and judged by other words than those of today."""
    seeds = ", ".join(str(seed) for seed in told["other_words"])
    return [f"told otherwise when it ran: {seeds}"] if seeds else []


def document(trial: Trial, progress: Progress) -> dict[str, Any]:
    """Everything known about a test."""
    done = progress.done(trial.id)
    pieces = [each for each in done if each.seed > FIRST_REAL_SEED]
    naive = [each for each in done if each.seed <= FIRST_REAL_SEED]
    counts = _added(each.result.counts for each in pieces)
    measured = _ranges(pieces)
    return {
        "id": trial.id,
        "title": trial.title,
        "criterion": trial.criterion,
        "asked": dict(trial.asked),
        "done": counts,
        "enough": not _too_few(trial.asked, counts),
        "pieces": len(pieces),
        "seeds": [each.seed for each in pieces],
        "commits": sorted({each.commit for each in pieces}),
        "other_words": [e.seed for e in pieces if e.words not in (trial.words, NO_WORDS)],
        "words_not_kept": [each.seed for each in pieces if each.words == NO_WORDS],
        "seconds": round(sum(each.seconds for each in pieces)),
        "found": {
            name: _judged(pieces, name) for name in ("lost", "doubled", "reordered", "regressed")
        },
        "measured": measured,
        "beyond": _missed(trial.bounds, measured, lambda figure, most: figure["p99"] > most),
        "below": _missed(trial.floors, measured, lambda figure, least: figure["p50"] < least),
        "passed": all(each.result.passed for each in pieces),
        "failures": {
            each.seed: [*each.result.violations, *each.result.broken]
            for each in pieces
            if not each.result.passed
        },
        "baseline": _added(each.result.counts for each in naive),
        "baseline_measured": _ranges(naive),
    }


def _too_few(asked: Mapping[str, int], done: Mapping[str, int]) -> list[str]:
    """What there is less of than the whole was asked for."""
    return [
        f"{done.get(name, 0):,} of {number:,} {name}"
        for name, number in asked.items()
        if done.get(name, 0) < number
    ]


def _naive(told: Mapping[str, Any]) -> list[str]:
    """What the usual build did, and how long it took."""
    return [
        *(f"{name} {value:,}" for name, value in told["baseline"].items()),
        *(
            f"{name}: p50 {each['p50']:g}, p99 {each['p99']:g}, most {each['max']:g}"
            for name, each in told["baseline_measured"].items()
        ),
    ]


def _missed(
    asked: Mapping[str, float],
    measured: Mapping[str, dict[str, float]],
    missed: Callable[[dict[str, float], float], bool],
) -> dict[str, float]:
    """What was asked of those figures that miss it."""
    return {n: asked[n] for n, each in measured.items() if n in asked and missed(each, asked[n])}


def write_report(
    path: Path, mode: str, trials: Iterable[Trial], progress: Progress, seconds: float = 0.0
) -> None:
    """Write what is known so far about all tests. seconds: what this run of them took."""
    path.parent.mkdir(exist_ok=True)
    rows = [document(trial, progress) for trial in trials]
    told = {
        "mode": mode,
        "seconds": round(seconds),
        "took": took(mode, seconds),
        "tests": [row for row in rows if row["pieces"] or row["baseline"]],
    }
    path.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


def took(mode: str, seconds: float) -> str:
    """How long a run took, and whether that is more than `make faults` may."""
    minutes = seconds / 60
    late = mode == "quick" and minutes > QUICK_MINUTES_MAX
    return f"{minutes:.1f} minutes" + (f", beyond {QUICK_MINUTES_MAX:g} minutes" if late else "")


def table(trials: Iterable[Trial], progress: Progress) -> str:
    """The table of docs/guarantees.md, of what has been run."""
    rows = [
        "| Test | What is done | Kept when | Done | Seeds | Versions | Lost, doubled, reordered,"
        " regressed | Usually built |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for trial in trials:
        told = document(trial, progress)
        done = "; ".join(f"{value:,} {name}" for name, value in told["done"].items()) or "not yet"
        if told["seeds"] and not told["enough"]:
            asked = ", ".join(f"{value:,} {name}" for name, value in trial.asked.items())
            done += f" (so far; the whole is {asked})"
        seeds = f"{told['seeds'][0]} to {told['seeds'][-1]}" if told["seeds"] else ""
        found = ", ".join(map(_shown, told["found"].values())) if told["seeds"] else ""
        if told["seeds"] and not told["passed"]:
            found += " **not kept**"
        naive = "; ".join(_naive(told))
        versions = ", ".join(told["commits"])
        versions += "".join(f" (**{each}**)" for each in _otherwise(told))
        cells = (trial.id, trial.title, trial.criterion, done, seeds, versions, found, naive or "-")
        rows.append(f"| {' | '.join(cells)} |")
        measured = [
            f"{name}: p50 {each['p50']:g}, p99 {each['p99']:g}, most {each['max']:g}"
            + (f" (**beyond {told['beyond'][name]:g}**)" if name in told["beyond"] else "")
            + (f" (**below {told['below'][name]:g}**)" if name in told["below"] else "")
            for name, each in told["measured"].items()
        ]
        if measured:
            rows.append(f"| | | measured | {'; '.join(measured)} | | | | |")
    return "\n".join(rows)


def words_not_kept(trials: Iterable[Trial], progress: Progress) -> str:
    """Which tests have pieces of which nobody can tell what they were judged by; "" for none."""
    names = [each.id for each in trials if document(each, progress)["words_not_kept"]]
    return f"run before their criterion was kept: {', '.join(names)}" if names else ""


def _added(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    found: Counter[str] = Counter()
    for each in counts:
        found.update(each)
    return dict(found)


def _ranges(pieces: list[Done]) -> dict[str, dict[str, float]]:
    """Median, 99th percentile and maximum of each figure, over all pieces."""
    values: dict[str, list[float]] = {}
    for each in pieces:
        for name, measured in each.result.measured.items():
            values.setdefault(name, []).extend(measured)
    return {name: _spread(sorted(found)) for name, found in values.items() if found}


def _spread(ordered: list[float]) -> dict[str, float]:
    def at(share: float) -> float:
        return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 3)

    return {"count": len(ordered), "p50": at(0.5), "p99": at(0.99), "max": at(1.0)}
