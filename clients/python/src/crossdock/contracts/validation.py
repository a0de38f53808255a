"""Validates messages against the buf.validate rules of an image; the only user of protovalidate."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import protovalidate
from google.protobuf.message import DecodeError

from crossdock.contracts.image import Image
from crossdock.errors import ContractError, Violation


class RuleValidator:
    """Validates encoded messages. One for each image: rules are cached by message name."""

    def __init__(self, image: Image) -> None:
        self._image = image
        self._validator = protovalidate.Validator()

    def validate(self, message_name: str, data: bytes) -> list[Violation]:
        """All rules that the encoded message breaks; empty: it is valid.

        message_name: full name. Generated stubs carry no rules, hence bytes: they are parsed again
        with the image's own class. ValueError: the bytes are no message of that type. KeyError: no
        such message. ContractError: a rule cannot be compiled or evaluated.
        """
        kind = self._image.message_class(message_name)
        try:
            message = kind.FromString(data)
        except DecodeError as error:
            raise ValueError(f"not a {message_name}") from error
        try:
            found = self._validator.collect_violations(message)
        except (protovalidate.CompilationError, protovalidate.EvaluationError) as error:
            raise ContractError(self._finding(message_name, error)) from error
        return [_violation(each.proto) for each in found] if found else []

    def warm(self, message_names: Iterable[str]) -> None:
        """Compiles the rules of these messages now, which takes milliseconds each.

        ContractError: rules that cannot be compiled, or not be evaluated on an empty message.
        """
        findings = []
        for name in message_names:
            try:
                self._validator.collect_violations(self._image.message_class(name)())
            except (protovalidate.CompilationError, protovalidate.EvaluationError) as error:
                findings.append(self._finding(name, error))
        if findings:
            raise ContractError(*findings)

    def _finding(self, message_name: str, error: Exception) -> str:
        return f"{self._image.position(message_name)}: {message_name}: rule is broken: {error}"


def _violation(proto: Any) -> Violation:
    path = _path(proto.field) if proto.field is not None else ""
    return Violation(field=path, description=proto.message or proto.rule_id, rule=proto.rule_id)


def _path(field: Any) -> str:
    parts = []
    for element in field.elements:
        subscript = element.subscript
        part = element.field_name
        parts.append(part if subscript is None else f"{part}[{_subscript(subscript)}]")
    return ".".join(parts)


def _subscript(subscript: Any) -> str:
    value = getattr(subscript, "value", subscript)
    return f'"{value}"' if isinstance(value, str) else str(value)
