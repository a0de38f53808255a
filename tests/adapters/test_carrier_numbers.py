"""Numbers in carriers' answers: what is null, or no text, is no number of a label."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from crossdock_adapters.fedex import client as fedex
from crossdock_adapters.gls import client as gls
from crossdock_adapters.sdk.carrier_labels import number_in
from crossdock_adapters.ups import client as ups

IMAGE = base64.b64encode(b"^XA^XZ").decode()
NO_NUMBERS: list[Any] = [None, "", "  ", {}, [], True, 1.5]


def ups_booking(number: Any, **results: Any) -> dict[str, Any]:
    label = {"ImageFormat": {"Code": "ZPL"}, "GraphicImage": IMAGE}
    package = {"TrackingNumber": number, "ShippingLabel": label}
    return {
        "ShipmentResponse": {
            "Response": {"ResponseStatus": {"Code": "1"}},
            "ShipmentResults": {"PackageResults": package, **results},
        }
    }


def fedex_booking(number: Any, master: Any) -> dict[str, Any]:
    document = {"docType": "ZPLII", "contentType": "LABEL", "encodedLabel": IMAGE}
    piece = {"trackingNumber": number, "packageDocuments": [document]}
    return {"transactionShipments": [{"masterTrackingNumber": master, "pieceResponses": [piece]}]}


def gls_parcel(track_id: Any, number: Any) -> dict[str, Any]:
    parcel = {"trackid": track_id, "parcelnumber": number}
    return {"createdshipment": {"parceldata": [parcel], "printdata": [{"data": [IMAGE]}]}}


@pytest.mark.parametrize("number", NO_NUMBERS)
def test_what_is_no_number_is_none(number: Any) -> None:
    """Proves that an answer whose number is null proves no label, at each carrier: as text it was
    the number "None", and the label was told under it."""
    with pytest.raises(ValueError, match="a number is"):
        ups.read_booking(ups_booking(number))
    recovered = {"LabelResults": {"TrackingNumber": number}}
    with pytest.raises(ValueError, match="a number is"):
        ups.read_recovery({"LabelRecoveryResponse": recovered})
    for given in (fedex_booking(number, "794953535000"), fedex_booking("794953535000", number)):
        with pytest.raises(ValueError, match="a number is"):
            fedex.read_booking(given)
    with pytest.raises(ValueError, match="a number is"):
        gls.read_created(gls_parcel(number, "42249028960"))


def test_a_number_in_digits_is_text() -> None:
    """Proves that a number that is not written as text keeps its digits, and loses its blanks."""
    assert (number_in(794953535000), number_in(" 1ZA1 ")) == ("794953535000", "1ZA1")


def test_a_shipment_of_ups_without_a_number_has_that_of_its_first_package() -> None:
    """Proves that ShipmentIdentificationNumber, which UPS publishes as optional and as the number
    of the first package, may be left out or null: the label is sold all the same."""
    for left_out in ({}, {"ShipmentIdentificationNumber": None}):
        booking = ups.read_booking(ups_booking("1ZA1B2C30300000018", **left_out))
        assert booking.shipment_number == "1ZA1B2C30300000018"


def test_a_parcel_number_of_gls_that_is_null_is_left_out() -> None:
    """Proves that a parcel without its second number is one with its track id alone."""
    (parcel,) = gls.read_created(gls_parcel("00DEMO01", None))
    assert (parcel.track_id, parcel.number) == ("00DEMO01", "")
