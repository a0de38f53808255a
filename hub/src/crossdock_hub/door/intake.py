"""Reads requests: are the bytes the message, is every field known, does each keep its rules.

A batch reads its requests stage by stage. The few microseconds of each stage become four times as
many between a socket and a database, where nothing of it is left in the processor's caches; one
after another the requests of a batch find them warm.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from crossdock.contracts import NO_NUL, Contract, digest, unknown_field
from crossdock.errors import Refusal
from google.protobuf.message import DecodeError

from crossdock_hub.commands import Command, Unread, hinted_keys
from crossdock_hub.config import Limits
from crossdock_hub.refusals import fault, invalid, too_much
from crossdock_hub.stepping import Steps, at_once
from crossdock_hub.unit import Refused
from crossdock_hub.verbs.master_data import UPSERTS

REQUEST_ID_MISSING = Refusal(
    "REQUEST_ID_MISSING",
    "request_id is missing: any UUID, kept and repeated when the call is repeated",
    {"field": "request_id"},
)


class Intake:
    """Turns bytes into requests, one at a time or a batch of commands at once."""

    def __init__(self, contract: Contract, limits: Limits) -> None:
        self._contract = contract
        self._limits = limits
        self._entry_texts = {
            contract.methods[name].request_type: re.compile(rf"entries\[\d+\]\.{upsert.kind}\.")
            for name, upsert in UPSERTS.items()
        }
        self._stages: tuple[Callable[[Command, Unread], None], ...] = (
            self._decode_one,
            self._check_one,
            self._digest_one,
            self._hint_one,
        )

    def parse(self, message_name: str, raw: bytes) -> Any:
        """The request. Raises Refused: malformed, too large, unknown fields, broken rules."""
        return at_once(self.parsing(message_name, raw))

    def parsing(self, message_name: str, raw: bytes) -> Steps[Any]:
        """The same in steps; the longest looks at the rules, some 6 µs a scan. Raises Refused."""
        request = self.decode(message_name, raw)
        yield
        self.check(message_name, raw, request)
        yield
        return request

    def decode(self, message_name: str, raw: bytes) -> Any:
        """The bytes as a message, its rules unchecked. Raises Refused: malformed or too large."""
        refusal = too_much(self._contract, message_name, raw, self._limits)
        if refusal is not None:
            raise Refused(refusal)
        try:
            return self._contract.generated_class(message_name).FromString(raw)
        except (DecodeError, ValueError, RecursionError):
            raise _malformed(message_name) from None

    def check(self, message_name: str, raw: bytes, request: Any) -> None:
        """The rules of the contract. Raises Refused: unknown fields, broken rules."""
        try:
            unknown = unknown_field(request)
            violations = self._contract.validate(message_name, raw)
        except (DecodeError, ValueError, RecursionError):
            raise _malformed(message_name) from None
        if unknown is not None:
            raise Refused(
                Refusal(
                    "UNKNOWN_FIELD",
                    f"{unknown} is no field of {message_name} in this contract; "
                    "compare the versions of your stubs and of the hub",
                    {"message": message_name, "number": unknown.rpartition("#")[2]},
                )
            )
        if violations and message_name in self._entry_texts:
            # One faulty entry is its own answer.
            own = self._entry_texts[message_name]
            violations = [v for v in violations if v.rule != NO_NUL or not own.match(v.field)]
        if violations:
            if any(v.field == "request_id" and not request.request_id for v in violations):
                raise Refused(REQUEST_ID_MISSING)
            raise invalid(violations)

    def read(self, batch: Sequence[Command]) -> tuple[list[Command], list[tuple[Command, Refused]]]:
        """The commands that can be decided, in order, and the others with why not."""
        refused: list[tuple[Command, Refused]] = []
        unread = [(command, command.unread) for command in batch if command.unread is not None]
        for stage in self._stages:
            passed = []
            for command, what in unread:
                try:
                    stage(command, what)
                except Refused as no:
                    refused.append((command, no))
                except Exception as error:
                    # A fault with one request must not keep the others of its batch from an answer.
                    refused.append((command, Refused(fault(command.name, error))))
                else:
                    passed.append((command, what))
            unread = passed
        if not refused:
            return list(batch), refused
        gone = {id(command) for command, _ in refused}
        return [command for command in batch if id(command) not in gone], refused

    def _decode_one(self, _command: Command, what: Unread) -> None:
        what.request = self.decode(what.method.request_type, what.raw)

    def _check_one(self, _command: Command, what: Unread) -> None:
        self.check(what.method.request_type, what.raw, what.request)

    def _digest_one(self, command: Command, what: Unread) -> None:
        command.request_id = what.request.request_id
        command.digest = digest(what.request)

    def _hint_one(self, command: Command, what: Unread) -> None:
        field, role = what.method.resource_field, command.caller.role
        command.keys = hinted_keys(self._contract, field, what.request, role)
        # Read once: a batch that is tried again command by command finds it done.
        command.unread = None


def _malformed(message_name: str) -> Refused:
    return Refused(
        Refusal(
            "MALFORMED_MESSAGE",
            f"the bytes are no {message_name}; generate your stubs from this contract",
            {"message": message_name},
        )
    )
