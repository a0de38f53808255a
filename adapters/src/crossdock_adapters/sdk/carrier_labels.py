"""What every carrier tells of its labels in the contract's words: sold, void; and the addressee.

Pure functions, no clock, no network; the words of one carrier are its adapter's.
"""

from __future__ import annotations

import hashlib
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from crossdock.client import request_id
from crossdock.label.v1 import label_pb2, label_service_pb2
from crossdock.returns.v1 import return_pb2
from crossdock.shipment.v1 import shipment_pb2
from crossdock.types.v1 import types_pb2
from google.protobuf.message import Message

from crossdock_adapters.sdk.mappings import Topic, UnsentWord
from crossdock_adapters.sdk.outcomes import Untranslatable
from crossdock_adapters.sdk.work import Work

MAX_LABEL_BYTES = 262_144


@dataclass(frozen=True, slots=True)
class LabelImage:
    """One label as the carrier renders it: its number, the carrier's format code, the bytes."""

    tracking_number: str
    format: str
    image: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Purchase:
    """One label that a carrier sold, found in its answer or by a look-up afterwards.

    `amount` None: the carrier did not say. `bought_at` is the reader's clock.
    """

    label: LabelImage
    shipment_number: str
    amount: Decimal | None
    currency: str
    bought_at: types_pb2.SourceTime | None


def number_in(value: Any) -> str:
    """A number that a carrier gave, as text. ValueError: it gave none, or null, or something else,
    which as text would look like a number."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"a number is {type(value).__name__} where text is expected")
    return value.strip()


def find_package(shipment: shipment_pb2.Shipment, package_id: str) -> shipment_pb2.Package:
    """The package a delivery is about; Untranslatable when the shipment lacks it."""
    for package in shipment.packages:
        if package.id == package_id:
            return package
    raise Untranslatable(f"the shipment has no package {package_id}")


def packaging_of(
    container: str, words: Mapping[str, str], rows: Mapping[str, str], usual: str, kind: str
) -> str:
    """The carrier's code for the container type of a package.

    words: the setting package_types, container type to a word of the package rows; rows: word to
    code; usual: of containers that are not named. Untranslatable: a word has no row that is sent.
    """
    word = words.get(container)
    if word is None:
        return usual
    if word not in rows:
        unsent = UnsentWord(Topic.PACKAGE_TYPE, word)
        problem = f"container type {container!r} is {word!r} by package_types, which has no code"
        raise Untranslatable.for_want_of(unsent, kind, problem)
    return rows[word]


def label_request(
    endpoint: str,
    carrier_code: str,
    shipment: shipment_pb2.Shipment,
    package_id: str,
    reference: str,
    purchase: Purchase,
    label_format: label_pb2.LabelFormat.ValueType,
) -> label_service_pb2.CreateLabelRequest:
    """The fact "the carrier sold this label", with a request id that its content decides."""
    label = label_pb2.Label(shipment_id=shipment.id, package_id=package_id)
    describe(label, carrier_code, shipment.service_code, reference, purchase, label_format)
    fact = request_id(endpoint, f"label/{label.tracking_number}", digest(label))
    return label_service_pb2.CreateLabelRequest(request_id=fact, label=label)


def sold(
    work: Work,
    purchase: Purchase,
    label_format: label_pb2.LabelFormat.ValueType,
    package_id: str = "",
) -> label_service_pb2.CreateLabelRequest:
    """The same of what a delivery of a shipment bought, by the setting carrier_code. package_id: of
    which package; "": of the one that the delivery is about."""
    carrier, package = work.settings.text("carrier_code"), package_id or work.item
    shipment: shipment_pb2.Shipment = work.event.shipment
    return label_request(
        work.endpoint, carrier, shipment, package, work.reference, purchase, label_format
    )


def describe(
    label: label_pb2.Label | return_pb2.ReturnLabel,
    carrier_code: str,
    service_code: str,
    reference: str,
    purchase: Purchase,
    label_format: label_pb2.LabelFormat.ValueType,
) -> None:
    """Write into a label, for the way out or back, what the carrier sold."""
    sold = purchase.label
    label.carrier_code = carrier_code
    label.service_code = service_code
    label.tracking_number = sold.tracking_number
    label.format = label_format
    label.purchase_reference = reference
    if not why_no_image(sold, ""):
        label.image = sold.image
    if purchase.shipment_number not in ("", sold.tracking_number):
        label.carrier_shipment_number = purchase.shipment_number
    if purchase.amount is not None and purchase.currency:
        label.price.CopyFrom(money(purchase.amount, purchase.currency))
    if purchase.bought_at is not None:
        label.purchase_time.CopyFrom(purchase.bought_at)


def why_no_image(sold: LabelImage, carrier: str) -> str:
    """Why a label goes to the hub without its image, in words for whoever waits at the printer."""
    if not sold.image:
        return f"nothing to print: {carrier} does not show the label again; print it from {carrier}"
    if len(sold.image) <= MAX_LABEL_BYTES:
        return ""
    return (
        f"nothing to print: the image has {len(sold.image)} bytes, the hub takes "
        f"{MAX_LABEL_BYTES}; print it from {carrier}, and ask for a smaller label_format"
    )


def void_request(
    endpoint: str, carrier_code: str, tracking_number: str
) -> label_service_pb2.ReportLabelVoidedRequest:
    """The fact "this label is void", of a carrier that does not say since when."""
    return label_service_pb2.ReportLabelVoidedRequest(
        request_id=request_id(endpoint, f"void/{tracking_number}", "1"),
        tracking_number=tracking_number,
        carrier_code=carrier_code,
    )


def tracking_number_of(shipment: shipment_pb2.Shipment, package_id: str) -> str:
    """The number of a package's label as the hub derived it; empty when it has none."""
    for progress in shipment.progress:
        if progress.package_id == package_id:
            return progress.tracking_number
    return ""


def money(amount: Decimal, currency: str) -> types_pb2.Money:
    """Money with the digits the carrier wrote, never through a float."""
    return types_pb2.Money(amount=f"{amount:f}", currency=currency)


def digest(message: Message) -> str:
    """A version for a fact that has none: what it says."""
    return hashlib.sha256(message.SerializeToString(deterministic=True)).hexdigest()


def address_lines(
    lines: Sequence[str], role: str, max_characters: int, max_lines: int
) -> list[str]:
    """The street in as many lines as the carrier takes: long ones are wrapped, nothing is cut off.

    Untranslatable when it does not fit.
    """
    given = [line.strip() for line in lines if line.strip()]
    wrapped = [part for line in given for part in textwrap.wrap(line, max_characters)]
    if len(wrapped) > max_lines:
        wrapped = textwrap.wrap(" ".join(given), max_characters)
    if not wrapped or len(wrapped) > max_lines:
        raise Untranslatable(
            f"{role}: the street needs 1 to {max_lines} lines of {max_characters} characters"
        )
    return wrapped
