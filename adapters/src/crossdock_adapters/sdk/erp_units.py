"""Units of an ERP's records: rows of the mapping service, and before them a deployment's setting.

Pure but for `mappings`, whose rows are those of now.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from crossdock_adapters.sdk.mappings import Code, Mappings, Topic, UnsentWord
from crossdock_adapters.sdk.outcomes import Untranslatable
from crossdock_adapters.sdk.places import Unreadable

MAX_SHOWN: Final = 60


@dataclass(frozen=True, slots=True)
class ErpUnits:
    """The units of one ERP. own: the setting, codes of UN/ECE Recommendation 20 to the ERP's words;
    mappings: the rows that hold where the setting says nothing; kind: what `crossdock map` calls
    the endpoint."""

    own: Mapping[str, str] = field(default_factory=dict)
    mappings: Mappings = field(default_factory=Mappings)
    kind: str = ""

    def out(self, code: str) -> str:
        """The ERP's word for a unit of the contract. Untranslatable: it has none."""
        word = self.own.get(code) or self.mappings.natives(Topic.UNIT).get(code)
        if word is None:
            unsent = UnsentWord(Topic.UNIT, code)
            problem = f"unit {code!r} has no unit of the ERP"
            raise Untranslatable.for_want_of(unsent, self.kind, problem, "WORD")
        return word

    def back(self, word: str, place: str) -> str:
        """The contract's unit for the ERP's word, of the setting's rows the last one. Unreadable:
        it has none; place: where it stands."""
        own = {theirs: ours for ours, theirs in self.own.items()}.get(word)
        codes = [Code("", word)]
        found = self.mappings.first(Topic.UNIT, codes)
        if own is None and found is None:
            raise Unreadable(
                f"unit {word[:MAX_SHOWN]!r} of the ERP has no row: say what it means with "
                f"crossdock map set {self.kind} UNIT WORD --means CODE --reason …",
                place,
                self.mappings.unread(Topic.UNIT, codes),
            )
        return own or ("" if found is None else found[1].canonical)
