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
from crossdock.types.v1 import types_pb2

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
    picked, short = _rows(known, "picked"), _rows(known, "short")
    lines = {row.line_number for row in chain(report.picked, report.short)}
    lines -= _told_later([*picked, *short], report)
    after = fulfillment_pb2.FulfillmentRequest(
        picked=_merged(picked, report.picked, report, lines),
        short=_merged(short, report.short, report, lines),
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
    return all(_rows(left, name) == _rows(right, name) for name in ("picked", "short"))


def quantities(request: fulfillment_pb2.FulfillmentRequest) -> list[tuple[Any, ...]]:
    """What was picked and short, whenever that was told."""
    rows = [("picked", row) for row in request.picked] + [("short", row) for row in request.short]
    return [
        (name, row.line_number, row.pick_number, row.reason_code, row.quantity.SerializeToString())
        for name, row in rows
    ]


def _rows(request: fulfillment_pb2.FulfillmentRequest, name: str) -> list[Row]:
    """The picked or the short rows. Of an earlier version, which kept neither pick nor time of any,
    each is all that was known of its line as of the time of the request. Beside rows that have one,
    or where the request has no time, one without either is of the pick without a number."""
    rows = [*request.picked, *request.short]
    kept_apart = any(row.pick_number or row.HasField("pick_time") for row in rows)
    of_all_picks = request.HasField("pick_time") and not kept_apart
    found = []
    for row in getattr(request, name):
        kept = row
        if not (row.pick_number or row.HasField("pick_time")):
            told = request if of_all_picks else fulfillment_pb2.FulfillmentRequest()
            kept = _as_of(row, told)
            kept.of_all_picks = of_all_picks
        found.append(kept)
    return found


def _as_of(
    row: Row,
    told: fulfillment_pb2.FulfillmentRequest | fulfillment_service_pb2.ReportPickRequest,
) -> Row:
    """A copy of a row with the time at which it was told; one of which nobody said when says so."""
    copy = Row()
    copy.CopyFrom(row)
    copy.pick_time.CopyFrom(told.pick_time)
    if not told.HasField("pick_time"):
        copy.pick_time.zone = types_pb2.TIME_ZONE_SOURCE_UNKNOWN
    return copy


def _told_later(
    known: Iterable[Row], report: fulfillment_service_pb2.ReportPickRequest
) -> set[int]:
    """Lines of which the report's pick told something newer already."""
    return {
        row.line_number
        for row in known
        if _gives_way(row, report) and is_older(report.pick_time, row.pick_time)
    }


def _gives_way(row: Row, report: fulfillment_service_pb2.ReportPickRequest) -> bool:
    """Whether a report of a row's line is of the same goods, so that the newer of both counts."""
    return bool(row.of_all_picks or row.pick_number == report.pick_number)


def _merged(
    known: Iterable[Row],
    told: Iterable[Row],
    report: fulfillment_service_pb2.ReportPickRequest,
    lines: set[int],
) -> list[Row]:
    """By line and pick. lines: of which the report is the newest word of its pick."""
    rows = [row for row in known if row.line_number not in lines or not _gives_way(row, report)]
    for row in told:
        if row.line_number in lines:
            added = _as_of(row, report)
            added.pick_number, added.of_all_picks = report.pick_number, False
            rows.append(added)
    return sorted(rows, key=lambda row: (row.line_number, row.pick_number))
