"""What an adapter's conformance.py tells the kit: nothing here knows a protocol.

    CONFORMANCE = Subject(
        adapter=ADAPTER,
        sandbox=PigeonSandbox,
        settings=settings,
        cases=[Case("buy_label", event=packed, made=labels)],
        ways_in=[WayIn("/pigeon/scan", payloads=[LEFT, ARRIVED], headers=credential)],
    )

A case says how to cause one operation and how to count its effect in the vendor's books. A way in
gives payloads that a vendor sends, and what must not be taken for one. How a payload gets to the
adapter is a function: a request, a file, a row, a message.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from google.protobuf.message import Message

from crossdock_adapters.sdk import registry
from crossdock_adapters.sdk.adapter import Adapter
from crossdock_adapters.sdk.mappings import Topic
from crossdock_adapters.sdk.sandbox import Sandbox
from crossdock_adapters.sdk.settings import Secrets

Books = Mapping[str, Any]
JSON = "json"
XML = "xml"
OTHER = "other"


class NoSubject(LookupError):
    """There is no conformance.py, or it does not say what the kit needs; the text says which."""


@dataclass(frozen=True, slots=True)
class Case:
    """How to cause one operation, and how to see in the vendor's books what it did.

    event: the message of the contract that asks for it; it is given the sandbox's books, for ids
    that the vendor made. made: how many of its effects the books hold. item: the sub-object, where
    one event means several calls. after: cases that have to be confirmed before; ready: what the
    vendor has to have done by itself since. strikes: the vendor's call that does the work; "" is
    the last with an effect that the operation makes. answered_by: the source of the way in by which
    the vendor's answer comes, where the operation does not get it itself: it is at work beside the
    operation, and its calls may be the last, so that every case of the subject gives `strikes`, and
    no other call is taken for the operation's.
    """

    operation: str
    event: Callable[[Books], Message]
    made: Callable[[Books], int]
    item: str = ""
    after: Sequence[str] = ()
    ready: Callable[[Books], bool] = lambda _: True
    strikes: str = ""
    answered_by: str = ""


@dataclass(frozen=True, slots=True)
class Malformed:
    """A payload that cannot be read. place: how the refusal has to say where; a pattern."""

    payload: bytes
    place: str


@dataclass(frozen=True, slots=True)
class UnknownCode:
    """A payload with a code that nobody has documented.

    raw: the code as the payload has it; it must be kept. field: the contract's field that it would
    be mapped to; it must stay empty or unknown, because a code without a row is never guessed. ""
    where the payload is held whole. told: the value of the field that another code beside it has a
    row for, as the vendor's own summary; then it must be that. topic: of a payload that is held
    whole, what the code speaks about: the hub must be told that the payload waits for its row.
    """

    payload: bytes
    raw: str
    field: str = ""
    told: str = ""
    topic: Topic | None = None


@dataclass(frozen=True, slots=True)
class Delivered:
    """What became of a payload on its way in. status: of a webhook's answer; 0: no webhook."""

    status: int = 0
    said: str = ""


class World(Protocol):
    """What a payload is brought into. sandbox: the vendor, simulated; hub: as the kit plays it."""

    @property
    def sandbox(self) -> Any: ...

    @property
    def hub(self) -> Any: ...


Deliver = Callable[[World, bytes], Awaitable[Delivered]]


@dataclass(frozen=True, slots=True)
class Answers:
    """What comes by a way in that tells no facts: answers that an operation waits for.

    operation: whose case is asked for; no other has to be confirmed before. silence: the vendor
    says nothing by itself from then on. said: what it answers to the case that is asked for, in the
    order in which it would, once it has what it answers to.
    """

    operation: str
    silence: Callable[[World], Awaitable[Any]]
    said: Callable[[World], Awaitable[Sequence[bytes]]]


@dataclass(frozen=True, slots=True)
class WayIn:
    """One way from the vendor to the hub. source: the webhook's path, or "poll:" and its name.

    payloads: what a vendor sends, in the order in which it happened; each becomes facts. deliver:
    brings one to the endpoint and returns once it was taken (unset: a request to the webhook, with
    `headers`, and those that `signed` makes of the very bytes). ready: returns when what a poll
    finds at first is over. media: of json and xml the kit makes broken, grown, oversize and hostile
    payloads itself. needed: places in the first payload that cannot be read when they hold
    something else: JSON pointers, or paths of elements. malformed, oversize, bombs: the same for
    other media, or more of them. unknown_codes: one more for each other table of the vendor's.
    grown: the first payload with fields and values that nobody documented.
    """

    source: str
    payloads: Sequence[bytes]
    deliver: Deliver | None = None
    ready: Callable[[World], Awaitable[None]] | None = None
    headers: Callable[[Secrets], Mapping[str, str]] | None = None
    signed: Callable[[Secrets, bytes], Mapping[str, str]] | None = None
    media: str = JSON
    content_type: str = "application/json"
    needed: Sequence[str] = ()
    malformed: Sequence[Malformed] = ()
    unknown_code: UnknownCode | None = None
    unknown_codes: Sequence[UnknownCode] = ()
    grown: bytes | None = None
    oversize: bytes | None = None
    bombs: Sequence[bytes] = ()
    # False where what is read goes to operations that wait for it, and only what cannot be read is
    # told to the hub; then `answers` are what comes twice and out of order.
    tells_facts: bool = True
    answers: Answers | None = None


@dataclass(frozen=True)
class Subject:
    """One endpoint, ready to be put through the checks.

    settings: of the endpoint, for a running sandbox; files may be made in the folder. knows: what
    the hub knows before (items, labels, …), as messages of the contract. expire: makes the vendor
    forget every token and session that it gave. settle_seconds: how long after an unknown outcome
    the sandbox (not the vendor) shows what it did. not_applicable: why checks do not apply to this
    subject, as the manifest's table says it, where another one of the same adapter passes them.
    """

    adapter: Adapter
    sandbox: type[Sandbox]
    settings: Callable[[Any, Path], Mapping[str, Any]]
    cases: Sequence[Case] = ()
    ways_in: Sequence[WayIn] = ()
    knows: Callable[[Any], Sequence[Message]] = lambda _: ()
    expire: Callable[[Any], Awaitable[Any]] | None = None
    sandbox_settings: Mapping[str, Any] = field(default_factory=dict)
    settle_seconds: float = 0.0
    tick_seconds: float = 0.02
    not_applicable: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.adapter.name

    @property
    def reasons(self) -> dict[str, dict[str, str]]:
        """Why checks do not apply, by check: the manifest's word, and the subject's own."""
        declared = self.adapter.manifest.not_applicable
        names = {*declared, *self.not_applicable}
        return {name: {**declared.get(name, {}), **self.not_applicable.get(name, {})}
                for name in names}  # fmt: skip

    def case(self, operation: str) -> Case:
        """The case of an operation. KeyError: there is none."""
        return {case.operation: case for case in self.cases}[operation]


def load(place: str) -> Subject:
    """The subject of a registered adapter, or of "module:attribute". NoSubject says what to do."""
    module, _, attribute = place.partition(":")
    if not attribute:
        package = registry.adapter(place).package
        module, attribute = f"{package}.conformance", "CONFORMANCE"
    try:
        found = getattr(import_module(module), attribute, None)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise NoSubject(f"{module} is missing: write conformance.py beside adapter.py") from None
    if not isinstance(found, Subject):
        raise NoSubject(f"{module} has no {attribute}: end it with {attribute} = Subject(…)")
    return found
