"""Prints file descriptors as .proto source, for teams that compile the contract themselves.

The output holds everything but comments: it is used for files whose source is not at hand, above
all buf/validate/validate.proto, which reaches us as a descriptor inside the image.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from google.protobuf import descriptor, descriptor_pb2, message, message_factory, text_format
from google.protobuf.descriptor_pool import DescriptorPool

_Field = descriptor_pb2.FieldDescriptorProto
_INDENT = "  "
_LAST_FIELD_NUMBER = 536_870_911
_LAST_ENUM_NUMBER = 2_147_483_647


def print_files(image: bytes, names: Iterable[str] | None = None) -> dict[str, str]:
    """The .proto source of the files of a compiled image, by file name.

    image: a serialized google.protobuf.FileDescriptorSet with all imports.
    names: which files; None means all but google/protobuf, which every compiler brings along.
    """
    files = descriptor_pb2.FileDescriptorSet.FromString(image).file
    pool = DescriptorPool()
    for file in files:
        pool.Add(file)
    wanted = None if names is None else set(names)
    return {
        file.name: _Printer(pool, file).source()
        for file in files
        if (wanted is None and not file.name.startswith("google/protobuf/"))
        or (wanted is not None and file.name in wanted)
    }


class _Printer:
    """Prints one file; its options are read with the pool's own classes, which know extensions."""

    def __init__(self, pool: DescriptorPool, file: descriptor_pb2.FileDescriptorProto) -> None:
        self._pool = pool
        self._file = file
        self._proto3 = file.syntax == "proto3"

    def source(self) -> str:
        file = self._file
        lines = [f'syntax = "{file.syntax or "proto2"}";', "", f"package {file.package};", ""]
        public = set(file.public_dependency)
        for index, name in enumerate(file.dependency):
            lines.append(f'import {"public " if index in public else ""}"{name}";')
        if file.dependency:
            lines.append("")
        options = [f"option {text};" for text in self._options(file.options)]
        lines += options + ([""] if options else [])
        for enum in file.enum_type:
            lines += [*self._enum(enum), ""]
        for entry in file.message_type:
            lines += [*self._message(entry, f"{file.package}.{entry.name}"), ""]
        lines += self._extensions(file.extension)
        for service in file.service:
            lines += [*self._service(service), ""]
        return "\n".join(lines).rstrip("\n") + "\n"

    def _options(self, raw: message.Message) -> Iterator[str]:
        """Each set option as `name = value`, extensions by their full name in brackets."""
        try:
            kind = self._pool.FindMessageTypeByName(raw.DESCRIPTOR.full_name)
        except KeyError:
            options = raw
        else:
            options = message_factory.GetMessageClass(kind).FromString(raw.SerializeToString())
        for field, value in options.ListFields():
            name = f"({field.full_name})" if field.is_extension else field.name
            for item in value if field.is_repeated else (value,):
                yield f"{name} = {_option_value(field, item)}"

    def _bracketed(self, raw: message.Message, *more: str) -> str:
        parts = [*more, *self._options(raw)]
        return f" [{', '.join(parts)}]" if parts else ""

    def _enum(self, enum: descriptor_pb2.EnumDescriptorProto) -> list[str]:
        body = [f"option {text};" for text in self._options(enum.options)]
        body += [
            f"{value.name} = {value.number}{self._bracketed(value.options)};"
            for value in enum.value
        ]
        ranges = [(r.start, r.end) for r in enum.reserved_range]
        body += _reserved(ranges, enum.reserved_name, _LAST_ENUM_NUMBER)
        return _block(f"enum {enum.name}", body)

    def _message(self, entry: descriptor_pb2.DescriptorProto, full_name: str) -> list[str]:
        body = [f"option {text};" for text in self._options(entry.options)]
        body += _reserved(
            [(r.start, r.end - 1) for r in entry.reserved_range],
            entry.reserved_name,
            _LAST_FIELD_NUMBER,
        )
        for extension in entry.extension_range:
            span = _span(extension.start, extension.end - 1, _LAST_FIELD_NUMBER)
            body.append(f"extensions {span};")
        maps = {}
        for nested in entry.nested_type:
            if nested.options.map_entry:
                maps[f".{full_name}.{nested.name}"] = nested
            else:
                body += self._message(nested, f"{full_name}.{nested.name}")
        for enum in entry.enum_type:
            body += self._enum(enum)
        body += self._extensions(entry.extension)
        body += self._fields(entry, maps)
        return _block(f"message {entry.name}", body)

    def _fields(
        self,
        entry: descriptor_pb2.DescriptorProto,
        maps: dict[str, descriptor_pb2.DescriptorProto],
    ) -> list[str]:
        lines: list[str] = []
        printed: set[int] = set()
        for field in entry.field:
            if not field.HasField("oneof_index") or field.proto3_optional:
                lines.append(self._field(field, maps))
                continue
            if field.oneof_index in printed:
                continue
            printed.add(field.oneof_index)
            oneof = entry.oneof_decl[field.oneof_index]
            body = [f"option {text};" for text in self._options(oneof.options)]
            body += [
                self._field(member, maps, in_oneof=True)
                for member in entry.field
                if member.HasField("oneof_index") and member.oneof_index == field.oneof_index
            ]
            lines += _block(f"oneof {oneof.name}", body)
        return lines

    def _field(
        self,
        field: _Field,
        maps: dict[str, descriptor_pb2.DescriptorProto],
        in_oneof: bool = False,
    ) -> str:
        defaults = [f"default = {_default(field)}"] if field.HasField("default_value") else []
        tail = f"{field.name} = {field.number}{self._bracketed(field.options, *defaults)};"
        entry = maps.get(field.type_name)
        if entry is not None:
            return f"map<{_type(entry.field[0])}, {_type(entry.field[1])}> {tail}"
        label = ""
        if field.label == _Field.LABEL_REPEATED:
            label = "repeated "
        elif field.label == _Field.LABEL_REQUIRED:
            label = "required "
        elif field.proto3_optional or (not self._proto3 and not in_oneof):
            label = "optional "
        return f"{label}{_type(field)} {tail}"

    def _extensions(self, extensions: Iterable[_Field]) -> list[str]:
        by_extendee: dict[str, list[str]] = {}
        for field in extensions:
            label = "repeated " if field.label == _Field.LABEL_REPEATED else "optional "
            text = (
                f"{label}{_type(field)} {field.name} = {field.number}"
                f"{self._bracketed(field.options)};"
            )
            by_extendee.setdefault(field.extendee, []).append(text)
        lines: list[str] = []
        for extendee, body in by_extendee.items():
            lines += [*_block(f"extend {extendee}", body), ""]
        return lines

    def _service(self, service: descriptor_pb2.ServiceDescriptorProto) -> list[str]:
        body = [f"option {text};" for text in self._options(service.options)]
        for method in service.method:
            asks = f"{'stream ' if method.client_streaming else ''}{method.input_type}"
            answers = f"{'stream ' if method.server_streaming else ''}{method.output_type}"
            head = f"rpc {method.name}({asks}) returns ({answers})"
            options = [f"option {text};" for text in self._options(method.options)]
            body += _block(head, options) if options else [f"{head};"]
        return _block(f"service {service.name}", body)


def _block(head: str, body: list[str]) -> list[str]:
    return [f"{head} {{", *(_INDENT + line if line else line for line in body), "}"]


def _option_value(field: descriptor.FieldDescriptor, value: object) -> str:
    if field.message_type is not None:
        assert isinstance(value, message.Message)
        return f"{{ {text_format.MessageToString(value, as_one_line=True)} }}"
    if field.enum_type is not None:
        assert isinstance(value, int)
        return field.enum_type.values_by_number[value].name
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value) if isinstance(value, str) else str(value)


def _default(field: _Field) -> str:
    if field.type in (_Field.TYPE_STRING, _Field.TYPE_BYTES):
        return json.dumps(field.default_value)
    return field.default_value


def _type(field: _Field) -> str:
    return field.type_name or _Field.Type.Name(field.type).removeprefix("TYPE_").lower()


def _span(start: int, end: int, last: int) -> str:
    if start == end:
        return str(start)
    return f"{start} to {'max' if end >= last else end}"


def _reserved(ranges: list[tuple[int, int]], names: Iterable[str], last: int) -> list[str]:
    lines = [f"reserved {_span(start, end, last)};" for start, end in ranges]
    quoted = ", ".join(f'"{name}"' for name in names)
    return [*lines, f"reserved {quoted};"] if quoted else lines
