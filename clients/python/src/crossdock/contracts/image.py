"""Reads a compiled image into a descriptor pool of its own, with its options and source positions.

Options read through the default pool are bytes of unknown fields, because the generated stubs carry
no rules; here every options message is parsed again with the classes of the image's own pool.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from google.protobuf import descriptor_pb2, message, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor
from google.protobuf.descriptor_pool import DescriptorPool

OPTIONS_PACKAGE = "crossdock.options.v1"
EVENT_METADATA = "crossdock.event.v1.EventMetadata"
_PACKAGE_PREFIX = "crossdock."
_PROTO_ROOT = "proto/"

# Numbers of the lists inside descriptor messages, as SourceCodeInfo paths use them.
_MESSAGES, _ENUMS, _SERVICES, _NESTED, _NESTED_ENUMS, _FIELDS, _VALUES, _METHODS = range(8)
_LISTS = {
    _MESSAGES: ("message_type", 4),
    _ENUMS: ("enum_type", 5),
    _SERVICES: ("service", 6),
    _NESTED: ("nested_type", 3),
    _NESTED_ENUMS: ("enum_type", 4),
    _FIELDS: ("field", 2),
    _VALUES: ("value", 2),
    _METHODS: ("method", 2),
}
_INSIDE = {
    _MESSAGES: (_FIELDS, _NESTED, _NESTED_ENUMS),
    _NESTED: (_FIELDS, _NESTED, _NESTED_ENUMS),
    _ENUMS: (_VALUES,),
    _NESTED_ENUMS: (_VALUES,),
    _SERVICES: (_METHODS,),
}


class Image:
    """A compiled contract: its files, and the options on them as messages.

    data: a serialized google.protobuf.FileDescriptorSet with all imports.
    positions: full name of an element -> "proto/…/x.proto:12"; what is missing there is taken from
        the source info in the image, where it has one.
    """

    def __init__(self, data: bytes, positions: Mapping[str, str] | None = None) -> None:
        self.data = data
        self.pool = DescriptorPool()
        self._positions = {**positions_in(data), **(positions or {})}
        files = descriptor_pb2.FileDescriptorSet.FromString(data).file
        for file in files:
            self.pool.AddSerializedFile(file.SerializeToString())
        self.files: tuple[FileDescriptor, ...] = tuple(
            self.pool.FindFileByName(file.name)
            for file in files
            if file.package.startswith(_PACKAGE_PREFIX)
        )
        self._classes: dict[str, Any] = {}

    def messages(self) -> Iterator[Descriptor]:
        """Every message of our own packages, nested ones included, map entries left out."""
        for file in self.files:
            yield from _with_nested(file.message_types_by_name.values())

    def message_class(self, full_name: str) -> type[message.Message]:
        """The class for a message of this image. KeyError: there is none of that name."""
        found = self._classes.get(full_name)
        if found is None:
            kind = self.pool.FindMessageTypeByName(full_name)
            found = self._classes[full_name] = message_factory.GetMessageClass(kind)
        return cast("type[message.Message]", found)

    def options(self, element: Any) -> message.Message:
        """The options of a message, field, method or oneof, extensions readable."""
        raw = element.GetOptions()
        return self.message_class(raw.DESCRIPTOR.full_name).FromString(raw.SerializeToString())

    def option(self, element: Any, name: str) -> Any:
        """The value of our option `name` on the element; None when it is not set."""
        return self.extension(element, f"{OPTIONS_PACKAGE}.{name}")

    def extension(self, element: Any, full_name: str) -> Any:
        """The value of any option by its full name; None when it is not set."""
        try:
            extension: Any = self.pool.FindExtensionByName(full_name)
        except KeyError:
            return None
        options = self.options(element)
        values = options.Extensions[extension]
        if extension.is_repeated:
            return tuple(values) or None
        return values if options.HasExtension(extension) else None

    def enum_name(self, enum: str, number: int, prefix: str) -> str:
        """The short name of a value of one of our option enums; "" for 0 and unknown numbers."""
        kind = self.pool.FindEnumTypeByName(f"{OPTIONS_PACKAGE}.{enum}")
        value = kind.values_by_number.get(number)
        return "" if value is None or number == 0 else value.name.removeprefix(prefix)

    def position(self, full_name: str) -> str:
        """Where an element is declared: "proto/crossdock/order/v1/order.proto:77".

        Falls back to the file alone, and to the name itself for what the image does not hold.
        """
        found = self._positions.get(full_name)
        if found is not None:
            return found
        try:
            return _PROTO_ROOT + self.pool.FindFileContainingSymbol(full_name).name
        except KeyError:
            return full_name

    @property
    def positions(self) -> Mapping[str, str]:
        """All known positions by full name."""
        return self._positions


def positions_in(data: bytes) -> dict[str, str]:
    """The positions of all our elements, from the source info of an image compiled with it."""
    found: dict[str, str] = {}
    for file in descriptor_pb2.FileDescriptorSet.FromString(data).file:
        if not file.package.startswith(_PACKAGE_PREFIX):
            continue
        lines = {tuple(place.path): place.span[0] + 1 for place in file.source_code_info.location}
        if lines:
            _collect(file, (_MESSAGES, _ENUMS, _SERVICES), (), file.package, lines, found, file)
    return found


def _collect(
    parent: Any,
    lists: tuple[int, ...],
    path: tuple[int, ...],
    scope: str,
    lines: dict[tuple[int, ...], int],
    found: dict[str, str],
    file: descriptor_pb2.FileDescriptorProto,
) -> None:
    for kind in lists:
        attribute, number = _LISTS[kind]
        for index, element in enumerate(getattr(parent, attribute)):
            place = (*path, number, index)
            name = f"{scope}.{element.name}"
            if place in lines:
                found[name] = f"{_PROTO_ROOT}{file.name}:{lines[place]}"
            _collect(element, _INSIDE.get(kind, ()), place, name, lines, found, file)


def _with_nested(messages: Any) -> Iterator[Descriptor]:
    for entry in messages:
        if not entry.GetOptions().map_entry:
            yield entry
            yield from _with_nested(entry.nested_types)


def is_map(field: FieldDescriptor) -> bool:
    """True for maps."""
    entry = field.message_type
    return entry is not None and bool(entry.GetOptions().map_entry)
