"""`crossdock map`: what vendors' codes mean, which ones have no row, and what waits for them."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Iterable
from typing import Annotated, Any

import typer

from crossdock.cli.backfilling import backfilled, sentence
from crossdock.cli.delivery import Reason, word_line
from crossdock.cli.hub_access import Data, Json, Place, Yes, confirm, find_place, open_hub
from crossdock.cli.output import age, cell, message_json, print_json, print_table
from crossdock.cli.pages import PageToken, print_page, say_more
from crossdock.cli.problems import EXIT_USED_WRONGLY, CommandError
from crossdock.endpoint.v1 import endpoint_service_pb2
from crossdock.errors import NotFoundError
from crossdock.mapping.v1 import mapping_pb2, mapping_service_pb2
from crossdock.request_ids import new_request_id
from crossdock.types.v1 import types_pb2

app = typer.Typer(add_completion=False, no_args_is_help=True, help="What vendors' codes mean.")

PAGE = 500
PREFIX = "MAPPING_TOPIC_"
TOPICS = [
    name.removeprefix(PREFIX)
    for name, number in mapping_pb2.MappingTopic.items()
    if number != mapping_pb2.MAPPING_TOPIC_UNSPECIFIED
]
UNKNOWN_KIND = "no endpoint here is of kind {kind!r}, and no adapter told rows of it"
KINDS_ARE = "The kinds: crossdock map list, crossdock endpoint list"
READ_BY_NOBODY = f"{UNKNOWN_KIND}: nothing is read by this row. {KINDS_ARE}. Take it back: " + (
    "crossdock map reset"
)
NOTHING_KNOWN = f"{UNKNOWN_KIND}. {KINDS_ARE}"
COLUMNS = ("KIND", "TOPIC", "TYPE", "CODE", "MEANS", "WHY", "SAID BY", "REVISION", "SOURCE")
COVERAGE_COLUMNS = ("KIND", "TOPIC", "ENDPOINT", "CODES", "WAITING", "FIRST", "LAST", "NOW")

Kind = Annotated[str, typer.Argument(help="Endpoint kind: the adapter's name, for example ups.")]
Topic = Annotated[str, typer.Argument(help=f"What the code speaks about: {', '.join(TOPICS)}.")]
Code = Annotated[str, typer.Argument(help="The vendor's code, as it writes it.")]
Type = Annotated[str, typer.Option("--type", help="The vendor's table or type of the code.")]
OneKind = Annotated[str, typer.Option("--kind", help="Only of this endpoint kind.")]
OneTopic = Annotated[str, typer.Option("--topic", help="Only of this topic.")]


@app.command("list")
def list_(
    kind: OneKind = "",
    topic: OneTopic = "",
    deployment: Annotated[
        bool, typer.Option("--deployment", help="Only what this deployment said.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, max=PAGE, help="Rows at most.")] = 100,
    page_token: PageToken = "",
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Codes and what they mean now, with who said so."""
    request = mapping_service_pb2.ListMappingsRequest(
        endpoint_kind=kind,
        topic=_topic(topic) if topic else mapping_pb2.MAPPING_TOPIC_UNSPECIFIED,
        deployment_only=deployment,
        page_size=limit,
        page_token=page_token,
    )
    answer = asyncio.run(_call(find_place(data), "ListMappings", request))
    if as_json:
        print_page("rows", answer.rows, answer.next_page_token)
        return
    if not answer.rows:
        typer.echo("no rows; adapters tell theirs when they register")
        return
    print_table(COLUMNS, [_cells(row) for row in answer.rows])
    say_more(answer.next_page_token)


@app.command()
def show(
    kind: Kind,
    topic: Topic,
    code: Code,
    type_: Type = "",
    as_json: Json = False,
    data: Data = None,
) -> None:
    """One code: what it means, its default, and everything that was said about it."""
    request = mapping_service_pb2.GetMappingRequest(
        endpoint_kind=kind, topic=_topic(topic), native=_native(type_, code)
    )
    answer = asyncio.run(_call(find_place(data), "GetMapping", request))
    if as_json:
        print_json(message_json(answer))
        return
    _show(answer.row)
    for word in answer.words:
        typer.echo(f"  {word_line(word)}")


@app.command("set")
def set_(
    kind: Kind,
    topic: Topic,
    code: Code,
    means: Annotated[str, typer.Option(help="In the contract's words, for example IN_TRANSIT.")],
    reason: Reason,
    type_: Type = "",
    exception_reason: Annotated[
        str, typer.Option(help="Of a status: why, for example WEATHER.")
    ] = "",
    preferred: Annotated[
        bool, typer.Option("--preferred", help="Send this code where several mean the same.")
    ] = False,
    as_json: Json = False,
    yes: Yes = False,
    data: Data = None,
) -> None:
    """Say what a code means here; what waits for it goes on by itself.

    Shows the row that is there first, and is refused when another one changes it meanwhile.
    """
    place = find_place(data)
    request = mapping_service_pb2.SetMappingRequest(
        request_id=new_request_id(),
        endpoint_kind=kind,
        topic=_topic(topic),
        native=_native(type_, code),
        meaning=mapping_pb2.Meaning(
            canonical=_word(means),
            exception_reason=_word(exception_reason),
            preferred=preferred,
        ),
        reason=reason,
    )
    request.expected_revision = _show_present(place, request)
    confirm(place, f"say what {kind} {topic} {code} means", yes)
    row, warnings = asyncio.run(_set(place, request))
    _print_row(row, as_json)
    for warning in warnings:
        typer.echo(f"warning: {warning}", err=True)


@app.command()
def reset(
    kind: Kind,
    topic: Topic,
    code: Code,
    reason: Reason,
    type_: Type = "",
    as_json: Json = False,
    yes: Yes = False,
    data: Data = None,
) -> None:
    """Take back what was set: the adapter's default holds again, if there is one."""
    place = find_place(data)
    request = mapping_service_pb2.ResetMappingRequest(
        request_id=new_request_id(),
        endpoint_kind=kind,
        topic=_topic(topic),
        native=_native(type_, code),
        reason=reason,
    )
    request.expected_revision = _show_present(place, request)
    confirm(place, f"take back what {kind} {topic} {code} means", yes)
    _print_row(asyncio.run(_call(place, "ResetMapping", request)).row, as_json)


@app.command()
def coverage(kind: OneKind = "", as_json: Json = False, data: Data = None) -> None:
    """How many codes are known, which ones came without a row, and which words have none to be
    sent; with what waits for them.

    Exit code 1 when there are any.
    """
    request = mapping_service_pb2.GetMappingCoverageRequest(endpoint_kind=kind)
    answer, known = asyncio.run(_covered(find_place(data), request))
    _say_unknown(kind, known)
    if as_json:
        print_json(message_json(answer))
    else:
        for each in answer.topics:
            said = f", {each.deployment_rows} said here" if each.deployment_rows else ""
            typer.echo(f"{each.endpoint_kind} {_name(each.topic)}: {each.rows} codes{said}")
        _show_unmapped(answer)
        for word in answer.words:
            typer.echo(f"  {word_line(word)}")
    if answer.unmapped_codes:
        raise typer.Exit(1)


@app.command()
def backfill(
    kind: Kind,
    reason: Reason,
    topic: OneTopic = "",
    as_json: Json = False,
    yes: Yes = False,
    data: Data = None,
) -> None:
    """Decide everything again that is quarantined for codes of a kind, in the order it came, and
    send the deliveries again that are parked for words without a code.

    What waits for a code goes on by itself when the code is mapped; this waits for it and says
    what became of each. What was written by a row for one of its codes stays as it is: a row for a
    more telling code, or another meaning, that comes later decides nothing of it again.
    Standard error shows how far it is; Ctrl-C ends it with what was done, and the same again goes
    on.
    """
    place = find_place(data)
    value = _topic(topic) if topic else mapping_pb2.MAPPING_TOPIC_UNSPECIFIED
    confirm(place, f"decide what is quarantined for codes of {kind} again", yes)
    asked = mapping_service_pb2.GetMappingCoverageRequest(endpoint_kind=kind)
    covered, known = asyncio.run(_covered(place, asked))
    _say_unknown(kind, known)
    request = mapping_service_pb2.BackfillMappingsRequest(
        endpoint_kind=kind, topic=value, reason=reason
    )
    found = backfilled(place, request, covered, as_json)
    if as_json:
        print_json(found)
        return
    if not found["examined"]:
        about = f"{kind} {_name(value)}" if topic else kind
        typer.echo(f"nothing waits for codes of {about}")
        return
    typer.echo(sentence(found))


async def _call(place: Place, method: str, request: Any) -> Any:
    async with open_hub(place) as hub:
        return await getattr(hub.mappings, method)(request)


def _show_present(place: Place, request: Any) -> int:
    """Say on standard error what the code means so far; the revision of that, 0 for no row."""
    asked = mapping_service_pb2.GetMappingRequest(
        endpoint_kind=request.endpoint_kind, topic=request.topic, native=request.native
    )
    row = asyncio.run(_found(place, asked))
    if row is not None:
        _show(row, "now: ", err=True)
        return row.revision
    code = _written(request.native)
    typer.echo(f"now: {request.endpoint_kind} {_name(request.topic)} {code}: no row", err=True)
    return 0


async def _found(
    place: Place, request: mapping_service_pb2.GetMappingRequest
) -> mapping_pb2.MappingRow | None:
    async with open_hub(place) as hub:
        try:
            return (await hub.mappings.GetMapping(request)).row
        except NotFoundError:
            return None


async def _covered(
    place: Place, request: mapping_service_pb2.GetMappingCoverageRequest
) -> tuple[mapping_service_pb2.GetMappingCoverageResponse, bool]:
    """The coverage, and whether there is such a kind."""
    kind = request.endpoint_kind
    async with open_hub(place) as hub:
        answer = await hub.mappings.GetMappingCoverage(request)
        told = answer.topics or answer.unmapped_codes
        return answer, bool(not kind or told or kind in await _adapters(hub))


async def _set(
    place: Place, request: mapping_service_pb2.SetMappingRequest
) -> tuple[mapping_pb2.MappingRow, list[str]]:
    """The row, and why it may not be the one that is meant."""
    kind = request.endpoint_kind
    async with open_hub(place) as hub:
        told = await hub.mappings.GetMappingCoverage(
            mapping_service_pb2.GetMappingCoverageRequest(endpoint_kind=kind)
        )
        known = any(each.rows > each.deployment_rows for each in told.topics)
        if not known and not told.unmapped_codes:
            known = kind in await _adapters(hub)
        _refuse_blanks(request, told.unmapped_codes)
        row = (await hub.mappings.SetMapping(request)).row
    warnings = [] if known else [READ_BY_NOBODY.format(kind=kind)]
    return row, warnings + waits_elsewhere(request, told.unmapped_codes)


def _refuse_blanks(
    request: mapping_service_pb2.SetMappingRequest, unmapped: Iterable[mapping_pb2.UnmappedCode]
) -> None:
    """A code of blanks alone is a slip of the hand, but where a fact came with it."""
    code = request.native.code
    waits = any(request.native in each.native_codes for each in unmapped)
    if code and not code.strip() and not waits:
        raise CommandError(
            f"the code {code!r} is blanks only, and nothing waits for it",
            "write the code as the adapter does; an empty one is ''",
            "crossdock map coverage",
            EXIT_USED_WRONGLY,
        )


async def _adapters(hub: Any) -> set[str]:
    """The kinds of all endpoints that registered."""
    request = endpoint_service_pb2.ListEndpointsRequest(page_size=PAGE)
    found: set[str] = set()
    while True:
        page = await hub.endpoints.ListEndpoints(request)
        found |= {each.manifest.adapter for each in page.endpoints}
        request.page_token = page.next_page_token
        if not page.next_page_token:
            return found


def waits_elsewhere(
    request: mapping_service_pb2.SetMappingRequest, unmapped: Iterable[mapping_pb2.UnmappedCode]
) -> list[str]:
    """What waits for a code that is written alike, of another topic or type, in other letters or
    with other zeros in front, and not for this: codes are compared as the adapter writes them."""
    said = (request.topic, request.native.type, request.native.code)
    found: dict[str, None] = {}
    for each in unmapped:
        codes = [(each.topic, code.type, code.code) for code in each.native_codes]
        if each.canonical or each.mapped_since or said in codes:
            continue
        for topic, type_, code in codes:
            if _alike(code) == _alike(request.native.code):
                option = f" --type {shlex.quote(type_)}" if type_ else ", without --type,"
                found[f"{_name(topic)} {code}{option} still waits for a row: this is not it"] = None
    return list(found)


def _alike(code: str) -> str:
    return code.strip().casefold().lstrip("0")


def _say_unknown(kind: str, known: bool) -> None:
    """Nothing found of a mistyped kind must not look as if all were well."""
    if not known:
        typer.echo(f"warning: {NOTHING_KNOWN.format(kind=kind)}", err=True)


def _word(text: str) -> str:
    """A word of the contract, however it was typed."""
    return text.upper().replace("-", "_")


def _topic(text: str) -> mapping_pb2.MappingTopic.ValueType:
    name = _word(text)
    if name not in TOPICS:
        raise CommandError(
            f"there is no topic {text!r}", f"there are: {', '.join(TOPICS)}", "", EXIT_USED_WRONGLY
        )
    return mapping_pb2.MappingTopic.Value(f"{PREFIX}{name}")


def _native(type_: str, code: str) -> types_pb2.NativeCode:
    return types_pb2.NativeCode(type=type_, code=code)


def _name(topic: int) -> str:
    known = topic in mapping_pb2.MappingTopic.values()
    return mapping_pb2.MappingTopic.Name(topic).removeprefix(PREFIX) if known else str(topic)  # type: ignore[arg-type]


def _said_by(row: mapping_pb2.MappingRow) -> str:
    if row.origin == mapping_pb2.MAPPING_ORIGIN_DEPLOYMENT:
        return row.deployment.operator
    return f"default {row.defaults_version}" if row.HasField("default_mapping") else "-"


def _source(row: mapping_pb2.MappingRow) -> str:
    if row.origin == mapping_pb2.MAPPING_ORIGIN_DEPLOYMENT:
        return row.deployment.reason
    default = row.default_mapping
    return f"{default.source} ({default.confidence})" if default.source else "-"


def _cells(row: mapping_pb2.MappingRow) -> tuple[str, ...]:
    return (
        row.endpoint_kind,
        _name(row.topic),
        row.native.type or "-",
        row.native.code or "-",
        row.meaning.canonical or "-",
        row.meaning.exception_reason or "-",
        _said_by(row),
        str(row.revision),
        cell(_source(row)),
    )


def _print_row(row: mapping_pb2.MappingRow, as_json: bool) -> None:
    if as_json:
        print_json(message_json(row))
    else:
        _show(row)


def _show(row: mapping_pb2.MappingRow, opening: str = "", err: bool = False) -> None:
    meaning = row.meaning.canonical or "no meaning"
    parts = (meaning, row.meaning.exception_reason, "preferred" if row.meaning.preferred else "")
    said = " ".join(part for part in parts if part)
    code = _written(row.native)
    typer.echo(f"{opening}{row.endpoint_kind} {_name(row.topic)} {code}: {said}", err=err)
    said_by = f"revision {row.revision}, said by {_said_by(row)}: {cell(_source(row))}"
    typer.echo(f"  {said_by}", err=err)
    if row.origin == mapping_pb2.MAPPING_ORIGIN_DEPLOYMENT and row.HasField("default_mapping"):
        default = row.default_mapping
        meant = f"{default.meaning.canonical} ({default.source})"
        typer.echo(f"  the default would be {meant}", err=err)


def _written(code: types_pb2.NativeCode) -> str:
    return " ".join(part for part in (code.type, code.code) if part)


def _show_unmapped(answer: mapping_service_pb2.GetMappingCoverageResponse) -> None:
    if not answer.unmapped_codes:
        typer.echo("every code that came has a row")
        return
    rows = [
        (
            each.endpoint_kind,
            _name(each.topic),
            each.endpoint,
            _codes(each),
            _waiting(each),
            age(each.first_time),
            age(each.last_time),
            "mapped: crossdock map backfill" if each.mapped_since else "no row",
        )
        for each in answer.unmapped_codes
    ]
    print_table(COVERAGE_COLUMNS, rows)
    if answer.truncated:
        typer.echo("… and more; --kind narrows it down")
    typer.echo(
        "say what one means: crossdock map set KIND TOPIC CODE --type T --means WORD --reason …"
    )
    if any(each.canonical for each in answer.unmapped_codes):
        typer.echo("say what to send for a word: the same, with --preferred")


def _codes(each: mapping_pb2.UnmappedCode) -> str:
    if each.canonical:
        tables = " or ".join(code.type for code in each.native_codes if code.type)
        return f"to send: {each.canonical}" + (f" (type {tables})" if tables else "")
    return " or ".join(f"{c.type} {c.code}".strip() or "(empty)" for c in each.native_codes)


def _waiting(each: mapping_pb2.UnmappedCode) -> str:
    if each.canonical:
        return f"{each.parked_deliveries} deliveries"
    return f"{each.quarantined} facts"
