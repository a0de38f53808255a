"""Faults in what the hub lets come back, and in what SAP is told of it."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import HUB, Mutant, faults_in

SAP: Final = "adapters/src/crossdock_adapters/sap/"
RETURNS: Final = ("tests/hub/test_returns.py",)
FULL: Final = ("tests/hub/test_returns_full.py",)
PIECES: Final = ("tests/hub/test_returned_pieces.py",)
RECEIPTS: Final = ("tests/adapters/test_sap_returns.py",)
UNITS: Final = ("tests/hub/test_received_in_other_units.py",)
AGREEING: Final = ("tests/hub/test_agreeing_conversions.py",)

RETURN_MUTANTS: Final[list[Mutant]] = [
    *faults_in(
        f"{HUB}objects/receipts.py",
        RETURNS,
        more_than_was_authorised_is_booked=(
            "if came[key] > Decimal(line.quantity.value) and not accept_excess:",
            "if came[key] > 10 * Decimal(line.quantity.value) and not accept_excess:",
        ),
        another_receipt_has_the_number_of_the_first=(
            "    if [_exact(line) for line in known.lines] == ",
            "    if known.number == receipt.number or [_exact(line) for line in known.lines] == ",
        ),
        a_quantity_is_a_text=(
            "    copy.quantity.value = plain(Decimal(copy.quantity.value))\n",
            "    copy.quantity.value = str(copy.quantity.value)\n",
        ),
        goods_of_an_ended_return_are_received=(
            '    if state in ("CANCELLED", "CLOSED"):\n',
            "    if not state:\n",
        ),
        a_receipt_tells_the_newest=(
            "    del customer_return.receipts[int(part or 1) :]\n",
            "    del customer_return.receipts[200:]\n",
        ),
    ),
    *faults_in(
        f"{HUB}objects/returnable.py",
        RETURNS,
        other_returns_are_forgotten=(
            "        for key, quantity in may_come.items():\n",
            "        for key, quantity in {}.items():\n",
        ),
        another_unit_comes_back=(
            "    shipped = out.get((line.line_number, unit), Decimal(0))\n",
            "    shipped = max((q for (n, _), q in out.items() if n == line.line_number))\n",
        ),
    ),
    *faults_in(
        f"{HUB}objects/received_units.py",
        UNITS,
        another_unit_counts_as_the_returns=(
            "        if line is None or row.quantity.unit == line.quantity.unit:\n",
            "        if line is not None:\n",
        ),
        what_was_reported_is_forgotten=(
            "    row.reported_quantity.CopyFrom(row.quantity)\n",
            "",
        ),
        a_missing_conversion_is_never_awaited=(
            "            awaits = awaits or awaited_conversion(line.item_number)\n",
            "",
        ),
    ),
    *faults_in(
        f"{HUB}objects/unit_rules.py",
        AGREEING,
        what_is_written_beside_it_is_forgotten=(
            "**_as_they_will_be(known, beside.get(item, ())), ",
            "",
        ),
        another_amount_is_not_compared=(
            "    if before is not None and _amount(before) == _amount(written):\n",
            "    if before is not None:\n",
        ),
    ),
    *faults_in(
        f"{HUB}objects/returned_pieces.py",
        PIECES,
        a_piece_that_nobody_authorised_is_booked=(
            "        if named and serial not in named:\n",
            "        if named and not serial:\n",
        ),
        a_lot_that_nobody_authorised_is_booked=(
            "    if line.lots and row.lot and row.lot not in line.lots:\n",
            "    if line.lots and row.lot and not line.lots:\n",
        ),
        a_piece_comes_back_twice=(
            "        elif piece in came:\n",
            "        elif not piece:\n",
        ),
        a_piece_is_in_two_open_returns=(
            "        if piece in pieces:\n",
            "        if not piece:\n",
        ),
        a_part_of_a_unit_is_a_piece=(
            "    if count <= pieces:\n",
            "    if count <= pieces + 1:\n",
        ),
    ),
    *faults_in(
        f"{HUB}verbs/returns.py",
        RETURNS,
        a_receipt_counts_as_often_as_it_is_told=(
            "    if known is not None:\n        receipts",
            "    if known is not None and not known.number:\n        receipts",
        ),
        a_carrier_forgets_another_ones_parcels=(
            "[*message.parcels, *request.customer_return.parcels]",
            "request.customer_return.parcels",
        ),
        a_return_of_what_has_not_left=(
            "    if order.state not in lifecycle.RETURNABLE_ORDER_STATES:\n",
            "    if not order.state:\n",
        ),
    ),
    *faults_in(
        f"{HUB}verbs/return_labels.py",
        RETURNS,
        a_carrier_brings_another_ones_parcels=(
            "        resources.check_carrier(unit, parcel.carrier_code)\n",
            "        assert parcel.carrier_code\n",
        ),
    ),
    *faults_in(
        f"{HUB}verbs/returns.py",
        FULL,
        goods_that_find_no_room_are_refused=(
            "        raise NotYet(refusal, receipts.awaited_correction(after.id)) from None\n",
            "        raise Refused(refusal) from None\n",
        ),
        parcels_without_room_are_refused_by_a_field_of_the_return=(
            'raise Refused(receipts.no_room(message, "parcels", full.refusal)) from None',
            "raise full",
        ),
    ),
    *faults_in(
        f"{SAP}returns.py",
        RECEIPTS,
        a_return_is_opened_again=(
            "    if isinstance(found, Confirmed):\n",
            "    if not isinstance(found, (Confirmed, NotFound)):\n",
        ),
        anothers_return_is_ours=(
            "        if odata.bare(preceding) != odata.bare(sales_order):\n",
            "        if not preceding:\n",
        ),
    ),
    *faults_in(
        f"{SAP}return_receipts.py",
        RECEIPTS,
        a_later_receipt_has_the_key_of_the_first=(
            '    return key if count == 1 else f"{key}-{count}"\n',
            "    return key if count else key\n",
        ),
    ),
]
