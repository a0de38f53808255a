"""`--json` of every command that an operator's scripts read: one document, nothing beside it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from crossdock.dead_letter.v1 import dead_letter_pb2, dead_letter_service_pb2
from crossdock.dead_letter.v1.dead_letter_service_pb2 import ListDeadLettersRequest
from crossdock.delivery.v1 import delivery_operations_service_pb2, delivery_pb2
from crossdock.endpoint.v1 import endpoint_pb2
from crossdock.replay.v1 import replay_pb2
from fixtures_hub import Lane, RunningHub, deployment
from played_endpoint import PlayedEndpoint
from replay_desk import Desk
from story import Story, request_id, seed_master_data, unique
from test_cli_replay import BOOKINGS, run

SAID = ("--reason", "the period is open", "--yes")
# What is typed, and what of the answer says that it is of this thing: a path of names, and a value.
# {…}: of the work that waits, see `prepared`.
COMMANDS = {
    "deliveries": ("deliveries --endpoint {erp}", "deliveries 0 endpoint", "{erp}"),
    "dead-letters list": ("dead-letters list --endpoint {erp}", "groups 0 id", "{group}"),
    "dead-letters show": ("dead-letters show {group}", "members 3 delivery id", "{delivery}"),
    "replay plan": (
        "replay plan {erp} --set failed --event order.approved --since 1h",
        "item_count",
        "4",
    ),
    "replay plan --group": ("replay plan --group {group}", "selection group_id", "{group}"),
    "replay start": ("replay start {plan}", "id", "{plan}"),
    "replay start --follow": ("replay start {empty} --follow", "state", "REPLAY_STATE_DONE"),
    "replay show": ("replay show {plan}", "id", "{plan}"),
    "replay show --items": ("replay show {plan} --items", "items 1 number", "2"),
    "replay list": ("replay list --endpoint {erp_of_plans}", "replays 1 id", "{plan}"),
    "resolve": (
        "resolve {resolved} --reference sales_order={number}",
        "delivery state",
        "DELIVERY_STATE_CONFIRMED",
    ),
    "delivery show": ("delivery show {delivery}", "id", "{delivery}"),
    "delivery retry": ("delivery retry {retried}", "0 delivery id", "{retried}"),
    "delivery skip --group": ("delivery skip --group {group}", "1 delivery id", "{delivery}"),
    "endpoint list": ("endpoint list", "endpoints 0 role", "SYSTEM_ROLE_"),
    "endpoint status": ("endpoint status", "endpoints 0 role", "SYSTEM_ROLE_"),
    "endpoint status E": ("endpoint status {erp}", "endpoints 0 id", "{erp}"),
}
# Which message stands where in what they print, and what of it is zero.
PRINTED: dict[str, tuple[Any, str, tuple[str, ...]]] = {
    "deliveries": (delivery_pb2.Delivery, "deliveries 0", ("not_found",)),
    "dead-letters list": (dead_letter_pb2.DeadLetterGroup, "groups 0", ()),
    "dead-letters show": (dead_letter_service_pb2.GetDeadLettersResponse, "", ()),
    "replay show": (replay_pb2.Replay, "", ()),
    "resolve": (delivery_operations_service_pb2.ResolveDeliveryResponse, "", ()),
    "delivery show": (delivery_pb2.Delivery, "", ("not_found",)),
    "endpoint status": (endpoint_pb2.Endpoint, "endpoints 0", ("in_doubt", "parked", "in_use")),
    "endpoint status E": (endpoint_pb2.Endpoint, "endpoints 0", ("in_doubt",)),
}
WRITING = ("replay start", "resolve", "delivery retry", "delivery skip")


async def rejected(hub: RunningHub, lane: Lane, count: int) -> list[str]:
    """Ids of bookings that were refused for one cause."""
    async with Story(hub, lane) as story, PlayedEndpoint(hub, lane.erp, BOOKINGS) as erp:
        for _ in range(count):
            await story.approved()
        return [
            (await erp.work("REJECTED", reason="period closed"))[0].delivery_id
            for _ in range(count)
        ]


async def prepared(hub: RunningHub) -> dict[str, str]:
    """Work that waits at one ERP, and plans for what waits at another, by their names above."""
    await seed_master_data(hub)
    words, replays = Lane(1), Lane(2)
    dead = await rejected(hub, words, 4)
    await rejected(hub, replays, 2)
    async with Story(hub, words) as story:
        desk = Desk(story.operator, replays.erp)
        plan = await desk.plan("FAILED", event_types=["order.approved"])
        empty = await desk.plan("ALL", object_id=request_id())
        asked = ListDeadLettersRequest(endpoint=words.erp)
        (group,) = (await story.operator.dead_letters.ListDeadLetters(asked)).groups
    return {
        "erp": words.erp,
        "group": group.id,
        "delivery": dead[0],
        "resolved": dead[1],
        "retried": dead[2],
        "number": unique("SO"),
        "erp_of_plans": replays.erp,
        "plan": plan.id,
        "empty": empty.id,
    }


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningHub, dict[str, str]]]:
    """A hub of its own: every command adds to what the ones before it have changed."""
    hub = RunningHub(tmp_path_factory.mktemp("json"), deployment(2)).start()
    try:
        yield hub, asyncio.run(prepared(hub))
    finally:
        hub.kill()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_prints_one_document(stage: tuple[RunningHub, dict[str, str]], name: str) -> None:
    """Proves of each command that with --json standard output is one JSON document about what was
    asked for, and that nobody who pipes it gets anything on standard error; of those in PRINTED
    that no count or state is missing because it is zero, so that a script can compare it."""
    hub, known = stage
    words, path, value = (each.format(**known) for each in COMMANDS[name])
    said = SAID if name.startswith(WRITING) else ()
    command, *rest = words.split()
    done = run(hub, *rest, *said, "--json", command=command)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    found = json.loads(done.stdout)
    assert str(at(found, path)).startswith(value), path
    if name in PRINTED:
        kind, place, zeros = PRINTED[name]
        printed = at(found, place)
        assert lacking(printed, kind.DESCRIPTOR) == []
        assert [int(printed[each]) for each in zeros] == [0] * len(zeros)


def at(found: Any, path: str) -> Any:
    """What stands there."""
    for step in path.split():
        found = found[int(step) if step.isdecimal() else step]
    return found


def lacking(printed: Any, kind: Any) -> list[str]:
    """Fields that are not there though nothing can be absent of them, in this message and in those
    inside it."""
    found = [f.full_name for f in kind.fields if not f.has_presence and f.name not in printed]
    for field in kind.fields:
        inner = printed.get(field.name)
        if isinstance(inner, dict):
            inner = [inner]
        told = isinstance(inner, list) and field.message_type is not None
        if not told or field.message_type.GetOptions().map_entry:
            continue
        for each in inner:
            found += lacking(each, field.message_type) if isinstance(each, dict) else []
    return found
