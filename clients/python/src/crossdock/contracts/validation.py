"""Validates messages against the buf.validate rules of an image; the only user of protovalidate."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError

from crossdock.contracts.counting import ListLimits
from crossdock.contracts.image import Image
from crossdock.contracts.null_characters import may_have_null, null_characters
from crossdock.contracts.paths import Tree, compile_tree
from crossdock.errors import ContractError, Violation

# What protobuf defines as the range of these types; their encoding can say more, and every
# calendar, database and JSON further on breaks of it. (first second, last second)
_TIME_RANGES: Final = {
    "google.protobuf.Timestamp": (-62_135_596_800, 253_402_300_799),
    "google.protobuf.Duration": (-315_576_000_000, 315_576_000_000),
}
_NANOS_PER_SECOND: Final = 1_000_000_000
# All that so few bytes can say is looked at in a moment.
_SMALL_BYTES: Final = 512
_FIELD_RULES: Final = "buf.validate.field"


class RuleValidator:
    """Validates encoded messages. One for each image: rules are cached by message name."""

    def __init__(self, image: Image) -> None:
        self._image = image
        self._times: dict[str, Tree[str]] = {}
        self._lists = ListLimits(self._most_items)

    @cached_property
    def _protovalidate(self) -> tuple[Any, tuple[type[Exception], ...]]:
        """The library's validator, and what it raises. Imported when something is validated: most
        commands of the command line never do, and it is a quarter of what they import."""
        import protovalidate

        failures = (protovalidate.CompilationError, protovalidate.EvaluationError)
        return protovalidate.Validator(), failures

    def validate(self, message_name: str, data: bytes) -> list[Violation]:
        """All rules that the encoded message breaks; empty: it is valid. Of one with lists that are
        too long, only these are told. No text may have U+0000, what is merged first neither.

        message_name: full name. Generated stubs carry no rules, hence bytes: they are parsed again
        with the image's own class. ValueError: the bytes are no message of that type. KeyError: no
        such message. ContractError: a rule cannot be compiled or evaluated.
        """
        kind = self._image.message_class(message_name)
        try:
            message = kind.FromString(data)
        except DecodeError as error:
            raise ValueError(f"not a {message_name}") from error
        if len(data) > _SMALL_BYTES:
            too_long = self._lists.exceeded(message)
            if too_long:
                # What a list holds beyond its limit is not worth looking at, one by one.
                return too_long
        validator, failures = self._protovalidate
        try:
            found = validator.collect_violations(message)
        except failures as error:
            raise ContractError(self._finding(message_name, error)) from error
        broken = [_violation(each.proto) for each in found] if found else []
        broken += self._times_out_of_range(message)
        return broken + null_characters(message) if may_have_null(data) else broken

    def warm(self, message_names: Iterable[str]) -> None:
        """Compiles the rules of these messages now, which takes milliseconds each.

        ContractError: rules that cannot be compiled, or not be evaluated on an empty message.
        """
        findings = []
        validator, failures = self._protovalidate
        for name in message_names:
            try:
                validator.collect_violations(self._image.message_class(name)())
            except failures as error:
                findings.append(self._finding(name, error))
        if findings:
            raise ContractError(*findings)

    def _most_items(self, field: FieldDescriptor) -> int:
        rules = self._image.extension(field, _FIELD_RULES)
        return 0 if rules is None else int(rules.repeated.max_items)

    def _times_out_of_range(self, message: Any) -> list[Violation]:
        name = message.DESCRIPTOR.full_name
        tree = self._times.get(name)
        if tree is None:
            tree = self._times[name] = compile_tree(message.DESCRIPTOR, _time_type)
        return [
            Violation(path, f"is outside the range of {kind}", f"{kind.rpartition('.')[2]}.range")
            for path, kind, value in tree.values(message)
            if not _in_range(kind, value.seconds, value.nanos)
        ]

    def _finding(self, message_name: str, error: Exception) -> str:
        return f"{self._image.position(message_name)}: {message_name}: rule is broken: {error}"


def _time_type(field: FieldDescriptor) -> str | None:
    kind = field.message_type
    return kind.full_name if kind is not None and kind.full_name in _TIME_RANGES else None


def _in_range(kind: str, seconds: int, nanos: int) -> bool:
    first, last = _TIME_RANGES[kind]
    if not first <= seconds <= last or abs(nanos) >= _NANOS_PER_SECOND:
        return False
    # A timestamp's nanoseconds count forward; a duration's parts have one sign.
    return nanos >= 0 if kind.endswith("Timestamp") else seconds * nanos >= 0


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
