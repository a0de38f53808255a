"""What a warehouse says it picked of a request, in one report or in several; pure.

A report tells of each line that it names all that its pick has by then. Of one pick and line the
newest report counts, whichever comes first; different picks of a line add up.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Any, Final

from crossdock.errors import Violation
from crossdock.fulfillment.v1 import fulfillment_pb2, fulfillment_service_pb2

from crossdock_hub.objects.resources import is_older
from crossdock_hub.refusals import invalid

# Picked and short rows that one request keeps of all its picks.
PICK_ROWS_MAX: Final = 2000

Row = fulfillment_pb2.FulfillmentLineQuantity


def with_report(
    known: fulfillment_pb2.FulfillmentRequest, report: fulfillment_service_pb2.ReportPickRequest
) -> fulfillment_pb2.FulfillmentRequest:
    """The rows of all picks with those of a report, and the newest time; nothing else is set.

    Refused: more rows than a request keeps.
    """
    lines = {row.line_number for row in chain(report.picked, report.short)}
    lines -= _told_later(known, report)
    before = _stored_before(known)
    after = fulfillment_pb2.FulfillmentRequest(
        picked=_merged(known.picked, report.picked, report, lines, before=before),
        short=_merged(known.short, report.short, report, lines, before=before),
        pick_time=known.pick_time if known.HasField("pick_time") else None,
    )
    if report.HasField("pick_time") and not is_older(report.pick_time, known.pick_time):
        after.pick_time.CopyFrom(report.pick_time)
    for name in ("picked", "short"):
        count = len(getattr(after, name))
        if count > PICK_ROWS_MAX:
            words = (
                f"the request would have {count} rows of all its picks, at most {PICK_ROWS_MAX} "
                "are kept; tell the lines of several picks under one pick_number, added up"
            )
            raise invalid([Violation(name, words, "pick_rows_max")])
    return after


def has_same_rows(
    left: fulfillment_pb2.FulfillmentRequest, right: fulfillment_pb2.FulfillmentRequest
) -> bool:
    """Whether both say the same of each line and pick, as of the same times."""
    return list(left.picked) == list(right.picked) and list(left.short) == list(right.short)


def quantities(request: fulfillment_pb2.FulfillmentRequest) -> list[tuple[Any, ...]]:
    """What was picked and short, whenever that was told."""
    rows = [("picked", row) for row in request.picked] + [("short", row) for row in request.short]
    return [
        (name, row.line_number, row.pick_number, row.reason_code, row.quantity.SerializeToString())
        for name, row in rows
    ]


def _stored_before(known: fulfillment_pb2.FulfillmentRequest) -> bool:
    """Whether an earlier version stored the rows: it kept neither pick nor time of any, and the
    time of the request is that of all. A row that was told without a time gives it none."""
    rows = chain(known.picked, known.short)
    of_none = not any(row.HasField("pick_time") or row.pick_number for row in rows)
    return of_none and known.HasField("pick_time")


def _told_later(
    known: fulfillment_pb2.FulfillmentRequest, report: fulfillment_service_pb2.ReportPickRequest
) -> set[int]:
    """Lines of which the report's pick told something newer already."""
    found = set()
    before = _stored_before(known)
    for row in chain(known.picked, known.short):
        time = known.pick_time if before else row.pick_time
        of_it = before or row.pick_number == report.pick_number
        if of_it and is_older(report.pick_time, time):
            found.add(row.line_number)
    return found


def _merged(
    known: Iterable[Row],
    told: Iterable[Row],
    report: fulfillment_service_pb2.ReportPickRequest,
    lines: set[int],
    *,
    before: bool,
) -> list[Row]:
    """By line and pick. lines: of which the report is the newest word of its pick. before: rows of
    an earlier version are all that was known of a line, so that any report takes their place."""
    rows = [
        row
        for row in known
        if row.line_number not in lines or not (before or row.pick_number == report.pick_number)
    ]
    for row in told:
        if row.line_number in lines:
            added = Row()
            added.CopyFrom(row)
            added.pick_number = report.pick_number
            added.ClearField("pick_time")
            if report.HasField("pick_time"):
                added.pick_time.CopyFrom(report.pick_time)
            rows.append(added)
    return sorted(rows, key=lambda row: (row.line_number, row.pick_number))
