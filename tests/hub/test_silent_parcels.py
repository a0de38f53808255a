"""Parcels on their way of which nothing is heard: until when polls of tracking ask about them."""

from __future__ import annotations

from typing import Any

import pytest
from crossdock.label.v1 import label_pb2, label_service_pb2
from crossdock.returns.v1 import return_pb2, return_service_pb2
from crossdock_hub.config import Limits, Settings, limits_of
from crossdock_hub.objects.parcel_news import DAY_MICROSECONDS, heard_since, not_sent_since
from crossdock_hub.reading.verdict import judge
from decisions import CARRIER, Company, request_id
from first_flow import LABELS, Flow, scan
from returned_flow import ReturnedFlow, customer_return
from stored_flow import Books, books, chain_of, played, situations_of
from test_departures import confirm

__all__ = ["books"]

RETURNS = "returns.v1.ReturnService"
DAYS = 90
NOT_SENT_DAYS = 180
HEARD = label_service_pb2.ListLabelsRequest(moving_only=True)
SILENT = label_service_pb2.ListLabelsRequest(silent_only=True)


async def asked(books: Books, flow: Company, request: Any = HEARD) -> list[str]:
    """Numbers of the parcels that are listed at the flow's time."""
    await books.keep(flow)
    books.queries.clock = lambda: flow.now
    answer = await books.ask(f"{LABELS}/ListLabels", request, CARRIER)
    return [label.tracking_number for label in answer.labels]


def pass_days(flow: Company, days: float) -> None:
    flow.now += int(days * DAY_MICROSECONDS)


def verdict(flow: Company) -> str:
    """What a trace says of the flow's only order."""
    root = next(each.root_id for each in flow.events)
    return judge(chain_of(flow, root), situations_of(flow), Limits(), flow.now).sentence


async def test_polls_let_go_of_a_parcel_of_which_nothing_is_heard(books: Books) -> None:
    """Proves that carriers are asked about a parcel that never ended until the limit has passed
    since its last news, whatever that said of its milestone; that operators find it among the
    silent ones; and that a scan, however it comes, begins the polls again."""
    flow, _ = played()
    flow.report(scan("RETURNING", flow.now, number="1Z1"))
    pass_days(flow, DAYS - 1)
    flow.report(scan("INFORMATION", flow.now - 80 * DAY_MICROSECONDS, number="1Z2"))
    assert await asked(books, flow) == ["1Z1", "1Z2"]
    pass_days(flow, 2)
    assert await asked(books, flow) == ["1Z2"]
    assert await asked(books, flow, SILENT) == ["1Z1"]
    flow.report(scan("RETURNING", flow.now, number="1Z1", code="X2"))
    assert await asked(books, flow) == ["1Z1", "1Z2"]
    assert not await asked(books, flow, SILENT)
    pass_days(flow, DAYS + 1)
    assert not await asked(books, flow)
    flow.report(scan("DELIVERED", flow.now, number="1Z2"))
    assert await asked(books, flow, SILENT) == ["1Z1"]


async def test_a_parcel_without_any_news_is_let_go_of_by_the_age_of_its_label(
    books: Books,
) -> None:
    """Proves that the limit runs from the label where no scan came, and that a voided label is
    neither asked about nor silent."""
    flow, _ = played()
    assert await asked(books, flow) == ["1Z1", "1Z2"]
    pass_days(flow, DAYS + 1)
    assert not await asked(books, flow)
    void = label_service_pb2.ReportLabelVoidedRequest(
        request_id=request_id(), tracking_number="1Z2", carrier_code="UPSN"
    )
    flow.call(f"{LABELS}/ReportLabelVoided", void, CARRIER)
    assert await asked(books, flow, SILENT) == ["1Z1"]


async def test_what_is_handed_over_long_after_its_label_is_asked_about(books: Books) -> None:
    """Proves that polls of what was packed ahead begin with its handing over, whatever the age of
    its label, and end when nothing is heard after it; that a later parcel of the same shipment
    leaves no other one asked about; and that a trace says the same."""
    flow = Flow()
    flow.labelled(packages=2)
    settle_all(flow)
    pass_days(flow, DAYS + 5)
    assert not await asked(books, flow)
    flow.manifest()
    settle_all(flow)
    assert await asked(books, flow) == ["1Z1", "1Z2"]
    assert not await asked(books, flow, SILENT)
    pass_days(flow, DAYS - 1)
    assert await asked(books, flow) == ["1Z1", "1Z2"]
    assert "nothing was heard" not in verdict(flow)
    flow.report(scan("IN_TRANSIT", flow.now, number="1Z2"))
    pass_days(flow, 2)
    assert await asked(books, flow) == ["1Z2"]
    assert await asked(books, flow, SILENT) == ["1Z1"]
    assert "nothing was heard of parcel 1Z1 for 91 d" in verdict(flow)


async def test_a_scan_that_changes_nothing_is_kept_to_the_day(books: Books) -> None:
    """Proves that scans which move nothing are news, of a limit of few days too, and that a parcel
    is written for them once a day at most."""
    flow, _ = played()
    pass_days(flow, 0.9)
    key = ("parcel", "UPSN", "1Z1")
    before = flow.records[key]
    flow.report(scan("INFORMATION", flow.now, number="1Z1"))
    assert flow.records[key] is before
    pass_days(flow, 0.2)
    flow.report(scan("INFORMATION", flow.now, number="1Z1"))
    assert flow.records[key].heard_at == flow.now
    books.queries.limits = Limits(tracking_poll_limit_days=0.5)
    short = Flow(books.queries.limits)
    short.labelled()
    for _ in range(3):
        pass_days(short, 0.1)
        short.report(scan("INFORMATION", short.now, number="1Z1"))
    pass_days(short, 0.45)
    assert await asked(books, short) == ["1Z1"]
    pass_days(short, 0.1)
    assert not await asked(books, short)


async def test_polls_let_go_of_a_return_that_nobody_sends(books: Books) -> None:
    """Proves that the carrier of a return's label is asked about it twice as long before anything
    moves, as long as about others after that, and again when a scan has come, and that one without
    a label, with a voided one, or received is not listed."""
    flow = ReturnedFlow()
    order_id = flow.shipped()
    made = flow.initiate(customer_return(order_id, lines={1: "2"}))
    wanted = return_service_pb2.ListReturnsRequest(moving_only=True)
    silent = return_service_pb2.ListReturnsRequest(silent_only=True)

    async def listed(request: Any = wanted) -> list[str]:
        await books.keep(flow)
        books.queries.clock = lambda: flow.now
        answer = await books.ask(f"{RETURNS}/ListReturns", request, CARRIER)
        return [each.label.tracking_number for each in answer.customer_returns]

    assert not await listed()
    settle_all(flow)
    sell(flow, made.id)
    assert await listed() == ["1ZR"]
    pass_days(flow, NOT_SENT_DAYS - 1)
    assert await listed() == ["1ZR"]
    assert "nothing was heard" not in verdict(flow)
    assert not await listed(silent)
    pass_days(flow, 2)
    assert not await listed()
    assert await listed(silent) == ["1ZR"]
    assert "customer has to send it; nothing was heard of parcel 1ZR for 181 d" in verdict(flow)
    flow.report(scan("IN_TRANSIT", flow.now, number="1ZR"))
    assert await listed() == ["1ZR"]
    assert "nothing was heard" not in verdict(flow)
    pass_days(flow, DAYS - 1)
    flow.report(scan("IN_TRANSIT", flow.now, number="1ZR", code="X2"))
    pass_days(flow, DAYS - 1)
    assert await listed() == ["1ZR"]
    settle_all(flow)
    pass_days(flow, 2)
    assert not await listed()
    assert "nothing was heard of parcel 1ZR for 91 d" in verdict(flow)
    flow.report(scan("IN_TRANSIT", flow.now, number="1ZR", code="X3"))
    assert await listed() == ["1ZR"]
    sell(flow, made.id, voided=True)
    assert not await listed()
    pass_days(flow, DAYS + 1)
    assert not await listed(silent)


def sell(flow: Company, return_id: str, *, voided: bool = False) -> None:
    """A return's label is sold, or voided."""
    request = return_service_pb2.UpdateReturnRequest(request_id=request_id())
    request.customer_return.id = return_id
    sold = return_pb2.ReturnLabel(
        format=label_pb2.LABEL_FORMAT_ZPL,
        image=b"^XA",
        carrier_code="UPSN",
        tracking_number="1ZR",
        voided=voided,
    )
    request.customer_return.label.CopyFrom(sold)
    request.update_mask.paths.append("label")
    flow.call(f"{RETURNS}/UpdateReturn", request, CARRIER)


def test_a_trace_says_that_nobody_asks_any_more() -> None:
    """Proves that a trace names the parcels that polls have let go of, for how long nothing was
    heard, whom to ask, and what begins it again; and says nothing of it before, or after an end."""
    flow = Flow()
    flow.labelled(packages=2)
    flow.manifest()
    flow.report(scan("RETURNING", flow.now, number="1Z1"))
    flow.report(scan("DELIVERED", flow.now, number="1Z2"))
    settle_all(flow)
    pass_days(flow, DAYS - 1)
    assert "nothing was heard" not in verdict(flow)
    pass_days(flow, 2)
    assert verdict(flow).endswith(
        "; nothing was heard of parcel 1Z1 for 91 d, so that it is no longer asked about, until "
        "the next scan comes: ask carrier UPSN."
    )
    flow.report(scan("RETURNED", flow.now, number="1Z1"))
    assert "nothing was heard" not in verdict(flow)


def test_a_trace_says_of_several_how_long_all_of_them_are_silent() -> None:
    """Proves that parcels that were last heard of at different times are silent for the time of the
    last one at least, and that many are counted, not named."""
    flow = Flow()
    flow.labelled(packages=4)
    flow.manifest()
    settle_all(flow)
    pass_days(flow, 50)
    flow.report(scan("IN_TRANSIT", flow.now, number="1Z2"))
    for number in ("1Z3", "1Z4"):
        flow.report(scan("DELIVERED", flow.now, number=number))
    settle_all(flow)
    pass_days(flow, DAYS + 5)
    assert "nothing was heard of parcels 1Z1 and 1Z2 for at least 95 d, so that they are no" in (
        verdict(flow)
    )
    flow = Flow()
    flow.labelled(packages=4)
    flow.manifest()
    settle_all(flow)
    pass_days(flow, DAYS + 5)
    assert "nothing was heard of 4 parcels for at least 95 d, so that they are no" in verdict(flow)


def test_a_trace_sends_nobody_to_a_carrier_that_never_had_the_parcel() -> None:
    """Proves that nothing is said of the silence of parcels whose shipment has not left."""
    flow = Flow()
    flow.labelled(packages=2)
    settle_all(flow)
    pass_days(flow, DAYS + 5)
    assert "nothing was heard" not in verdict(flow)


def test_a_trace_sends_nobody_to_a_carrier_for_what_is_still_at_the_dock() -> None:
    """Proves that of a shipment that left in part only what left is silent: of a package that is
    still at the dock nothing is said until it leaves, or a scan says that the carrier has it."""
    flow = Flow()
    flow.labelled(packages=3)
    confirm(flow, "LPN-1")
    settle_all(flow)
    flow.report(scan("INFORMATION", flow.now, number="1Z2"))
    pass_days(flow, DAYS + 5)
    assert "left without package LPN-2 and LPN-3" in verdict(flow)
    assert "nothing was heard of parcel 1Z1 for 95 d" in verdict(flow)
    flow.report(scan("IN_TRANSIT", flow.now, number="1Z2"))
    settle_all(flow)
    pass_days(flow, DAYS + 5)
    assert "nothing was heard of parcels 1Z1 and 1Z2 for at least 95 d" in verdict(flow)
    confirm(flow, "LPN-3")
    settle_all(flow)
    assert "nothing was heard" not in verdict(flow)
    pass_days(flow, DAYS + 5)
    assert "nothing was heard of parcels 1Z1, 1Z2 and 1Z3 for at least 95 d" in verdict(flow)


def settle_all(flow: Company) -> None:
    """Nothing of the flow is left to do for any endpoint."""
    for key, record in list(flow.records.items()):
        if key[0] == "delivery":
            record.state = "CONFIRMED"


def test_the_limit_is_the_deployments() -> None:
    """Proves that the setting is the limit, and that one of no days is refused by its name."""
    assert limits_of(Settings()).tracking_poll_limit_days == DAYS
    assert limits_of(Settings(tracking_poll_limit_days=30)).tracking_poll_limit_days == 30
    assert limits_of(Settings(return_poll_limit_days=30)).return_poll_limit_days == 30
    now = 10 * NOT_SENT_DAYS * DAY_MICROSECONDS
    short = Limits(return_poll_limit_days=30)
    assert not_sent_since(now, short) == heard_since(now, short), "not less than the other"
    with pytest.raises(ValueError, match="tracking_poll_limit_days"):
        Settings(tracking_poll_limit_days=0)
    with pytest.raises(ValueError, match="return_poll_limit_days"):
        Settings(return_poll_limit_days=0)
