"""`crossdock demo`: a peak evening on real parts, eight acts, and proofs from vendors' books."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import shutil
import signal
import tempfile
from pathlib import Path
from typing import Annotated, Final

import typer

from crossdock.cli.demo.acts import Cast, play
from crossdock.cli.demo.report import Report
from crossdock.cli.demo.stage import Stage
from crossdock.cli.installation import Installation
from crossdock.cli.network.vendor import SandboxPace
from crossdock.cli.output import painted, print_json
from crossdock.cli.problems import EXIT_FAILED, CommandError, explained
from crossdock.cli.tracing import begin_tracing
from crossdock.cli.workplace import Workplace
from crossdock.errors import CallError

app = typer.Typer(add_completion=False, help="A peak evening with faults, and the proofs.")

TOTAL_SECONDS: Final = 300.0
REPORT: Final = Path("out") / "demo-report.json"
MINIMUM_ORDERS: Final = 4
MAXIMUM_ORDERS: Final = 2_000
EXIT_ENDED: Final = 130


@app.command()
def demo(
    orders: Annotated[
        int, typer.Option(min=MINIMUM_ORDERS, max=MAXIMUM_ORDERS, help="In the first act.")
    ] = 200,
    outage_seconds: Annotated[
        float, typer.Option(min=2, max=120, help="How long the ERP is away.")
    ] = 20.0,
    day_seconds: Annotated[
        float, typer.Option(min=4, max=120, help="How long a day without the ERP lasts here.")
    ] = 10.0,
    seed: Annotated[int, typer.Option(min=1, help="Another seed, another evening.")] = 1,
    report_file: Annotated[Path, typer.Option("--report", help="Where it goes.")] = REPORT,
    keep: Annotated[bool, typer.Option(help="Keep the data directory in any case.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print only the report.")] = False,
) -> None:
    """Play eight acts; each proof compares the hub's ledger with the vendors' own books.

    Exit 1: a proof failed, or the evening could not be played to its end. Exit 130: ended by Ctrl-C
    or SIGTERM.
    """
    report = Report(seed, orders, as_json)
    directory = Path(tempfile.mkdtemp(prefix="crossdock-demo-"))
    failure: CommandError | None = None
    try:
        end_tracing = begin_tracing("crossdock-oms")
        try:
            asyncio.run(
                _demo(directory, Cast.of(orders, outage_seconds, day_seconds), seed, report)
            )
        except CommandError as error:
            failure = error
            report.trouble(str(error))
        except (KeyboardInterrupt, asyncio.CancelledError):
            failure = CommandError("the demo was ended before its end", exit_code=EXIT_ENDED)
            report.trouble(failure.what)
        finally:
            end_tracing()
            report.write(report_file)
    finally:
        ended = failure is not None and failure.exit_code == EXIT_ENDED
        if (report.passed or ended) and not keep:
            shutil.rmtree(directory, ignore_errors=True)
    if as_json:
        print_json(report.document())
    else:
        _show_end(report, report_file, directory)
    if failure is not None:
        raise failure
    if not report.passed:
        raise typer.Exit(EXIT_FAILED)


async def _demo(directory: Path, cast: Cast, seed: int, report: Report) -> None:
    pace = SandboxPace(
        floor_seconds=0.3, handover_seconds=1.5, scan_seconds=0.25, poll_seconds=60.0, seed=seed
    )
    workplace = Workplace(directory)
    workplace.lock()
    installation = Installation(workplace, pace, report.say)
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        async with asyncio.timeout(TOTAL_SECONDS):
            report.say(f"starting hub, NATS, three vendors and their adapters in {directory}")
            await installation.start()
            report.say(f"ready in {installation.ready_seconds:.1f} s")
            async with Stage(installation, seed, report) as stage:
                await play(stage, cast)
    except TimeoutError:
        raise CommandError(f"the demo was not over after {TOTAL_SECONDS:.0f} s") from None
    except CallError as error:
        raise explained(error, installation.address) from None
    finally:
        report.line.end()
        with contextlib.suppress(CommandError):
            await installation.stop()
        workplace.unlock()


def _show_end(report: Report, report_file: Path, directory: Path) -> None:
    proofs = [proof for act in report.acts for proof in act.proofs]
    good = sum(proof.holds for proof in proofs)
    word = painted("passed", "green") if report.passed else painted("FAILED", "red")
    typer.echo(
        f"\n{word}: {good} of {len(proofs)} proofs hold, {report.seconds:.0f} s; {report_file}"
    )
    if directory.exists():
        data = shlex.quote(str(directory))
        typer.echo(f"kept: {directory}; look at it with crossdock dev --data {data}")
