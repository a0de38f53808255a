"""The verdict on what a carrier delivered and no warehouse ever reported as gone."""

from __future__ import annotations

from first_flow import Flow, scan
from test_lineage import ISSUE, labelled, verdict


def test_a_delivered_order_that_never_left_is_not_complete() -> None:
    """Proves that scans which overtake the warehouse's report, or outlive its loss, do not end the
    flow: nothing is open in the ledger, and yet no ERP has posted the goods issue."""
    flow = Flow()
    order_id = labelled(flow)
    flow.report(scan("DELIVERED", flow.now))
    found = verdict(flow, order_id, 180)
    assert found.verdict == "UNDER_WAY"
    assert "is delivered since 3 min, and no departure from warehouse DC1 is written" in (
        found.sentence
    )
    flow.manifest()
    flow.settle(flow.delivery("netsuite", "post_goods_issue"), references=ISSUE)
    assert verdict(flow, order_id).verdict == "COMPLETE"
