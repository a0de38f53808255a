"""Faults in the labels for the way back: bought twice, voided for another, or moving nothing."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import HUB, SDK, Mutant, faults_in

UPS: Final = "adapters/src/crossdock_adapters/ups/"
FEDEX: Final = "adapters/src/crossdock_adapters/fedex/"
NUMBERS: Final = ("tests/hub/test_return_labels.py", "tests/hub/test_return_numbers.py")
BY_UPS: Final = ("tests/adapters/test_ups_returns.py",)
BY_FEDEX: Final = ("tests/adapters/test_fedex_returns.py",)

RETURN_LABEL_MUTANTS: Final[list[Mutant]] = [
    *faults_in(
        f"{HUB}verbs/return_labels.py",
        NUMBERS,
        a_parcel_of_a_voided_label_brings_nothing=(
            "        if record is not None:\n            _bring(unit, record, brought)\n",
            "        if record is not None and not record.message.label.voided:\n"
            "            _bring(unit, record, brought)\n",
        ),
        a_sold_label_moves_its_return=(
            "        if lifecycle.is_with_carrier(each.milestone)\n",
            "        if each.milestone\n",
        ),
        a_return_label_has_the_number_of_another_return=(
            "    if sold != labels[0]:\n",
            "    if sold == labels[0]:\n",
        ),
        a_return_label_has_the_number_of_another_order=(
            "    elif parcel.order_id != record.root_id:\n        kind",
            "    elif not parcel.order_id:\n        kind",
        ),
        a_void_of_a_replaced_label_voids_the_new_one=(
            "    if label.voided or number != (parcel.carrier_code, parcel.tracking_number):\n",
            "    if label.voided:\n",
        ),
        the_number_of_the_way_out_brings_nothing=(
            "    return [parcel for parcel, known in left if is_coming_back(unit, known)]\n",
            "    return [parcel for parcel, known in left if not is_coming_back(unit, known)]\n",
        ),
        a_parcel_brings_a_return_of_another_order=(
            "    return other.root_id != record.root_id and other.state not in",
            "    return other.id == record.id and other.state not in",
        ),
        a_parcel_is_known_by_who_told_of_it=(
            '    return ("reference", *_reference(parcel))\n',
            '    return ("reference", "", *_reference(parcel)[1:])\n',
        ),
        one_box_brings_one_return_alone=(
            "    return other.root_id != record.root_id and other.state not in",
            "    return other.id != record.id and other.state not in",
        ),
    ),
    *faults_in(
        f"{SDK}return_labels.py",
        BY_UPS,
        a_return_label_of_another_carrier_is_bought=(
            "    if named == own:\n        return None\n",
            "    if named:\n        return None\n",
        ),
        a_return_label_is_bought_where_the_customer_chooses=(
            "    if named == own:\n        return None\n",
            '    if named in (own, ""):\n        return None\n',
        ),
        a_void_of_a_return_label_is_not_told=(
            "    after.voided = True\n",
            "    after.voided = label.voided\n",
        ),
        another_carriers_return_label_is_voided=(
            'label if label.carrier_code == work.settings.text("carrier_code") else None\n',
            "label if label.carrier_code else None\n",
        ),
    ),
    *faults_in(
        f"{UPS}adapter.py",
        BY_UPS,
        a_return_label_is_bought_twice=(
            "    return await _find(work, vendor, account, label_format, _return_fact)\n",
            '    return NotFound(f"{account} has none")\n',
        ),
    ),
    *faults_in(
        f"{FEDEX}adapter.py",
        BY_FEDEX,
        a_return_is_opened_for_the_way_out=(
            "    requested = translate.requested_return(shipment, work.reference, rules)\n",
            "    requested = translate.requested_shipment(\n"
            "        shipment, shipment.packages, work.reference, rules\n    )\n",
        ),
    ),
    *faults_in(
        f"{SDK}carrier_reports.py",
        (*BY_UPS, *BY_FEDEX),
        parcels_of_returns_are_not_followed=(
            "    return labels, place or _RETURN_PAGES\n",
            "    return labels, place\n",
        ),
    ),
]
