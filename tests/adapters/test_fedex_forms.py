"""The forms in which FedEx answers: prices, papers, errors, what it leaves out or writes alone."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from crossdock.shipment.v1 import shipment_pb2
from crossdock_adapters.fedex import client, conformance, translate_scans
from crossdock_adapters.sdk import vendor_json
from crossdock_adapters.sdk.http import Answer
from crossdock_adapters.sdk.mappings import Code, Mappings, Topic, file_of

MAPPINGS = Mappings(file_of("crossdock_adapters.fedex"))


def bought(*pieces: dict[str, Any], rating: Any = None) -> client.Booking:
    """A confirmation of these pieces, each with a label unless it says otherwise."""
    label = {"contentType": "LABEL", "docType": "ZPLII", "encodedLabel": "XlhB\nXlha"}
    usual = {"trackingNumber": "790", "packageDocuments": [label]}
    shipment: dict[str, Any] = {
        "masterTrackingNumber": "790",
        "pieceResponses": [usual | piece for piece in pieces],
        "completedShipmentDetail": {"shipmentRating": rating},
    }  # fmt: skip
    return client.read_booking({"transactionShipments": [shipment]})


def test_the_price_of_the_account_is_told_of_its_only_package() -> None:
    """Proves that a package without a price of its own has that of the shipment by the account's
    rate, no other rate's, and none where there are several packages or nothing is charged."""

    def rated(kind: str, total: Any) -> dict[str, Any]:
        return {"rateType": kind, "totalNetCharge": total, "currency": "USD"}

    rates = [rated("PAYOR_LIST_SHIPMENT", Decimal("31.20")), rated("PAYOR_ACCOUNT_SHIPMENT", 19)]
    rating = {"actualRateType": "PAYOR_ACCOUNT_SHIPMENT", "shipmentRateDetails": rates}
    (piece,) = bought({"netChargeAmount": 0}, rating=rating).pieces
    assert (piece.amount, piece.currency, piece.label.image) == (Decimal(19), "USD", b"^XA^XZ")
    (own,) = bought({"netChargeAmount": Decimal("18.05")}, rating=rating).pieces
    assert (own.amount, own.currency) == (Decimal("18.05"), "USD")
    assert {p.amount for p in bought({}, {"trackingNumber": "791"}, rating=rating).pieces} == {None}
    (free,) = bought({}, rating=rating | {"shipmentRateDetails": rates[:1]}).pieces
    assert (free.amount, free.currency) == (None, "USD")
    assert bought({}).pieces[0].amount is None


def test_the_label_is_told_from_the_other_papers_of_a_package() -> None:
    """Proves that an invoice in front of the label is not printed in its place."""
    papers = [
        {"contentType": "COMMERCIAL_INVOICE", "docType": "PDF", "encodedLabel": "JVBERg=="},
        {"contentType": "LABEL", "docType": "ZPLII", "encodedLabel": "XlhB"},
    ]
    (piece,) = bought({"packageDocuments": papers}).pieces
    assert (piece.label.format, piece.label.image) == ("ZPLII", b"^XA")


def test_what_is_not_there_is_refused_in_a_form_of_its_own() -> None:
    """Proves that the error of a missing resource, which is no list, has its code and words, and
    that a gateway's page in JSON is not taken for it."""
    page = b'{"status": 404, "error": "Not Found", "path": "/ship"}'
    assert client.problem_of(Answer(404, {}, page)).code == ""
    body = b'{"error": "NOT.FOUND.ERROR", "error_detail": "no such thing"}'
    problem = client.problem_of(Answer(404, {}, body))
    assert (problem.code, problem.message) == ("NOT.FOUND.ERROR", "no such thing")


def test_a_number_above_its_results_and_one_result_alone_are_read() -> None:
    """Proves that neither a number that stands above the results alone, nor a list of one that is
    no list, nor a number where text is usual loses a parcel, in an answer and in a callback."""
    scan = conformance.scan("LC", "IT", "2026-03-05T11:05:00-08:00") | {"exceptionCode": 7}
    scan["scanLocation"] = {"city": "Portland", "postalCode": 97201, "countryCode": "US"}
    alone = {"trackingNumber": 790000000000, "trackResults": {"scanEvents": scan}}
    output = {"completeTrackResults": alone}
    (result,) = client.track_results(output)
    for found in (result, translate_scans.results_in({"output": output})[0][1]):
        told = translate_scans.parcel_history(found, MAPPINGS, "FEDEX", {})
        (event,) = told.events
        assert (event.tracking_number, event.status_code) == ("790000000000", "LC/7")
        assert event.place.postal_code == "97201"


def test_initiated_without_a_scan_is_a_label() -> None:
    """Proves that the letters of a latest status are its summary's where both lists have them."""
    result = vendor_json.loads(
        conformance.result(
            latestStatusDetail={"code": "IN", "derivedCode": "IN"},
            dateAndTimes=[{"type": "SHIP", "dateTime": "2026-03-05T00:00:00-06:00"}],
        )
    )
    (event,) = translate_scans.parcel_history(result, MAPPINGS, "FEDEX", {}).events
    assert event.milestone == shipment_pb2.MILESTONE_LABEL_CREATED


def told(body: dict[str, Any]) -> list[tuple[int, tuple[str, ...]]]:
    """How many scans, and which problems, each parcel of a callback has."""
    nothing = ["TRACKING.TRACKINGNUMBER.NOTFOUND"]
    found = translate_scans.histories_in(body, MAPPINGS, "FEDEX", {}, nothing)
    return [(len(history.events), history.problems) for history in found]


SCAN = conformance.scan("AR", "IT", "2026-03-05T11:05:00-08:00")
NUMBERED = {"trackingNumberInfo": {"trackingNumber": "790"}}


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({}, "/latestStatusDetail: is missing"),
        ({"latestStatusDetail": "late"}, "/latestStatusDetail: is missing"),
        ({"latestStatusDetail": {"description": "Late"}}, "/latestStatusDetail/code: is missing"),
        ({"latestStatusDetail": {"code": "OD"}}, "/dateAndTimes: status OD comes without"),
        (
            {
                "latestStatusDetail": {"code": "OC"},
                "dateAndTimes": [{"type": "SHIP", "dateTime": "soon"}],
            },
            "/dateAndTimes: ",
        ),
        ({"error": {"code": "SYSTEM.DOWN", "message": "Later"}}, "/error: FedEx says SYSTEM.DOWN"),
    ],
)
def test_a_result_that_tells_nothing_is_a_problem(more: dict[str, Any], problem: str) -> None:
    """Proves that a result without a scan and a dated status is held with its place, whatever it
    is that it lacks, and is never answered as if it had been told."""
    ((scans, (found,)),) = told(NUMBERED | more)
    assert scans == 0
    assert found.startswith(f"parcel 790: {problem}")


def test_only_fedexs_word_that_it_knows_nothing_is_nothing_to_tell() -> None:
    """Proves that a number that FedEx does not know is neither a scan nor a problem."""
    assert told(NUMBERED | {"error": {"code": "TRACKING.TRACKINGNUMBER.NOTFOUND"}}) == [(0, ())]


def test_a_result_that_is_none_does_not_cost_the_others() -> None:
    """Proves that what cannot be read among several results is named by its place, and that the
    parcels beside it are told."""
    good = NUMBERED | {"scanEvents": [SCAN]}
    body = {"output": {"completeTrackResults": [{"trackResults": [good, "x", {}]}, {}]}}
    first, *others = told(body)
    assert first == (1, ())
    places = ["0/trackResults/1", "0/trackResults/2", "1"]
    for (scans, (problem,)), place in zip(others, places, strict=True):
        assert scans == 0
        assert problem.startswith(f"/output/completeTrackResults/{place}/trackingNumberInfo: ")


def test_what_is_cut_is_said() -> None:
    """Proves that results and scans beyond what one callback may have are a problem."""
    good = NUMBERED | {"scanEvents": [SCAN]}
    limit = translate_scans.MAX_RESULTS
    *read, (scans, (problem,)) = told({"trackResults": [good] * (limit + 2)})
    assert read == [(1, ())] * limit
    assert (scans, problem) == (
        0,
        f"/trackResults/{limit}: only the first {limit} of {limit + 2} results are read",
    )
    ((scans, (problem,)),) = told(NUMBERED | {"scanEvents": [SCAN] * 501})
    assert scans == 500
    assert problem == "parcel 790: /scanEvents/500: only the first 500 of 501 scans are read"


@pytest.mark.parametrize("identifier", [{"value": "REF"}, {"values": ["OTHER", "REF"]}])
def test_a_reference_is_found_in_each_form(identifier: dict[str, Any]) -> None:
    """Proves that a purchase whose answer was lost is found by its reference, written as a list or
    as the one value that FedEx's documents show."""
    identifiers = [{"type": "CUSTOMER_REFERENCE", **identifier}]
    parcel = NUMBERED | {"additionalTrackingInfo": {"packageIdentifiers": identifiers}}
    assert translate_scans.pieces_with([parcel], "REF", MAPPINGS) == [(1, "790")]
    assert translate_scans.pieces_with([parcel], "RE", MAPPINGS) == []


@pytest.mark.parametrize(
    ("code", "level"),
    [
        ("FEDEX_NEXT_DAY_EARLY_MORNING", "NEXT_DAY_EARLY"),
        ("FEDEX_NEXT_DAY_MID_MORNING", "NEXT_DAY"),
        ("FEDEX_NEXT_DAY_AFTERNOON", "NEXT_DAY_SAVER"),
        ("FEDEX_NEXT_DAY_END_OF_DAY", "NEXT_DAY_SAVER"),
        ("FEDEX_NEXT_DAY_FREIGHT", "AIR_FREIGHT"),
        ("FEDEX_PRIORITY", "NEXT_DAY"),
        ("FEDEX_ECONOMY", "GROUND_ECONOMY"),
    ],
)
def test_the_services_within_a_country_of_europe_have_a_row(code: str, level: str) -> None:
    """Proves that what FedEx sells within one European country is read, and so passes as its own
    code where somebody orders it by that."""
    found = MAPPINGS.first(Topic.SERVICE_LEVEL, [Code("", code)])
    assert found is not None
    assert found[1].canonical == level
    assert not found[1].preferred
