"""Paths of fields that carry an option, through embedded and repeated messages, and their values.

A contract nests a few levels deep; the tree of fields that lead to such a leaf is compiled once, so
that finding the values in a message touches nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from crossdock.contracts.image import is_map

MAXIMUM_DEPTH = 12

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Leaf(Generic[T]):
    """A field with what was picked from its options. is_message: it is one message."""

    name: str
    repeated: bool
    is_message: bool
    what: T


@dataclass(frozen=True, slots=True)
class Branch(Generic[T]):
    """A message field that leads to leaves. optional: asking for it costs a presence check."""

    name: str
    repeated: bool
    tree: Tree[T]


@dataclass(frozen=True, slots=True)
class Tree(Generic[T]):
    """The leaves of one message type and the way to those further down."""

    leaves: tuple[Leaf[T], ...]
    branches: tuple[Branch[T], ...]

    def paths(self, prefix: str = "") -> Iterator[tuple[str, T]]:
        """Each leaf as "order.lines.item_number" with what was picked."""
        for leaf in self.leaves:
            yield prefix + leaf.name, leaf.what
        for branch in self.branches:
            yield from branch.tree.paths(f"{prefix}{branch.name}.")

    def values(self, message: Any, prefix: str = "") -> Iterator[tuple[str, T, Any]]:
        """Each set value as ("order.lines[2].item_number", what was picked, value)."""
        for leaf in self.leaves:
            # A message that is not set reads as an empty one.
            if leaf.is_message and not message.HasField(leaf.name):
                continue
            value = getattr(message, leaf.name)
            if not value:
                continue
            if leaf.repeated:
                for index, item in enumerate(value):
                    yield f"{prefix}{leaf.name}[{index}]", leaf.what, item
            else:
                yield prefix + leaf.name, leaf.what, value
        for branch in self.branches:
            if branch.repeated:
                for index, item in enumerate(getattr(message, branch.name)):
                    yield from branch.tree.values(item, f"{prefix}{branch.name}[{index}].")
            elif message.HasField(branch.name):
                inner = getattr(message, branch.name)
                yield from branch.tree.values(inner, f"{prefix}{branch.name}.")


def compile_tree(
    kind: Descriptor, pick: Callable[[FieldDescriptor], T | None], depth: int = MAXIMUM_DEPTH
) -> Tree[T]:
    """The tree of fields for which `pick` returns something, down to `depth` levels."""
    leaves: list[Leaf[T]] = []
    branches: list[Branch[T]] = []
    for field in kind.fields:
        what = pick(field)
        if what is not None:
            is_message = field.message_type is not None and not field.is_repeated
            leaves.append(Leaf(field.name, field.is_repeated, is_message, what))
        elif field.message_type is not None and not is_map(field) and depth > 0:
            tree = compile_tree(field.message_type, pick, depth - 1)
            if tree.leaves or tree.branches:
                branches.append(Branch(field.name, field.is_repeated, tree))
    return Tree(tuple(leaves), tuple(branches))


def field_at(kind: Descriptor, path: str) -> tuple[FieldDescriptor, ...]:
    """The fields that a path like "shipment.packages" walks through; empty: no such path."""
    fields: list[FieldDescriptor] = []
    at: Descriptor | None = kind
    for name in path.split("."):
        field = None if at is None else at.fields_by_name.get(name)
        if field is None:
            return ()
        fields.append(field)
        at = field.message_type
    return tuple(fields)
