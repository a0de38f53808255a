"""What codes mean: rows by code, and what a fact waits for whose codes have none. Pure.

A row is found by its key: endpoint kind, topic, the vendor's table, code. A fact names its codes,
the most telling first; the first that has a row decides. When none has, it waits for all of them at
once, "code:KIND/TOPIC/TYPE/CODE|TYPE/CODE", because a row for any would do.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote, unquote

from crossdock.customer.v1 import customer_pb2
from crossdock.errors import Refusal
from crossdock.exception_reasons import EXCEPTION_REASONS
from crossdock.item.v1 import item_pb2
from crossdock.mapping.v1 import mapping_pb2
from crossdock.shipment.v1 import shipment_pb2
from crossdock.types.v1 import types_pb2

from crossdock_hub.records import MappingRecord
from crossdock_hub.replacing import replace
from crossdock_hub.unit import NotYet

AWAITS = "code"
STATUS = "STATUS"
UNIT = "UNIT"
# The rule of Quantity.unit in the contract: what does not keep it could be in no fact. Which codes
# there are is not asked: an item's conversions may be by packs that no table has.
_UNIT_CODE = re.compile("[A-Z0-9]{2,3}")
# What unit.changes.satisfied says of a row that got a meaning.
ARRIVED = "mapping:"
# Milestones that are no meaning: they say that nobody knows.
_NO_MEANING = frozenset({"UNSPECIFIED", "UNKNOWN"})


def _words(names: Iterable[tuple[str, int]], prefix: str) -> frozenset[str]:
    return frozenset(name.removeprefix(prefix) for name, _ in names) - _NO_MEANING


MILESTONES = _words(shipment_pb2.Milestone.items(), "MILESTONE_")
# What the words of a topic are called, and which there are; those of other topics are free.
WORDS = {
    STATUS: ("milestone", MILESTONES),
    "ITEM_STATUS": ("status of an item", _words(item_pb2.ItemStatus.items(), "ITEM_STATUS_")),
    "CREDIT_STATUS": ("credit status", _words(customer_pb2.CreditStatus.items(), "CREDIT_STATUS_")),
}
_TOPIC = "MAPPING_TOPIC_"
CACHED_IDS = 4_096
# PostgreSQL refuses a row whose index entry is above 2,704 bytes, the state of the fact included.
# One code has 1,152 at most, four bytes of UTF-8 for each character, and its kind 768.
AWAITS_BYTES_MAX = 2_400


@dataclass(frozen=True, slots=True, order=True)
class Code:
    """A code as its vendor writes it: the table it is of ("" where there is one), and the code."""

    type: str
    code: str

    @classmethod
    def of(cls, native: types_pb2.NativeCode) -> Code:
        return cls(native.type, native.code)

    def __str__(self) -> str:
        return f"{self.type} {self.code}".strip() or "(empty)"


@dataclass(frozen=True, slots=True)
class Unmapped:
    """What a quarantined fact waits for."""

    endpoint_kind: str
    topic: str
    codes: tuple[Code, ...]

    def row_ids(self) -> list[str]:
        """The rows of which any would do."""
        return [row_id(self.endpoint_kind, self.topic, code) for code in self.codes]


@lru_cache(maxsize=CACHED_IDS)
def row_id(endpoint_kind: str, topic: str, code: Code) -> str:
    """The key of a row, as text that nothing else has."""
    parts = (endpoint_kind, topic, code.type, code.code)
    return "/".join(quote(part, safe="") for part in parts)


def topic_name(value: int) -> str:
    """The name of a topic without prefix; "" for all, and for one from the future."""
    known = value in mapping_pb2.MappingTopic.values() and value
    if not known:
        return ""
    return mapping_pb2.MappingTopic.Name(value).removeprefix(_TOPIC)  # type: ignore[arg-type]


def topic_value(name: str) -> mapping_pb2.MappingTopic.ValueType:
    """The way back from `topic_name`."""
    return mapping_pb2.MappingTopic.Value(f"{_TOPIC}{name}")


def awaits_of(unmapped: Unmapped) -> str:
    """The text under which a fact is held, as long as an index takes it: of many long codes the
    most telling ones. The first always fits."""
    text = awaits_prefix(unmapped.endpoint_kind, unmapped.topic)
    sign = ""
    for code in unmapped.codes:
        told = f"{sign}{quote(code.type, safe='')}/{quote(code.code, safe='')}"
        if sign and len(text) + len(told) > AWAITS_BYTES_MAX:
            break
        text, sign = text + told, "|"
    return text


def awaits_prefix(endpoint_kind: str, topic: str = "") -> str:
    """What the texts of all facts begin with that wait for codes of a kind, or of one topic."""
    prefix = f"{AWAITS}:{quote(endpoint_kind, safe='')}/"
    return f"{prefix}{topic}/" if topic else prefix


def unmapped_of(awaits: str) -> Unmapped | None:
    """The way back from `awaits_of`; None for what waits for something else."""
    kind, _, value = awaits.partition(":")
    if kind != AWAITS:
        return None
    endpoint_kind, topic, codes = value.split("/", 2)
    pairs = (code.partition("/") for code in codes.split("|"))
    found = tuple(Code(unquote(type_), unquote(code)) for type_, _, code in pairs)
    return Unmapped(unquote(endpoint_kind), topic, found)


def waiting_for(awaited: Iterable[str], arrived: frozenset[str]) -> list[str]:
    """Which of these texts wait for a row that arrived, by "mapping:ROW"."""
    found = []
    for awaits in awaited:
        unmapped = unmapped_of(awaits)
        if unmapped and any(f"{ARRIVED}{row}" in arrived for row in unmapped.row_ids()):
            found.append(awaits)
    return sorted(found)


def not_mapped(unmapped: Unmapped, identity: str = "") -> NotYet:
    """Why a fact is quarantined, and for what."""
    code, *others = unmapped.codes
    also = f", nor has {' or '.join(map(str, others))}" if others else ""
    refusal = Refusal(
        "UNMAPPED_CODE",
        f"{unmapped.endpoint_kind} code {code} has no row of topic {unmapped.topic}{also}; "
        "say what it means with crossdock map set, and the fact goes on by itself",
        {
            "endpoint_kind": unmapped.endpoint_kind,
            "topic": unmapped.topic,
            "type": code.type,
            "code": code.code,
        },
    )
    return NotYet(refusal, awaits_of(unmapped), identity)


def decided(record: MappingRecord) -> MappingRecord:
    """A row with what follows from its default and from what the deployment says."""
    meaning = meaning_of(record)
    return replace(
        record,
        canonical=meaning.canonical,
        exception_reason=meaning.exception_reason,
        preferred=meaning.preferred,
    )


def meaning_of(record: MappingRecord) -> mapping_pb2.Meaning:
    """What a code means now; empty when nobody says so any more."""
    if record.deployment:
        return mapping_pb2.DeploymentMapping.FromString(record.deployment).meaning
    if record.shipped:
        return mapping_pb2.DefaultMapping.FromString(record.shipped).meaning
    return mapping_pb2.Meaning()


def why_no_meaning(topic: str, meaning: mapping_pb2.Meaning) -> str:
    """What is wrong with a meaning for a topic, in words; "" when nothing is."""
    if topic == UNIT and not _UNIT_CODE.fullmatch(meaning.canonical):
        return (
            f"{meaning.canonical!r} is no code of UN/ECE Rec 20: two or three capital letters or "
            "digits, as every quantity has it, for example KGM or EA"
        )
    what, words = WORDS.get(topic, ("", frozenset({meaning.canonical})))
    if meaning.canonical not in words:
        return f"{meaning.canonical!r} is no {what}; there are {', '.join(sorted(words))}"
    if topic != STATUS and meaning.exception_reason:
        return "only a status has an exception_reason; leave it empty"
    if meaning.exception_reason and meaning.exception_reason not in EXCEPTION_REASONS:
        known = ", ".join(sorted(EXCEPTION_REASONS))
        return f"{meaning.exception_reason!r} is no exception_reason; there are {known}"
    return ""


def first_with_row(
    codes: Sequence[Code], found: dict[Code, MappingRecord | None]
) -> MappingRecord | None:
    """The row that decides; None when no code has one."""
    for code in codes:
        record = found.get(code)
        if record is not None and record.canonical:
            return record
    return None
