"""Reads what an attempt says, before its batch: each fact is a request of the contract."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from crossdock.contracts import Contract, unknown_field
from crossdock.delivery.v1 import delivery_service_pb2
from crossdock.errors import Refusal
from google.protobuf.message import DecodeError

from crossdock_hub.commands import hinted_keys
from crossdock_hub.config import Limits
from crossdock_hub.delivery.documents import keys_given
from crossdock_hub.refusals import invalid, too_much
from crossdock_hub.unit import Key
from crossdock_hub.verbs import DECISIONS


@dataclass(frozen=True, slots=True)
class CheckedFact:
    """A fact of a completion after its bytes were read: a request, or why there is none."""

    method: str
    raw: bytes
    request: Any = None
    refusal: Refusal | None = None


def check_facts(contract: Any, facts: Sequence[Any], limits: Limits) -> list[CheckedFact]:
    """Decode and validate the facts of a completion, as if each were a call of its own."""
    checked = []
    for fact in facts:
        method = contract.methods.get(fact.method)
        if method is None or fact.method not in DECISIONS:
            refusal = Refusal(
                "METHOD_UNKNOWN", f"no writing method {fact.method}", {"method": fact.method}
            )
            checked.append(CheckedFact(fact.method, fact.request, None, refusal))
            continue
        checked.append(_check_fact(contract, method, fact, limits))
    return checked


def foreseen(
    contract: Contract, endpoint: str, word: Any, facts: Sequence[CheckedFact]
) -> frozenset[Key]:
    """What a begin, a renewal or a completion will most likely read, its facts too."""
    keys: set[Key] = {("delivery", word.delivery_id), ("endpoint", endpoint)}
    if getattr(word, "token", 0):
        keys.add(("attempt", word.delivery_id, word.token))
    if isinstance(word, delivery_service_pb2.Completion):
        keys.update([("subject", word.delivery_id), *keys_given(endpoint, word)])
    for fact in facts:
        if fact.request is not None:
            field = contract.methods[fact.method].resource_field
            # A delivery is read with all others of its order, whoever tells its facts.
            keys |= hinted_keys(contract, field, fact.request, "")
    return frozenset(keys)


def _check_fact(contract: Any, method: Any, fact: Any, limits: Limits) -> CheckedFact:
    over = too_much(contract, method.request_type, fact.request, limits)
    if over is not None:
        return CheckedFact(fact.method, fact.request, None, over)
    try:
        request = contract.generated_class(method.request_type).FromString(fact.request)
        stray = unknown_field(request)
        violations = contract.validate(method.request_type, fact.request)
    except (DecodeError, ValueError):
        refusal = Refusal(
            "MALFORMED_MESSAGE",
            f"the fact is no {method.request_type}",
            {"message": method.request_type},
        )
        return CheckedFact(fact.method, fact.request, None, refusal)
    if stray is not None:
        refusal = Refusal(
            "UNKNOWN_FIELD",
            f"{stray} is no field of this contract; fix the caller's stubs",
            {"message": method.request_type, "number": stray.rpartition("#")[2]},
        )
        return CheckedFact(fact.method, fact.request, None, refusal)
    if violations:
        return CheckedFact(fact.method, fact.request, None, invalid(violations).refusal)
    return CheckedFact(fact.method, fact.request, request)
