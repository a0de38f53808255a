"""What an operator types, against a real hub: words on deliveries, errors that say what next."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from crossdock.cli.delivery import lines
from crossdock.delivery.v1 import delivery_service_pb2
from crossdock.label.v1 import label_service_pb2
from fixtures_hub import Lane, RunningHub
from played_endpoint import ERP_OPERATIONS, PlayedEndpoint
from story import Story, label, state_of, unique
from typed_commands import typed

CREATE_LABEL = "/crossdock.label.v1.LabelService/CreateLabel"
NOBODY = "00000000-0000-4000-8000-000000000000"


async def json_of(hub: RunningHub, *words: str) -> Any:
    return json.loads(await typed(hub, *words, "--json"))


async def test_an_operator_types_a_retry(hub: RunningHub, lane: Lane) -> None:
    """Proves that show, retry and skip do what they say, in words and as JSON, that both traces are
    shown, and that a hub that is not crossdock dev's is asked for first."""
    async with Story(hub, lane) as story, PlayedEndpoint(hub, lane.erp, ERP_OPERATIONS) as erp:
        order_id = await story.approved()
        dispatch = await erp.take()
        delivery, trace_id = dispatch.delivery_id, uuid.uuid4().hex
        begun = await erp.try_begin(dispatch, traceparent=f"00-{trace_id}-{'b' * 16}-01")
        await erp.complete(delivery, begun.token, "PARKED", reason="no mapping for the unit")
        shown = await typed(hub, "delivery", "show", delivery)
        assert f"  trace       {trace_id}" in shown
        asked = delivery_service_pb2.GetDeliveryRequest(id=delivery)
        found = (await story.operator.deliveries.GetDelivery(asked)).delivery
        found.trace_id = found.trace_id or "c" * 32
        assert f"trace         {found.trace_id}" in list(lines(found))
        assert "PARKED" in shown
        assert "no mapping for the unit" in shown
        assert dispatch.vendor_reference in shown
        again = ("delivery", "retry", delivery, "--reason", "mapped now")
        assert "--yes" in await typed(hub, *again, code=2)
        (answer,) = await json_of(hub, *again, "--yes")
        assert answer["word"]["reason"] == "mapped now"
        await erp.work("REJECTED", reason="no")
        skipped = await typed(hub, "delivery", "skip", delivery, "--reason", "not ours", "--yes")
        assert "is SKIPPED" in skipped
        assert "retry, PARKED to READY: mapped now" in await typed(
            hub, "delivery", "show", delivery
        )
        traced = await typed(hub, "trace", order_id, code=0)
        assert "not ours" in traced


async def test_an_operator_types_what_was_found(hub: RunningHub, lane: Lane) -> None:
    """Proves that a doubtful delivery is refused with the two commands that go on, and that resolve
    takes type=value and nothing else."""
    async with (
        Story(hub, lane) as story,
        PlayedEndpoint(hub, lane.erp, {**ERP_OPERATIONS, "create_sales_order": "NONE"}) as erp,
    ):
        await story.approved()
        dispatch, _ = await erp.work("UNKNOWN", reason="timed out")
        delivery = dispatch.delivery_id
        refused = await typed(
            hub, "delivery", "retry", delivery, "--reason", "again", "--yes", code=1
        )
        assert f"crossdock resolve {delivery}" in refused
        assert "--not-found-at-vendor" in refused
        resolve = ("resolve", delivery, "--reason", "seen in the ERP", "--yes", "--reference")
        assert "sales_order=SO-7" in await typed(hub, *resolve, "SO-7", code=2)
        number = unique("SO")
        done = await typed(hub, *resolve, f"sales_order={number}")
        assert f"is CONFIRMED: confirmed by hand with sales_order {number}" in done


async def test_facts_that_the_hub_refused_are_listed(hub: RunningHub, lane: Lane) -> None:
    """Proves that a confirmed delivery one of whose facts was refused is found with one option and
    marked in the table, that one without is not, and that the fact and its refusal are told."""
    async with (
        Story(hub, lane) as story,
        PlayedEndpoint(hub, lane.carrier, {"buy_label": "SEARCHABLE"}) as carrier,
    ):
        shipment = await story.packed(packages=2)
        listed = ("deliveries", "--endpoint", lane.carrier, "--quarantined")
        made = []
        for refused in (False, True):
            dispatch = await carrier.take()
            sold = label(shipment.id, dispatch.item, unique("1Z"))
            sold.label.state = 2 if refused else 0
            done = await carrier.complete(
                dispatch.delivery_id,
                await carrier.begin(dispatch),
                "CONFIRMED",
                references={"tracking_number": sold.label.tracking_number},
                facts=((CREATE_LABEL, sold.SerializeToString()),),
            )
            assert len(done.quarantined) == refused
            made.append(dispatch.delivery_id)
            if not refused:
                assert "no deliveries like that" in await typed(hub, *listed)
        told = await typed(hub, *listed)
        assert made[1] in told and made[0] not in told
        assert "1 refused fact; tracking_number" in told
        assert "crossdock delivery show ID" in told
        assert "1 refused fact" in await typed(hub, *listed[:-1])
        page = await json_of(hub, *listed)
        assert [each["id"] for each in page["deliveries"]] == made[1:]
        shown = await typed(hub, "delivery", "show", made[1])
        assert f"refused fact  {CREATE_LABEL}: " in shown
        await _bring_in_by_hand(story, made[1])


async def _bring_in_by_hand(story: Story, delivery_id: str) -> None:
    """What the handbook says to do with a refused fact: correct it, and report it as its owner."""
    asked = delivery_service_pb2.GetDeliveryRequest(id=delivery_id)
    delivery = (await story.operator.deliveries.GetDelivery(asked)).delivery
    (fact,) = delivery.quarantined
    request = label_service_pb2.CreateLabelRequest.FromString(fact.request)
    request.label.ClearField("state")
    made = (await story.carrier.labels.CreateLabel(request)).label
    assert made.tracking_number == delivery.vendor_references[0].value


@pytest.mark.parametrize(
    ("words", "code", "following"),
    [
        ("delivery show 123", 1, "crossdock deliveries"),
        (f"delivery show {NOBODY}", 1, "check the id: crossdock deliveries"),
        (f"resolve {NOBODY} --reference a=b --reason x --yes", 1, "crossdock deliveries"),
        (f"replay show {NOBODY}", 1, "check the id: crossdock replay list"),
        ("endpoint status nobody", 1, "check the id: crossdock endpoint list"),
        (f"dead-letters drive {NOBODY} --reason x --yes", 1, "then show GROUP"),
        ("deliveries --page-token abc", 1, "begin without --page-token"),
    ],
)
async def test_what_is_not_there_is_said_with_where_to_look(
    hub: RunningHub, words: str, code: int, following: str
) -> None:
    """Proves that an id that is none, or of nothing, ends with the command that lists the right."""
    told = await typed(hub, *words.split(), code=code)
    assert "  next: " in told and following in told


async def test_a_group_says_what_to_do(hub: RunningHub, lane: Lane) -> None:
    """Proves that a group that waits is shown with the words there are for it, and one that is
    settled without any."""
    async with Story(hub, lane) as story, PlayedEndpoint(hub, lane.erp, ERP_OPERATIONS) as erp:
        await story.approved()
        dispatch, _ = await erp.work("REJECTED", reason="period closed")
        listed = await typed(hub, "dead-letters", "list", "--endpoint", lane.erp)
        group = listed.splitlines()[1].split()[0]
        shown = await typed(hub, "dead-letters", "show", group)
        assert "next: crossdock delivery retry ID --reason" in shown
        assert f"all at once: crossdock replay plan --group {group}" in shown
        words = ("delivery", "skip", dispatch.delivery_id, "--reason", "by phone", "--yes")
        await typed(hub, *words)
        shown = await typed(hub, "dead-letters", "show", group)
        assert "next:" not in shown
        assert f"an operator ended {dispatch.delivery_id}" in shown


@pytest.mark.parametrize(
    ("line", "becomes"),
    [("it is there", "CONFIRMED"), ("it is not", "READY"), ("nobody wants it", "SKIPPED")],
)
async def test_what_is_printed_for_a_doubt_is_what_helps(
    hub: RunningHub, lane: Lane, line: str, becomes: str
) -> None:
    """Proves with a hub that of work that parked because nobody knows what its call did, each
    command that its group prints is accepted as printed and does what the line says, and that no
    replay is printed, of which the hub would refuse every item."""
    unaskable = {**ERP_OPERATIONS, "create_sales_order": "NONE"}
    async with Story(hub, lane) as story, PlayedEndpoint(hub, lane.erp, unaskable) as erp:
        await story.approved()
        dispatch, _ = await erp.work("UNKNOWN", reason="timed out")
        (group,) = (await json_of(hub, "dead-letters", "list", "--endpoint", lane.erp))["groups"]
        shown = await typed(hub, "dead-letters", "show", group["id"])
        assert "replay plan" not in shown
        (printed,) = [each for each in shown.splitlines() if each.strip().startswith(line)]
        command = printed.partition("crossdock ")[2].partition(" (or")[0]
        filled = {"ID": dispatch.delivery_id, "TYPE=VALUE": f"sales_order={unique('SO')}"}
        words = [filled.get(word, word).replace("…", "looked") for word in command.split()]
        await typed(hub, *words, "--yes")
        found = await json_of(hub, "delivery", "show", dispatch.delivery_id)
        sent = {"DISPATCHED"} if becomes == "READY" else set()
        assert found["state"].removeprefix("DELIVERY_STATE_") in {becomes} | sent
        if sent:
            again, _ = await erp.work(references={"sales_order": unique("SO")})
            assert again.delivery_id == dispatch.delivery_id


async def test_a_word_for_all_that_the_spending_guard_stopped(hub: RunningHub, lane: Lane) -> None:
    """Proves that a group which the guard stopped is shown with words that help, that a word for
    the group is said to as many as asked for after their number was told, and then to the rest."""
    carrier = PlayedEndpoint(hub, lane.carrier, {"buy_label": "SEARCHABLE"})
    carrier._manifest.operations[0].max_per_root = 1
    async with Story(hub, lane) as story, carrier:
        shipment = await story.packed(packages=4)
        await carrier.work("CONFIRMED")
        listed = await json_of(hub, "dead-letters", "list", "--endpoint", lane.carrier)
        (group,) = [each["id"] for each in listed["groups"]]
        shown = await typed(hub, "dead-letters", "show", group)
        assert f"crossdock delivery retry --group {group}" in shown
        assert "replay plan" not in shown
        words = ("--group", group[:8], "--reason", "four parcels are right", "--limit", "2")
        asked = await typed(hub, "delivery", "retry", *words, code=2)
        assert f"retry 2 of 3 that wait of group {group}" in asked
        answers = await json_of(hub, "delivery", "retry", *words, "--yes")
        assert [answer["word"]["reason"] for answer in answers] == ["four parcels are right"] * 2
        rest = ("--group", group, "--reason", "bought by phone", "--yes")
        done = await typed(hub, "delivery", "skip", *rest)
        assert "skip: 1 taken, 0 refused, 0 still wait" in done
        nothing = await typed(hub, "delivery", "skip", *rest, code=1)
        assert f"no delivery of group {group} waits" in nothing
        states = [state_of(each) for each in await story.deliveries(shipment.id, "buy_label")]
        assert sorted(states)[-1] == "SKIPPED" and states.count("PARKED") == 0
