"""What an adapter can say about one call to a vendor: its result, or one of a few words.

    Confirmed      returned: the vendor did it, here is the proof
    NotFound       returned by a look-up: the vendor does not know our reference
    FoundRejected  returned by a look-up: the vendor took our reference, and refused the work
    VendorOutcome  the root of everything an adapter raises on purpose
    ├── Retry           proven unprocessed: try again later
    │   ├── Throttled       the vendor limits calls (a documented 429): the hub sends fewer
    │   ├── NotTried        nothing was tried (no lease left): says nothing about the vendor
    │   └── Unreachable     no connection to the vendor; VendorHttp says it
    ├── Reject          a documented business refusal: trying again changes nothing
    ├── NeedsPerson     nothing automatic can help (the delivery is parked)
    ├── Untranslatable  the message cannot be put into the vendor's words (parked)
    └── OutcomeUnknown  something left for the vendor and nobody knows what became of it
        ├── AnswerLater     the vendor has it, and answers later as it always does
        └── KnownAlready    the vendor had our reference before, and does not say what came of it

Any other exception counts as unknown once a byte with an effect left for the vendor, and before
that as Untranslatable; a hub that is away (HubAway, or an error of HubClient) counts as NotTried.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from google.protobuf.message import Message

from crossdock_adapters.sdk.mappings import UnsentWord


@dataclass(frozen=True, slots=True)
class Reference:
    """One id the vendor gave or keeps: `type` says which ("sales_order", "tracking_number")."""

    type: str
    value: str


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The vendor did the work.

    `references` are the vendor's document numbers and ids. `facts` are request messages of the
    contract (what the vendor told us: a label, a tracking number); the hub applies them under
    the same ownership rules as any write. `note` is for people.

    `duplicates` are what a look-up found beside the one it adopts, which is the oldest: the hub
    keeps them with the delivery and raises them, because somebody has to take them back.
    `found_by` is the reference under which a look-up found it, as the vendor's answer says; one
    that is not the work's own proves nothing, and the delivery stays unknown.
    """

    references: Sequence[Reference] = ()
    facts: Sequence[Message] = ()
    note: str = ""
    duplicates: Sequence[Reference] = ()
    found_by: str | None = None


@dataclass(frozen=True, slots=True)
class NotFound:
    """The vendor answered a look-up and does not know our reference."""

    note: str = ""


@dataclass(frozen=True, slots=True)
class FoundRejected:
    """The vendor's own record of our reference says that it refused the work, for good.

    Not to be told because a question failed: that proves nothing of what is asked about. `code` is
    the vendor's own code.
    """

    code: str
    reason: str = ""


class VendorOutcome(Exception):
    """Root of the words an adapter raises; `reason` is shown to operators, so no secrets."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Retry(VendorOutcome):
    """Proven unprocessed: connection refused, DNS, TLS, a documented 429 or 503.

    `after_seconds` is the vendor's own wish (Retry-After); 0 leaves it to the hub's back-off.
    """

    def __init__(self, after_seconds: float = 0.0, reason: str = "") -> None:
        super().__init__(reason or "the vendor did not process the call")
        self.after_seconds = max(0.0, float(after_seconds))


class Throttled(Retry):
    """A documented 429: the vendor did nothing because there are too many calls.

    `after_seconds` holds back every call to the vendor's system, not only this one.
    """


class NotTried(Retry):
    """The attempt ended before it began: the vendor has nothing to do with it."""


class Unreachable(Retry):
    """No connection: refused, DNS, TLS, or none in time. Nothing left this machine."""


class Reject(VendorOutcome):
    """A business refusal the vendor documents; `code` is the vendor's own code."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class NeedsPerson(VendorOutcome):
    """Only a person can go on (missing mapping, locked account): the delivery is parked."""


class Untranslatable(NeedsPerson):
    """The delivery cannot be put into the vendor's words; nothing was sent.

    unsent: set where that is for want of a row. The delivery then goes again by itself as soon as
    a row says what to send; without one a person has to send it again.
    """

    def __init__(self, reason: str, unsent: UnsentWord | None = None) -> None:
        super().__init__(reason)
        self.unsent = unsent

    @classmethod
    def for_want_of(
        cls, unsent: UnsentWord, kind: str, problem: str, code: str = "CODE"
    ) -> Untranslatable:
        """No row says what to send; the reason says which command does. kind: of the endpoint;
        code: what the vendor calls such a word. Of one that no row can mean it says that instead.
        """
        if not unsent.may_have_row:
            rule = "a row means 1 to 64 capitals, digits or _"
            said = f"{problem}, and no row can mean {unsent.canonical!r}: {rule}"
            ways = "correct it where it comes from, or give it a code in the endpoint's settings"
            return cls(f"{said}; {ways}, then retry", unsent)
        return cls(f"{problem}: say it with {unsent.command(kind, code)}", unsent)


class OutcomeUnknown(VendorOutcome):
    """Something left for the vendor and its effect is not known; never repeated blindly.

    `after_seconds` is the vendor's own wish (Retry-After): how long to ask it nothing about this.
    """

    def __init__(self, reason: str, after_seconds: float = 0.0) -> None:
        super().__init__(reason)
        self.after_seconds = max(0.0, float(after_seconds))


class AnswerLater(OutcomeUnknown):
    """The vendor has it and answers later, because that is how it works: a batch, a result file.

    The hub asks again, as after any unknown outcome, and holds nothing against the vendor: who
    takes work is there. An answer that is overdue is a plain OutcomeUnknown.
    """


class KnownAlready(OutcomeUnknown):
    """The vendor refuses a message id or key of ours because it had it before: it detects doubles.

    What became of the first is not said, so that it has to be looked up: it may have been refused.
    """


@contextmanager
def no_retry(because: str) -> Iterator[None]:
    """What is asked after an effect: "proven unprocessed" is no longer true, and a Retry of it says
    that nobody knows. because: what was done."""
    try:
        yield
    except Retry as trouble:
        raise OutcomeUnknown(f"{because}; then: {trouble.reason}") from trouble
