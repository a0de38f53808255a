"""Who pays the freight: the shipper, the consignee, or whom the deployment names; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from crossdock.types.v1 import types_pb2

COLLECT, THIRD_PARTY = "Collect", "Third Party"
# What the setting bill_to may say, and what it has to.
NEEDED: Final = ("name", "line", "city", "state", "postal_code")
KNOWN: Final = (*NEEDED, "country", "phone")
HOME: Final = "US"
COUNTRIES: Final = (HOME, "CA", "MX")


def problem(terms: str, given: Mapping[str, str]) -> str:
    """What is wrong with the setting bill_to under these terms; "" when nothing is."""
    strange = sorted(set(given) - set(KNOWN))
    if strange:
        return f"bill_to: {', '.join(strange)} is none of {', '.join(KNOWN)}"
    missing = [name for name in NEEDED if not given.get(name, "").strip()]
    if given and missing:
        return f"bill_to lacks {', '.join(missing)}"
    if given.get("country", HOME).upper() not in COUNTRIES:
        return f"bill_to: country is none of {', '.join(COUNTRIES)}"
    if not given and terms == THIRD_PARTY:
        return f"terms is {terms}: say who pays in bill_to, by {', '.join(NEEDED)}"
    if given and terms == COLLECT:
        return f"terms is {terms}, by which the consignee pays: leave bill_to"
    return ""


def named(given: Mapping[str, str]) -> types_pb2.Party | None:
    """Whom the setting names, which has no problem; None: nobody."""
    if not given:
        return None
    return types_pb2.Party(
        company=given["name"],
        phone=given.get("phone", ""),
        address=types_pb2.Address(
            lines=[given["line"]],
            city=given["city"],
            state=given["state"],
            postal_code=given["postal_code"],
            country_code=given.get("country", HOME).upper(),
        ),
    )
