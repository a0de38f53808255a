"""Goes through all that waits for codes of a kind, page by page, and shows how far it is."""

from __future__ import annotations

import asyncio

import typer

from crossdock.cli.hub_access import Place, open_hub
from crossdock.cli.problems import CommandError
from crossdock.cli.progress import ProgressLine, bar
from crossdock.mapping.v1 import mapping_pb2, mapping_service_pb2
from crossdock.request_ids import new_request_id

PAGE = 200
EXIT_INTERRUPTED = 130
COUNTS = ("examined", "applied", "asked_again", "sent_again", "unmapped", "held")


def backfilled(
    place: Place,
    request: mapping_service_pb2.BackfillMappingsRequest,
    covered: mapping_service_pb2.GetMappingCoverageResponse,
    as_json: bool,
) -> dict[str, int]:
    """What became of what waited. covered: of the kind, from before. Ctrl-C ends the command with
    what was done until then, and so does CommandError, which is raised."""
    found = dict.fromkeys(COUNTS, 0)
    progress = ProgressLine(as_json, beside_result=True, piped=True)
    try:
        asyncio.run(_every_page(place, request, waiting(covered, request.topic), found, progress))
    except KeyboardInterrupt:
        _say_interrupted(found, progress)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except CommandError:
        if found["examined"]:
            _say_interrupted(found, progress)
        raise
    finally:
        progress.end()
    return found


def _say_interrupted(found: dict[str, int], progress: ProgressLine) -> None:
    progress.end()
    typer.echo(
        f"interrupted: {sentence(found)}. What is decided stays, also of the page that was "
        "under way; the same command again goes on with what still waits",
        err=True,
    )


def waiting(
    covered: mapping_service_pb2.GetMappingCoverageResponse,
    topic: mapping_pb2.MappingTopic.ValueType,
) -> int:
    """How many facts and deliveries wait for codes of a topic, or of any."""
    return sum(
        each.quarantined + each.parked_deliveries
        for each in covered.unmapped_codes
        if topic in (mapping_pb2.MAPPING_TOPIC_UNSPECIFIED, each.topic)
    )


def sentence(found: dict[str, int]) -> str:
    """The counts, for people."""
    return (
        f"{found['examined']} looked at: {found['applied']} written, {found['asked_again']} given "
        f"to their adapters again, {found['sent_again']} deliveries sent again, "
        f"{found['unmapped']} without a row still, {found['held']} wait for something else"
    )


async def _every_page(
    place: Place,
    request: mapping_service_pb2.BackfillMappingsRequest,
    total: int,
    found: dict[str, int],
    progress: ProgressLine,
) -> None:
    """Adds what became of each page to `found` as soon as it is known."""
    request.page_size = PAGE
    async with open_hub(place) as hub:
        while True:
            request.request_id = new_request_id()
            answer = await hub.mappings.BackfillMappings(request)
            for name in COUNTS:
                found[name] += getattr(answer, name)
            request.page_token = answer.next_page_token
            if not answer.next_page_token:
                return
            # More may have come since they were counted.
            whole = max(total, found["examined"])
            share = bar(found["examined"] / whole) if whole else bar(0)
            progress.show(f"{share} {found['examined']:,} of {whole:,} looked at")
