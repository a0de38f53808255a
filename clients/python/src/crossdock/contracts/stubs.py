"""Finds the generated class of a message by its name, importing the stub that holds it."""

from __future__ import annotations

from functools import cache
from importlib import import_module

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.message import Message

from crossdock.contracts.image import Image


@cache
def generated_class(image: Image, full_name: str) -> type[Message]:
    """The class in the generated stubs. KeyError: the contract has no such message."""
    file = image.pool.FindMessageTypeByName(full_name).file.name
    import_module(file.removesuffix(".proto").replace("/", ".") + "_pb2")
    kind = descriptor_pool.Default().FindMessageTypeByName(full_name)
    return message_factory.GetMessageClass(kind)
