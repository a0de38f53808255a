"""What a bill of lading says of dangerous goods: that there are none, of what was said to be none.

The open standard requires `hazardous` of every line item (eBOL 2.1.0), so it is said one way or the
other. Nobody here says "true": dangerous goods are booked at the carrier.
"""

from __future__ import annotations

from itertools import chain
from typing import Final

from crossdock_adapters.sdk import hazardous_goods
from crossdock_adapters.sdk.outcomes import NeedsPerson
from crossdock_adapters.sdk.work import Work

SETTING: Final = "hazard_not_said"
# What becomes of goods of which the ERP does not say whether they are dangerous.
PARK: Final = "park"
OMIT: Final = "omit"
HARMLESS: Final = "harmless"
CHOICES: Final = (PARK, OMIT, HARMLESS)


async def harmless(work: Work) -> frozenset[str]:
    """Ids of the packages that are declared not hazardous: of whose items the ERP says so, or the
    deployment where the ERP says nothing.

    NeedsPerson: something is dangerous, or nobody says that it is not and the deployment wants to
    be asked.
    """
    unsaid = await hazardous_goods.unsaid(work, work.event.shipment.packages)
    choice = work.settings.text(SETTING)
    names = list(dict.fromkeys(chain.from_iterable(unsaid.values())))
    if names and choice == PARK:
        raise NeedsPerson(
            f"nobody says whether {hazardous_goods.some_of(names)} is dangerous to carry, and a "
            "bill of lading has to: say it by hazardous_material of the item in the ERP, and "
            f"retry; or set {SETTING} to {HARMLESS} where nothing that is shipped is, or to {OMIT}"
        )
    return frozenset(
        package_id for package_id, each in unsaid.items() if choice == HARMLESS or not each
    )
