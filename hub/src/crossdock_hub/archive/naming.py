"""Everything that held facts name: what is named there may still be needed; pure.

Texts are compared by their runs of letters and digits, in any case and whatever stands between
them: "SO-1", "so 1" and "SO1" are one name. What is named by accident stays until nothing is held.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from itertools import pairwise
from typing import Any, Final

from crossdock.contracts import Contract
from crossdock.endpoint.v1 import held_fact_pb2
from google.protobuf.message import DecodeError, Message

from crossdock_hub.records import HeldFactRecord

_RUN: Final = re.compile(r"[^\W_]+")
# A number that stands in a field of fixed width has letters next to it; shorter ones mean nothing.
_NUMBER: Final = re.compile(r"\d{5,}")


class Named:
    """What held facts name; it only grows."""

    def __init__(self) -> None:
        self._words: set[str] = set()

    def __len__(self) -> int:
        """How many words are kept."""
        return len(self._words)

    def add(self, facts: Iterable[HeldFactRecord], contract: Contract) -> None:
        """Take in what some held facts name. May take a while: it looks at each payload."""
        for fact in facts:
            self._add_text(fact.awaits.partition(":")[2])
            self._words.add(_joined(fact.request_id))
            message = _fact_of(contract, fact)
            if message is None:
                for text in _payload_texts(fact.payload):
                    self._add_text(text)
            else:
                self._words.update(map(_joined, _in_message(message)))
        self._words.discard("")

    def has_any(self, names: Collection[str]) -> bool:
        """Whether one of these is named."""
        return any(map(self._has, names))

    def _has(self, name: str) -> bool:
        runs = _runs(name)
        if not runs:
            return False
        if "".join(runs) in self._words:
            return True
        if len(runs) == 1:
            return runs[0].isdecimal() and runs[0].lstrip("0") in self._words
        return len(runs) > 2 and all(a + b in self._words for a, b in pairwise(runs))

    def _add_text(self, text: str) -> None:
        before = ""
        for found in _RUN.finditer(text):
            run = found.group().casefold()
            self._words.add(run)
            if before:
                self._words.add(before + run)
            before = run
            numbers = (run,) if run.isdecimal() else _NUMBER.findall(run)
            # Padded to the width of its field, it is the same number.
            self._words.update(number.lstrip("0") for number in numbers)


def _runs(text: str) -> list[str]:
    return [run.casefold() for run in _RUN.findall(text)]


def _joined(text: str) -> str:
    return "".join(_runs(text))


def _fact_of(contract: Contract, fact: HeldFactRecord) -> Message | None:
    """The message of a fact; None: it is a raw payload, or no message of this contract."""
    rule = contract.methods.get(fact.method)
    if rule is None:
        return None
    kind = contract.generated_class(rule.write_type or rule.request_type)
    try:
        return kind.FromString(fact.payload)
    except DecodeError:
        return None


def _payload_texts(payload: bytes) -> Iterator[str]:
    """The texts of a raw payload, which is kept with the request that brought it."""
    try:
        request = held_fact_pb2.HoldPayloadRequest.FromString(payload)
    except DecodeError:
        yield _text_of(payload)
        return
    yield request.key
    yield request.reason
    yield _text_of(request.payload)


def _text_of(payload: bytes) -> str:
    """Bytes as text; of two bytes for each letter, every second one is nothing."""
    return payload.replace(b"\0", b"").decode("utf-8", "replace")


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
