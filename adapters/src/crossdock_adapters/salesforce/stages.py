"""What a fulfillment order's status asks of the hub: rows of mappings.toml, never a list in code.

They are rows of topic `reason`, why an order is changed, because a row of topic `status` has to
mean a milestone of a parcel. Status categories have rows as shipped; a status, of an org's own
picklist, has one where a deployment says so, and goes before its category. One without a row is
never guessed.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from crossdock_adapters.salesforce import translate
from crossdock_adapters.salesforce.names import Names
from crossdock_adapters.salesforce.translate import Found
from crossdock_adapters.sdk.mappings import Code, Mappings, Topic
from crossdock_adapters.sdk.places import Unreadable

STATUS: Final = "FO_STATUS"
CATEGORY: Final = "FO_CATEGORY"


class Stage(StrEnum):
    """What a row may mean."""

    NOT_YET = "NOT_YET"  # asks for nothing
    RELEASED = "RELEASED"  # placed, approved and released
    WORKED_ON = "WORKED_ON"  # printed, picked or packed
    DONE = "DONE"  # nothing is written over it any more
    CANCELLED = "CANCELLED"  # cancelled, or rejected by its location


IDLE: Final = frozenset({Stage.NOT_YET, Stage.WORKED_ON, Stage.DONE})


@dataclass(frozen=True, slots=True)
class Stages:
    """The rows that hold now."""

    mappings: Mappings

    def known(self, status: str, category: str) -> Stage | None:
        """What they mean together; None: neither has a row with one of our words.

        The documentation writes categories in small and in capital letters, so a category without a
        row is looked for as a picklist would write it.
        """
        found = self.mappings.first(Topic.REASON, _codes(status, category))
        if found is None or found[1].canonical not in Stage.__members__:
            return None
        return Stage(found[1].canonical)

    def of(self, found: Found, names: Names) -> Stage:
        """A fulfillment order's. Unreadable: no row says what its status and category mean."""
        status, category = translate.status_of(found, names), translate.category_of(found, names)
        stage = self.known(status, category)
        if stage is None:
            raise Unreadable(
                f"status category {category[:64]!r} (status {status[:64]!r}) has no row that means "
                f"one of {', '.join(Stage)}; say what it means: crossdock map set",
                names.pointer("order.category"),
                self.mappings.unread(Topic.REASON, _codes(status, category)),
            )
        return stage

    def is_idle(self, status: str, category: str) -> bool:
        """Whether they ask for nothing, by a row."""
        return self.known(status, category) in IDLE


def _codes(status: str, category: str) -> list[Code]:
    codes = [(STATUS, status), (CATEGORY, category), (CATEGORY, category.capitalize())]
    return [Code(of, code) for of, code in codes if code]
