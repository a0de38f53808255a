"""What a vendor calls the reason of a return: rows of topic REASON and type RETURN, and a setting.

The words are the OMS's own, and the codes are of the tenant's customizing: no file has defaults.
"""

from __future__ import annotations

from collections.abc import Mapping

from crossdock_adapters.sdk.mappings import Mappings, Topic, UnsentWord
from crossdock_adapters.sdk.outcomes import Untranslatable

TYPE = "RETURN"
ANY_OTHER = "*"


def of(mappings: Mappings, given: Mapping[str, str]) -> Mapping[str, str]:
    """The OMS's reason to the vendor's code: as the rows say, and before them as the setting does
    (`given`), whose "*" is any reason that neither has."""
    return {**mappings.natives(Topic.REASON, TYPE), **given}


def code_of(reason: str, codes: Mapping[str, str], kind: str) -> str:
    """The vendor's code that is sent for a reason.

    Untranslatable: it has none. The delivery parks for the word until a row says what to send.
    """
    found = codes.get(reason, codes.get(ANY_OTHER, ""))
    if found:
        return found
    unsent = UnsentWord(Topic.REASON, reason, (TYPE,))
    problem = f"reason {reason!r} of a return has no code to be sent"
    if unsent.may_have_row:
        raise Untranslatable.for_want_of(unsent, kind, problem)
    raise Untranslatable(f"{problem}: give it one in the setting return_reasons", unsent)
