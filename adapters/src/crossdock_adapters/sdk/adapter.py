"""An adapter: its manifest, and the functions that do its operations, look-ups and polls."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Mapping
from copy import copy
from dataclasses import dataclass, replace
from importlib import resources
from typing import Any, TypeVar

from crossdock_adapters.sdk.manifest import Manifest, ManifestError, OperationClass, parse
from crossdock_adapters.sdk.mappings import Mappings, file_of
from crossdock_adapters.sdk.outcomes import Confirmed, FoundRejected, NotFound
from crossdock_adapters.sdk.settings import Secrets, Settings
from crossdock_adapters.sdk.work import HeldPayload, Poll, Webhook, Work

ENTRY_POINT_GROUP = "crossdock.adapters"

Connect = Callable[[Settings, Secrets], Awaitable[Any]]
Operate = Callable[[Work, Any], Awaitable[Confirmed]]
Draft = Callable[[Work, Any], Awaitable[str]]
LookUp = Callable[[Work, Any], Awaitable[Confirmed | NotFound | FoundRejected]]
Pull = Callable[[Poll, Any], Awaitable[None]]
Receive = Callable[[Webhook, Any], Awaitable[None]]
TranslateHeld = Callable[[Poll, HeldPayload, Any], Awaitable[None]]
Test = Callable[[Any], Awaitable[None]]
F = TypeVar("F", bound=Callable[..., Awaitable[Any]])

# What each class needs besides the operation itself, to be safe after an unknown outcome.
NEEDS_LOOK_UP = frozenset({OperationClass.SEARCHABLE})
NEEDS_DRAFT = frozenset({OperationClass.TWO_STEP})


@dataclass(frozen=True, slots=True)
class PollSpec:
    """A poll, the setting that says how often in seconds, and what translates a held payload."""

    name: str
    pull: Pull
    interval_setting: str
    translate_held: TranslateHeld | None = None


@dataclass(frozen=True, slots=True)
class WebhookSpec:
    """A path the adapter's web server listens on (POST); `check` runs before `receive`."""

    path: str
    check: Receive
    receive: Receive


class Adapter:
    """The wiring of one endpoint; make it with `Adapter.load(__package__)`.

    Functions are added with the decorators. `mappings` has the rows of `mappings.toml` beside the
    manifest, and from the first registration on what the hub makes of them. `check()` proves that
    manifest and functions agree; the runner calls it before anything else.
    """

    def __init__(self, manifest: Manifest, package: str = "") -> None:
        self.manifest = manifest
        self.package = package
        self.connect_function: Connect | None = None
        self.test_function: Test | None = None
        self.operations: dict[str, Operate] = {}
        self.drafts: dict[str, Draft] = {}
        self.look_ups: dict[str, LookUp] = {}
        self.polls: dict[str, PollSpec] = {}
        self.webhooks: dict[str, WebhookSpec] = {}
        self.mappings = Mappings()

    @classmethod
    def load(cls, package: str | None) -> Adapter:
        """Read adapter.toml beside the package's modules. ManifestError lists all problems."""
        if not package:
            raise ManifestError("adapter.toml", ["call Adapter.load(__package__) in a package"])
        name = f"{package}/adapter.toml"
        try:
            text = resources.files(package).joinpath("adapter.toml").read_text("utf-8")
        except FileNotFoundError:
            raise ManifestError(name, ["the file is missing"]) from None
        adapter = cls(parse(text, name), package)
        adapter.mappings = Mappings(file_of(package))
        return adapter

    @property
    def name(self) -> str:
        return self.manifest.name

    def settling(self, seconds: Mapping[str, float]) -> Adapter:
        """The same with other times, by operation, until the vendor's books can be trusted.

        ValueError: the manifest has no such time for an operation.
        """
        operations = dict(self.manifest.operations)
        known = sorted(name for name, each in operations.items() if each.settle_after_seconds)
        for name, settle_seconds in seconds.items():
            if name not in known:
                raise ValueError(
                    f"settle_after_seconds: {self.name} has none for {name}; it has for "
                    f"{', '.join(known) or 'no operation'}"
                )
            operations[name] = replace(operations[name], settle_after_seconds=settle_seconds)
        changed = copy(self)
        changed.manifest = replace(self.manifest, operations=operations)
        return changed

    def behind(self, system: str) -> Adapter:
        """The same in front of another system than its manifest's, whose budget it shares with
        whatever else names it; "": the manifest's."""
        changed = copy(self)
        changed.manifest = replace(self.manifest, system=system or self.manifest.system)
        return changed

    def connect(self, function: F) -> F:
        """`async (settings, secrets) -> vendor client`: one per endpoint, with `close()`."""
        self.connect_function = function
        return function

    def test_connection(self, function: F) -> F:
        """`async (vendor) -> None`: prove the vendor answers and accepts us; raise if not.

        Without it the runner calls the vendor client's `test()`.
        """
        self.test_function = function
        return function

    def operation(self, name: str) -> Callable[[F], F]:
        """`async (work, vendor) -> Confirmed` for one operation of the manifest.

        Of a two-step operation it confirms `work.draft`, and nothing else: by that id a repeat
        changes nothing at the vendor.
        """

        def register(function: F) -> F:
            self._once(self.operations, "operation", name)
            self.operations[name] = function
            return function

        return register

    def draft(self, name: str) -> Callable[[F], F]:
        """`async (work, vendor) -> the draft's id`: the first step of a two-step operation.

        It may run again as long as nobody has heard of a draft, so what it makes has to be
        harmless. The hub keeps the id before the operation's function gets it as `work.draft`.
        """

        def register(function: F) -> F:
            self._once(self.drafts, "draft", name)
            self.drafts[name] = function
            return function

        return register

    def look_up(self, name: str) -> Callable[[F], F]:
        """`async (work, vendor) -> Confirmed | NotFound | FoundRejected`: find what may be done.

        Only an exact match of `work.reference` is a find; an error is raised, never NotFound.
        """

        def register(function: F) -> F:
            self._once(self.look_ups, "look_up", name)
            self.look_ups[name] = function
            return function

        return register

    def poll(
        self, name: str, interval_setting: str = "", translate_held: TranslateHeld | None = None
    ) -> Callable[[F], F]:
        """`async (poll, vendor) -> None`, run every so often.

        The interval is the setting `<name>_interval_seconds` unless named otherwise.
        `translate_held`, `async (poll, held, vendor) -> None`, is given a payload that this poll
        held, once more: it returns when its facts are durable in the hub, or calls `poll.hold`.
        Leave it out where an old payload could write over newer state.
        """

        def register(function: F) -> F:
            self._once(self.polls, "poll", name)
            setting = interval_setting or f"{name}_interval_seconds"
            self.polls[name] = PollSpec(name, function, setting, translate_held)
            return function

        return register

    def webhook(self, path: str, *, check: Receive) -> Callable[[F], F]:
        """`async (hook, vendor) -> None`: return when its facts are durable in the hub.

        `check`, of the same form, runs first and raises Refused unless the sender has proven who
        it is. After it, an error makes the hub hold the payload raw instead of losing it.
        """

        def register(function: F) -> F:
            self._once(self.webhooks, "webhook", path)
            self.webhooks[path] = WebhookSpec(path, check, function)
            return function

        return register

    def check(self) -> None:
        """Raise ManifestError unless every declared operation is wired, and nothing else."""
        problems = [] if self.connect_function else ["no function is marked @ADAPTER.connect"]
        declared = self.manifest.operations
        for name, operation in declared.items():
            if name not in self.operations:
                problems.append(f"operation {name} has no function")
            if operation.operation_class in NEEDS_LOOK_UP and name not in self.look_ups:
                problems.append(f"operation {name} is searchable and has no look_up function")
            if operation.operation_class in NEEDS_DRAFT and name not in self.drafts:
                problems.append(f"operation {name} is two_step and has no draft function")
            if name in self.drafts and operation.operation_class not in NEEDS_DRAFT:
                problems.append(f"draft {name} belongs to an operation that is not two_step")
        wired = (
            ("operation", self.operations),
            ("look_up", self.look_ups),
            ("draft", self.drafts),
        )
        for kind, found in wired:
            problems += [
                f"{kind} {name} is not in the manifest" for name in found if name not in declared
            ]
        for poll in self.polls.values():
            declaration = self.manifest.settings.get(poll.interval_setting)
            if declaration is None or declaration.kind != "seconds":
                wanted = f"{poll.interval_setting} of kind seconds"
                problems.append(f"poll {poll.name} needs a setting {wanted}")
        problems += [
            f"webhook {path} must start with /"
            for path in self.webhooks
            if not path.startswith("/")
        ]
        if problems:
            raise ManifestError(f"{self.package or self.name}", problems)

    def _once(self, found: dict[str, Any], kind: str, name: str) -> None:
        if name in found:
            raise ManifestError(self.package or self.name, [f"{kind} {name} is defined twice"])


def same_secret(given: str | bytes, expected: str | bytes) -> bool:
    """Compare a credential in constant time."""
    left = given.encode() if isinstance(given, str) else given
    right = expected.encode() if isinstance(expected, str) else expected
    return hmac.compare_digest(left, right)
