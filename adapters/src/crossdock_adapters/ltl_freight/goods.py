"""What a bill of lading says of dangerous goods: that there are none, of what was said to be none.

The open standard requires `hazardous` of every line item (eBOL 2.1.0), so it is said one way or the
other. Nobody here says "true": dangerous goods are booked at the carrier.
"""

from __future__ import annotations

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


async def refuse(work: Work) -> None:
    """NeedsPerson: something in the shipment is dangerous, or nobody says that it is not and the
    deployment wants to be asked."""
    packages = work.event.shipment.packages
    await hazardous_goods.refuse(work, packages)
    if work.settings.text(SETTING) != PARK:
        return
    told = [await hazardous_goods.told(work, each) for each in packages]
    unsaid = list(dict.fromkeys(name for each in told for name in each.unsaid))
    if unsaid:
        raise NeedsPerson(
            f"nobody says whether {hazardous_goods.some_of(unsaid)} is dangerous to carry, and a "
            "bill of lading has to: say it by hazardous_material of the item in the ERP, and "
            f"retry; or set {SETTING} to {HARMLESS} where nothing that is shipped is, or to {OMIT}"
        )


async def harmless(work: Work) -> frozenset[str]:
    """Ids of the packages that are declared not hazardous: what the ERP says, and where the
    deployment vouches for its goods, what it does not say. NeedsPerson: something is dangerous; but
    where an earlier call may have been done, it is only left out."""
    packages = work.event.shipment.packages
    told = {each.id: await hazardous_goods.told(work, each) for each in packages}
    if not work.in_doubt and any(each.dangerous for each in told.values()):
        await hazardous_goods.refuse(work, packages)
    vouched = work.settings.text(SETTING) == HARMLESS
    return frozenset(
        package_id
        for package_id, each in told.items()
        if not each.dangerous and (vouched or not each.unsaid)
    )
