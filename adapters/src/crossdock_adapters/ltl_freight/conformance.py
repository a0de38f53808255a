"""What the conformance kit needs of LTL freight: bills of lading, a mailbox of 214s and 210s."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from crossdock.shipment.v1 import shipment_pb2
from crossdock.types.v1 import types_pb2
from google.protobuf.message import Message

from crossdock_adapters.ltl_freight import tendering, translate_tender
from crossdock_adapters.ltl_freight.adapter import ADAPTER
from crossdock_adapters.ltl_freight.sandbox import LtlFreightSandbox
from crossdock_adapters.ltl_freight.sandbox_doors import TENDER
from crossdock_adapters.ltl_freight.sandbox_mailbox import ARCHIVE, FROM_CARRIER
from crossdock_adapters.sdk.conformance import packed_parcel
from crossdock_adapters.sdk.conformance.stage import until
from crossdock_adapters.sdk.conformance.subject import (
    OTHER,
    Case,
    Delivered,
    Malformed,
    Subject,
    UnknownCode,
    WayIn,
    World,
)
from crossdock_adapters.sdk.x12 import segments

CLIENT_ID, CLIENT_SECRET = "conformance-client", "conformance-client-secret"
PACKAGE_ID = packed_parcel.PACKAGE_ID
PRO: Final = "412345678"
INTERVAL_SECONDS = 0.05
MAILBOX_PASSWORD: Final = "conformance-mailbox-password"
SECRETS = {
    "client_id": CLIENT_ID,
    "client_secret": CLIENT_SECRET,
    "password": MAILBOX_PASSWORD,
}
UNKNOWN: Final = "Q9"


def settings(sandbox: LtlFreightSandbox, folder: Path) -> Mapping[str, Any]:
    """Of the endpoint; the secrets lie in files."""
    return {
        "base_url": sandbox.vendor_url,
        **packed_parcel.secret_files(folder, SECRETS),
        "account": "NW-1001",
        "pro_first": 500000001,
        "pro_last": 599999999,
        "hazard_not_said": "harmless",
        "calls_per_second": 2000,
        "timeout_seconds": 10,
        "location": sandbox.mailbox_location(),
        "host_key": sandbox.host_key_line(),
        "our_id": "NORTHWIND",
        "partner_id": "EXLA",
        "scacs": ["EXLA"],
        "incomplete_seconds": 0,
        "mailbox_interval_seconds": INTERVAL_SECONDS,
    }


def shipment() -> shipment_pb2.Shipment:
    """One pallet from Reno to Portland, as the hub tells it after packing."""
    found = packed_parcel.shipment(
        "LTL",
        "LTL_GUARANTEED_NOON",
        "2001",
        _party("Northwind Outfitters", "12 Dock Road", "Reno", "NV", "89502"),
        _party("Cascade Supply", "7 Alder Street", "Portland", "OR", "97205"),
    )
    sides = ("48", "40", "52.5")
    package = packed_parcel.pack(found, "PALLET-1", ("410.25", "KGM"), sides, "INH")
    package.container_type = "PALLET"
    content = package.contents.add(line_number=1, item_number="SKU-1001")
    content.quantity.CopyFrom(types_pb2.Quantity(value="24", unit="EA"))
    return found


def status(
    number: int, code: str, clock: str, *, zone: str = "PS", day: str = "20260305", more: str = ""
) -> bytes:
    """An interchange with one 214 that has one AT7."""
    count = 7 + more.count("~")
    return (
        "ISA*00*          *00*          *02*EXLA           *ZZ*NORTHWIND      "
        f"*260305*1900*U*00401*{number:09}*0*P*>~"
        f"GS*QM*EXLA*NORTHWIND*20260305*1900*{number}*X*004010~"
        f"ST*214*0001~B10*{PRO}*S-2001*EXLA~LX*1~AT7*{code}*NS***{day}*{clock}*{zone}~"
        f"MS1*PORTLAND*OR*US~MS2*CDCK*000017~{more}SE*{count}*0001~GE*1*{number}~"
        f"IEA*1*{number:09}~"
    ).encode()


def invoice(number: int, net: str = "51240", total: str = "51240") -> bytes:
    """An interchange with one 210 of two charges, 462.40 and 50.00 US dollars."""
    return (
        "ISA*00*          *00*          *02*EXLA           *ZZ*NORTHWIND      "
        f"*260309*0700*U*00401*{number:09}*0*P*>~"
        f"GS*IM*EXLA*NORTHWIND*20260309*0700*{number}*X*004010~"
        f"ST*210*0001~B3**77-{number}*S-2001*PP**20260309*{net}****EXLA~C3*USD~N9*CN*{PRO}~"
        f"LX*1~L1*1*12.50*PH*46240~LX*2~L1*2***5000****FUE~L3*905*G***{total}~"
        f"SE*10*0001~GE*1*{number}~IEA*1*{number:09}~"
    ).encode()


async def drop(world: World, payload: bytes) -> Delivered:
    """The carrier puts a file into the mailbox, and the adapter has put it away."""
    root = Path(world.sandbox.settings["mailbox"])
    name = f"{uuid.uuid4().hex}.edi"
    (root / f"{name}.tmp").write_bytes(payload)
    (root / f"{name}.tmp").rename(root / FROM_CARRIER / name)
    await until((root / ARCHIVE / name).exists, "the file is put away")
    return Delivered()


def knows(sandbox: LtlFreightSandbox) -> Sequence[Message]:
    """Freight under way."""
    return [packed_parcel.label("LTL", PRO)]


def _party(name: str, line: str, city: str, state: str, postal_code: str) -> types_pb2.Party:
    phone = "+1 503 555 0100"
    return packed_parcel.party(name, line, city, state, postal_code, "US", phone)


def _at(number: int, name: str, element: int = 0) -> str:
    """How the place has to be told."""
    return rf"segment {number} \({name}\)" + (rf", element {element}" if element else "")


_PICKED_UP = status(1, "AF", "0905")
_OUT = status(2, "AJ", "1340")
_DELIVERED = status(3, "D1", "1655")

CONFORMANCE = Subject(
    adapter=ADAPTER,
    sandbox=LtlFreightSandbox,
    settings=settings,
    sandbox_settings={
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "calls_per_second": 2000,
    },
    cases=packed_parcel.cases(
        shipment,
        bought=lambda books: len(books["bols"]),
        voided=lambda books: int(books["cancelled"]),
    ),
    ways_in=[
        WayIn(
            "poll:mailbox",
            payloads=[_PICKED_UP, _OUT, _DELIVERED, invoice(5)],
            deliver=drop,
            media=OTHER,
            malformed=[
                Malformed(_PICKED_UP[:-40], r"segment 8: the payload ends"),
                Malformed(_PICKED_UP.replace(b"*260305*", b"*26O305*"), _at(1, "ISA", 9)),
                Malformed(status(11, "AF", "0905", day="20261301"), _at(6, "AT7", 5)),
                Malformed(status(12, "AF", "0965"), _at(6, "AT7", 6)),
                Malformed(status(13, "", "0905"), _at(6, "AT7", 1)),
                Malformed(status(14, "AF", "0905").replace(b"*EXLA~LX", b"~LX"), _at(4, "B10", 3)),
                Malformed(status(15, "AF", "0905").replace(b"SE*7*", b"SE*8*"), _at(3, "ST")),
                Malformed(status(16, "AF", "0905").replace(b"ST*214", b"ST*998"), _at(3, "ST", 1)),
                Malformed(invoice(17, net="51241", total="51241"), _at(4, "B3", 7)),
                Malformed(invoice(18, total="51241"), _at(11, "L3", 5)),
                Malformed(invoice(19, net="512.4O"), _at(4, "B3", 7)),
            ],
            unknown_code=UnknownCode(status(4, UNKNOWN, "1000"), UNKNOWN, "milestone"),
            grown=status(1, "AF", "0905", more="ZZ9*NOBODY*DOCUMENTED*THIS~ZZ8*WORDS~"),
            oversize=_PICKED_UP + b" " * segments.MAX_BYTES,
            bombs=[
                _PICKED_UP[:106] + b"~" * 4_000_000,
                _PICKED_UP[:106] + b"LX*1~" * 800_000,
                _PICKED_UP[:106] + b"LX" + b"*" * 4_000_000,
                _PICKED_UP[:106] + b"9" * 4_000_000,
                _PICKED_UP[:106] * 38_000,
            ],
        ),
    ],
    knows=knows,
    expire=packed_parcel.expire_tokens,
)


def _by_tender(sandbox: LtlFreightSandbox, folder: Path) -> Mapping[str, Any]:
    """Of an endpoint that books by load tender over SFTP, and writes the service as a note."""
    return {**settings(sandbox, folder), "booking": tendering.BY_TENDER, "tender_notes": True}


def _tendered(case: Case, purpose: str) -> Case:
    """The same work by a 204 of this purpose, whose answer the mailbox has."""

    def made(books: Mapping[str, Any]) -> int:
        return sum(each["purpose"] == purpose for each in books["tenders"])

    return replace(case, made=made, strikes=TENDER, answered_by="poll:mailbox")


# Over SFTP, so that faults strike what is sent and read.
BY_TENDER = replace(
    CONFORMANCE,
    settings=_by_tender,
    sandbox_settings={**CONFORMANCE.sandbox_settings, "mailbox_password": MAILBOX_PASSWORD},
    cases=[
        _tendered(CONFORMANCE.case("buy_label"), translate_tender.ORIGINAL),
        _tendered(CONFORMANCE.case("void_label"), translate_tender.CANCEL),
    ],
    # Tokens are of the API alone.
    expire=None,
    not_applicable={
        "throttled": {"*": "SFTP cannot say too many calls to a request"},
        "trace": {"*": "a file has no place for a trace context; our reference is in each tender"},
        "expired_token": {"*": "SFTP has no token: a session lasts as long as its connection"},
    },
)
