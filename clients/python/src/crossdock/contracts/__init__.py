"""The contract, compiled: owners, events, methods, references, validation, digest, differences.

The only door to this package; its modules are private. A process loads the contract once:

    contract = contracts.load()
    contract.warm()
    contract.foreign_fields("crossdock.order.v1.Order", "WMS")
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources as package_data
from typing import Any

from google.protobuf.message import Message

from crossdock.contracts.contract import Contract, items_of, ordering_key_of
from crossdock.contracts.diff import diff
from crossdock.contracts.digest import DIGEST_VERSION, digest
from crossdock.contracts.image import positions_in
from crossdock.contracts.null_characters import NO_NUL, may_have_null, null_characters
from crossdock.contracts.printing import print_files
from crossdock.contracts.rules import (
    Change,
    Event,
    FieldRule,
    FoundReference,
    Method,
    ReferencePath,
    Resource,
    Target,
)
from crossdock.contracts.unknown import unknown_field
from crossdock.contracts.waivers import Verdict, Waiver, judge, read_waivers
from crossdock.errors import ContractError, Violation

__all__ = [
    "DIGEST_VERSION",
    "NO_NUL",
    "Change",
    "Contract",
    "ContractError",
    "Event",
    "FieldRule",
    "FoundReference",
    "Method",
    "ReferencePath",
    "Resource",
    "Target",
    "Verdict",
    "Violation",
    "Waiver",
    "diff",
    "digest",
    "events",
    "items_of",
    "judge",
    "load",
    "may_have_null",
    "null_characters",
    "ordering_key_of",
    "owners",
    "positions_in",
    "print_files",
    "read_waivers",
    "redact",
    "unknown_field",
    "validate",
]

_IMAGE = "contracts.binpb"
_POSITIONS = "contracts_positions.json"


@cache
def load() -> Contract:
    """The contract that this distribution was built with, compiled at the first call.

    ContractError: it does not hold, or the image is missing from the installation.
    """
    files = package_data.files("crossdock")
    try:
        data = files.joinpath(_IMAGE).read_bytes()
        positions = json.loads(files.joinpath(_POSITIONS).read_text("utf-8"))
    except FileNotFoundError as error:
        raise ContractError(f"{error.filename} is missing; run `make contracts`") from error
    return Contract(data, positions)


def owners(message_name: str) -> Mapping[str, str]:
    """First-level field of a resource -> role that owns it. KeyError: no such resource."""
    return load().owners(message_name)


def events() -> Mapping[str, Event]:
    """Every business event by full message name."""
    return load().events


def validate(message_name: str, data: bytes) -> list[Violation]:
    """All rules that an encoded message breaks; empty: valid. ValueError: not such a message."""
    return load().validate(message_name, data)


def redact(message: Message, *, zeros: bool = False) -> dict[str, Any]:
    """The message as JSON-able data; sensitive fields are "***", bytes their size.

    zeros: also fields that are 0, "", false, empty or unspecified, unless they have presence.
    """
    return load().redact(message, zeros=zeros)
