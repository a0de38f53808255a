"""Everything that held facts name: what is named there may still be needed; pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from crossdock.contracts import Contract
from google.protobuf.message import DecodeError, Message

from crossdock_hub.records import HeldFactRecord

_WORD: Final = re.compile(r"[\w./#-]+")


def words_of(facts: Iterable[HeldFactRecord], contract: Contract) -> frozenset[str]:
    """Every text of what is held: of facts the fields, of raw payloads each word."""
    words: set[str] = set()
    for fact in facts:
        words |= {fact.request_id, fact.awaits.partition(":")[2]}
        words |= set(_texts(contract, fact))
    return frozenset(words)


def _texts(contract: Contract, fact: HeldFactRecord) -> Iterator[str]:
    rule = contract.methods.get(fact.method)
    if rule is not None:
        try:
            kind = contract.generated_class(rule.write_type or rule.request_type)
            yield from _in_message(kind.FromString(fact.payload))
        except DecodeError:
            pass
        else:
            return
    yield from _WORD.findall(fact.payload.decode("utf-8", "replace"))


def _in_message(message: Message) -> Iterator[str]:
    for field, value in message.ListFields():
        yield from _in_value(value, field)


def _in_value(value: Any, field: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Message):
        yield from _in_message(value)
    elif field.message_type is not None and field.message_type.GetOptions().map_entry:
        for key in value:
            yield str(key)
    elif not isinstance(value, (bytes, int, float)):
        for each in value:
            yield from _in_value(each, field)
