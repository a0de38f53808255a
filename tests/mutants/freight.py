"""Faults in what the hub takes for a carrier's charge, and in what SAP books of it."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import HUB, Mutant, faults_in

SAP: Final = "adapters/src/crossdock_adapters/sap/"
CHARGES: Final = ("tests/hub/test_freight.py", "tests/hub/test_freight_estimates.py")
BILLS: Final = ("tests/adapters/test_sap_freight.py", "tests/adapters/test_sap_bills.py")

FREIGHT_MUTANTS: Final[list[Mutant]] = [
    *faults_in(
        f"{HUB}verbs/freight.py",
        CHARGES,
        a_correction_waits_for_no_dispute=(
            '    if same_parcel and record.state == "DISPUTED":\n',
            "    if same_parcel and record.state not in ENDED_STATES:\n",
        ),
        a_correction_that_is_held_stays_held=(
            "    unit.satisfy(_awaited_dispute(record.id))\n",
            "",
        ),
        one_number_bills_two_parcels=(
            "(charge.carrier_code, charge.tracking_number) == parcel\n",
            "charge.carrier_code == request.carrier_code\n",
        ),
        an_objection_leaves_the_approval=(
            "        # What was agreed to is objected to: it is agreed to anew.\n"
            '        charge.ClearField("audit")\n',
            "",
        ),
        lines_may_add_up_to_less=(
            "    if told.lines and total != Decimal(amount.amount):\n",
            "    if told.lines and total > Decimal(amount.amount):\n",
        ),
        sums_are_rounded=("localcontext(prec=SUM_DIGITS)", "localcontext(prec=28)"),
        amounts_are_texts=(
            "        money.amount = plain(Decimal(money.amount))\n",
            "        money.amount = money.amount.strip()\n",
        ),
        a_carrier_bills_for_another=(
            "    resources.check_carrier(unit, request.carrier_code)\n",
            "",
        ),
        what_ended_is_estimated_anew=(
            "    still_open = [each for each in charges if each.state in allowed]\n",
            "    still_open = [each for each in charges if each.state or allowed]\n",
        ),
        a_parcel_is_picked_at_random=(
            "    if not number and len(parcels) > 1:\n",
            "    if not number and len(parcels) > 2:\n",
        ),
        more_is_paid_than_is_asked_for=("    if agreed > asked:\n", "    if agreed > 2 * asked:\n"),
    ),
    *faults_in(
        f"{HUB}objects/references.py",
        CHARGES,
        carriers_share_their_numbers=("    if system != code:\n", "    if not system:\n"),
    ),
    *faults_in(
        f"{SAP}bills.py",
        BILLS,
        a_bill_is_booked_again=(
            "    if isinstance(found, Confirmed):\n",
            "    if not isinstance(found, (Confirmed, NotFound)):\n",
        ),
        a_discount_is_a_debit=("DEBIT if line.amount > 0 else CREDIT", "DEBIT"),
    ),
    *faults_in(
        f"{SAP}translate_freight.py",
        BILLS,
        lines_of_another_amount_are_booked=(
            "        if parts and total == amount(audit.amount.amount):\n",
            "        if parts:\n",
        ),
        a_credit_is_billed=("    if gross <= 0:\n", "    if gross == 0:\n"),
    ),
]
