"""From the bytes of a dispatch to the typed event message an adapter works with."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from typing import Any

import crossdock
from crossdock.delivery.v1 import delivery_pb2
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from crossdock_adapters.sdk.outcomes import Untranslatable


def decode_event(dispatch: delivery_pb2.Dispatch) -> Any:
    """The event of a dispatch. Untranslatable when its type or its bytes make no sense."""
    try:
        message_class = event_class(dispatch.event_type)
    except KeyError:
        raise Untranslatable(
            f"the contract of this adapter has no event {dispatch.event_type!r}"
        ) from None
    try:
        return message_class.FromString(dispatch.event)
    except DecodeError:
        raise Untranslatable(f"the bytes are not a {dispatch.event_type}") from None


@cache
def event_class(full_name: str) -> Any:
    """The generated class of a message. KeyError when the contract has none of this name."""
    _import_package(full_name.rpartition(".")[0])
    descriptor = descriptor_pool.Default().FindMessageTypeByName(full_name)
    return message_factory.GetMessageClass(descriptor)


@cache
def _import_package(name: str) -> None:
    """Import the generated modules of one contract package, so that its types are known."""
    if not name.startswith(f"{crossdock.__name__}."):
        raise KeyError(name)
    try:
        package = importlib.import_module(name)
    except ModuleNotFoundError:
        raise KeyError(name) from None
    for module in pkgutil.iter_modules(package.__path__):
        if module.name.endswith("_pb2"):
            importlib.import_module(f"{name}.{module.name}")
