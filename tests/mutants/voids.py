"""Faults in what is said of goods that were voided, or that shipments of one line are short of."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import HUB, SDK, Mutant, faults_in

SAP: Final = "adapters/src/crossdock_adapters/sap/"
SALESFORCE: Final = "adapters/src/crossdock_adapters/salesforce/"
SPLITS: Final = ("tests/hub/test_split_lines.py",)
WITHDRAWN: Final = ("tests/hub/test_withdrawn_cartons.py",)
CONFIRMED: Final = ("tests/hub/test_confirmed_in_other_units.py",)
SEVERAL: Final = ("tests/hub/test_packed_in_several.py",)
PICKS: Final = ("tests/hub/test_pick_reports.py",)
REPEATS: Final = (
    "tests/adapters/test_salesforce_shipments.py",
    "tests/adapters/test_netsuite_adapter.py",
)
LET_GO: Final = ("tests/adapters/test_sap_deliveries.py",)
REVERSED: Final = ("tests/adapters/test_sap_reversals.py",)
BILLED: Final = ("tests/adapters/test_salesforce_left_behind.py",)

VOID_MUTANTS: Final[list[Mutant]] = [
    *faults_in(
        f"{HUB}objects/shortages.py",
        SPLITS,
        only_one_shipment_of_a_line_is_short=(
            "        found[key] = sum(parts, NOTHING)\n",
            "        found[key] = max(parts)\n",
        ),
        what_each_shipment_tells_of_the_whole_line_adds_up=(
            "            found[key] = max(*parts, at_least[key])\n",
            "            found[key] = max(sum(parts, NOTHING), at_least[key])\n",
        ),
        what_was_voided_is_missing=(
            "        found = _more(found, goods) if rank == _VOIDED else _less(found, goods)\n",
            "        found = found if rank == _VOIDED else _less(found, goods)\n",
        ),
        what_was_packed_since_the_void_is_awaited=(
            "        found = _more(found, goods) if rank == _VOIDED else _less(found, goods)\n",
            "        found = _more(found, goods) if rank == _VOIDED else found\n",
        ),
        what_is_at_a_dock_is_missing=(
            "still_to_leave(each, told_is_of_it=told_is_of_it) for each in shipments]\n",
            "still_to_leave(each, told_is_of_it=told_is_of_it) for each in ()]\n",
        ),
        a_new_pack_of_less_than_was_voided_is_not_short=(
            "            packed = _more(packed, cancelled_amounts(shipment))\n",
            "            packed = dict(packed)\n",
        ),
    ),
    *faults_in(
        f"{HUB}objects/shortages.py",
        WITHDRAWN,
        a_carton_is_withdrawn_though_one_piece_is_missing=(
            "        return missing <= request.short.get(key, NOTHING)\n",
            "        return missing <= request.short.get(key, NOTHING) + 1\n",
        ),
        a_carton_in_another_unit_stays_without_a_word=(
            "            return told[key] >= to_cancel[key]\n",
            "            return True\n",
        ),
        what_was_taken_out_of_another_carton_lets_one_go=(
            "    not_gone = _less(contents(shipment.packages), shipped_amounts(shipment))\n",
            "    not_gone = contents(staying)\n",
        ),
        what_was_short_at_the_pick_lets_a_carton_go=(
            "_less(request.at_pick, elsewhere))\n",
            "{})\n",
        ),
        what_other_shipments_cancel_is_still_to_leave_there=(
            "        _missing(requested, shipments, told_is_of_it=True),\n",
            "        _missing(requested, shipments, told_is_of_it=False),\n",
        ),
    ),
    *faults_in(
        f"{HUB}objects/shortages.py",
        SEVERAL,
        a_request_is_shipped_though_goods_are_to_be_packed=(
            " or len(gone) < len(packed) or still_to_pack(request, packed, units):\n",
            " or len(gone) < len(packed):\n",
        ),
        a_request_is_shipped_though_a_shipment_is_at_the_dock=(
            " or len(gone) < len(packed) or still_to_pack(request, packed, units):\n",
            " or still_to_pack(request, packed, units):\n",
        ),
        what_a_second_pick_found_is_short=(
            "    not_picked = _less(asked, picked)\n",
            "    not_picked = asked\n",
        ),
        what_was_voided_is_awaited_though_a_pick_is_short_of_it=(
            "    short = _larger(short_at_docks(ordered, shipments), at_pick)\n",
            "    short = short_at_docks(ordered, shipments)\n",
        ),
        what_was_short_before_the_void_is_what_was_voided=(
            "    at_pick = _less(at_pick, _less(_less(dict(ordered), packed), again))\n",
            "    at_pick = dict(at_pick)\n",
        ),
        goods_in_another_unit_are_awaited=(
            "            found |= dict.fromkeys(_in_other_units(found, goods), NOTHING)\n",
            "            found |= dict.fromkeys((), NOTHING)\n",
        ),
        what_was_taken_out_of_a_carton_is_short_twice=(
            "            found = _more(found, _less(told, packed))\n",
            "            found = _more(found, cancelled_amounts(shipment) if told else {})\n",
        ),
    ),
    *faults_in(
        f"{HUB}objects/departures.py",
        WITHDRAWN,
        a_withdrawn_carton_comes_back=(
            "        row.withdrawn = not gone and (row.withdrawn or row.package_id in stay)\n",
            "        row.withdrawn = not gone and row.package_id in stay\n",
        ),
    ),
    *faults_in(
        f"{HUB}verbs/shipments.py",
        WITHDRAWN,
        a_confirm_shows_nothing_of_other_shipments=(
            "        stay = shortages.stay_for_good(message, by_all)\n",
            "        stay: list[str] = []\n",
        ),
        what_has_arrived_is_not_delivered_when_the_rest_is_cancelled=(
            "    settle_state(shipment, resources.state_name(shipment))\n",
            "",
        ),
    ),
    *faults_in(
        f"{HUB}verbs/shipments.py",
        SEVERAL,
        a_correction_of_packages_settles_nothing=(
            '    if "packages" in changed:\n',
            '    if "packages" in changed and not changed:\n',
        ),
    ),
    *faults_in(
        f"{HUB}objects/picks.py",
        PICKS,
        a_report_takes_the_lines_of_others_away=(
            "if row.line_number not in lines or not _gives_way(row, report)]\n",
            "if not _gives_way(row, report)]\n",
        ),
        picks_do_not_add_up=(
            "    return bool(row.of_all_picks or row.pick_number == report.pick_number)\n",
            "    return True\n",
        ),
        an_older_report_counts=(
            "    lines -= _told_later([*picked, *short], report)\n",
            "",
        ),
        what_was_stored_before_is_told_twice=(
            "            kept.of_all_picks = of_all_picks\n",
            "",
        ),
        what_was_stored_before_has_no_time=(
            "            kept = _as_of(row, told)\n",
            "            kept = _as_of(row, Row())\n",
        ),
        an_untimed_row_is_of_all_picks=(
            '    of_all_picks = request.HasField("pick_time") and not kept_apart\n',
            "    of_all_picks = bool(rows) or kept_apart\n",
        ),
    ),
    *faults_in(
        f"{HUB}verbs/orders.py",
        WITHDRAWN,
        an_order_is_shipped_while_a_carton_may_leave=(
            "    if open_requests or len(left) < len(packed) or behind or awaited:\n",
            "    if open_requests or len(left) < len(packed) or awaited:\n",
        ),
    ),
    *faults_in(
        f"{HUB}verbs/orders.py",
        SPLITS,
        what_the_dock_cancelled_is_short_beside_the_pick=(
            '        totals[line_number, "short", counted] = max(short, amount)\n',
            '        totals[line_number, "short", counted] = short + amount\n',
        ),
    ),
    *faults_in(
        f"{SDK}voided_shipments.py",
        REPEATS,
        a_repeat_after_the_void_writes=(
            "    return work.attempt > 1 and await is_voided(work)\n",
            "    return work.attempt > 2 and await is_voided(work)\n",
        ),
        the_void_is_looked_for_in_the_event=(
            "    return bool(found.state == shipment_pb2.SHIPMENT_STATE_VOIDED)\n",
            "    return bool(work.event.shipment.state == shipment_pb2.SHIPMENT_STATE_VOIDED)\n",
        ),
    ),
    *faults_in(
        f"{SAP}delivery.py",
        LET_GO,
        a_delivery_that_was_let_go_is_nobodys=(
            "    if delivery.key and not RELEASED_KEYS.fullmatch(delivery.key):\n",
            "    if delivery.key:\n",
        ),
        a_delivery_that_was_let_go_still_is_the_first_ones=(
            '    return f"V{key[1:]}"\n',
            "    return key\n",
        ),
    ),
    *faults_in(
        f"{SAP}reversals.py",
        REVERSED,
        a_repeated_void_misses_what_it_let_go=(
            "    ours = {*keys, *map(released, keys)}\n",
            "    ours = {*keys} if released else set()\n",
        ),
        what_was_posted_after_it_was_let_go_is_reversed=(
            "    if delivery.posted and not let_go:\n",
            "    if delivery.posted:\n",
        ),
        a_departure_whose_delivery_is_another_s_is_forgotten=(
            "    if len(carrying) < len(keys):\n",
            "    if not carrying:\n",
        ),
        the_void_before_told_its_reversal_as_this_ones=(
            "            if not {number(each.document), number(each.reversal)} & self.others\n",
            "            if self.others is not None\n",
        ),
    ),
    *faults_in(
        f"{SAP}material_documents.py",
        REVERSED,
        a_reversal_is_confirmed_without_its_document=(
            "                if chosen is not None and chosen.reversal:\n",
            "                if chosen is not None:\n",
        ),
        a_reversal_is_told_as_the_goods_issue=(
            "    return next((each for each in reversed(postings) if not each.reversal), None)\n",
            "    return next(reversed(postings), None)\n",
        ),
        what_a_reversal_says_it_reverses_counts_for_nothing=(
            '        found.append(Posting(issue, next(naming, "") or next(others, "")))\n',
            '        found.append(Posting(issue, next(others, "") if naming else ""))\n',
        ),
        a_document_is_no_reversal_for_one_item=(
            "each.document for each in rows if each.document not in reversals)\n",
            "each.document for each in rows if not each.is_reversal)\n",
        ),
    ),
    *faults_in(
        f"{SALESFORCE}packed_again.py",
        BILLED,
        voided_goods_are_billed=(
            "        if each.state == shipment_pb2.SHIPMENT_STATE_VOIDED and",
            "        if each.state == shipment_pb2.SHIPMENT_STATE_MANIFESTED and",
        ),
        what_a_person_took_out_is_awaited=(
            "            rest = min(rest, kept - shipped)\n",
            "",
        ),
        what_is_short_is_packed_again=(
            "shipped - short\n",
            "shipped\n",
        ),
    ),
    *faults_in(
        f"{HUB}objects/confirmed_units.py",
        CONFIRMED,
        a_confirm_counts_as_it_is_told=(
            "            row.quantity.value, row.quantity.unit = plain(exact), unit\n",
            "            pass\n",
        ),
    ),
]
