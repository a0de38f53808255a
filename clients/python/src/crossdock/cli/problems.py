"""What a command says when it cannot go on: what is wrong, why, and what to type next."""

from __future__ import annotations

import shlex
from typing import Final

from crossdock.cli.next_steps import after_transition
from crossdock.errors import (
    CallError,
    CrossdockError,
    DeadlineError,
    NoAnswerError,
    NotAllowedError,
    NotFoundError,
    TryAgainError,
    UnknownEndpointError,
    UnreachableError,
)

EXIT_FAILED: Final = 1
EXIT_USED_WRONGLY: Final = 2
EXIT_POSTED_TWICE: Final = 3
EXIT_WAITING: Final = 4
# The scope of what the one who planned a replay may not say as well.
SECOND_PERSON: Final = "second_person"
UUID_RULE: Final = "string.uuid"
# Where the ids of a kind are found.
LISTS: Final = {
    "delivery": "crossdock deliveries",
    "endpoint": "crossdock endpoint list",
    "replay": "crossdock replay list",
    "dead letter group": "crossdock dead-letters list --closed",
    "held fact": "crossdock dead-letters list, then show GROUP",
}


class CommandError(CrossdockError):
    """A command ends here.

    what: one sentence. why: the cause, where known. next_step: what to type or change.
    """

    def __init__(
        self, what: str, why: str = "", next_step: str = "", exit_code: int = EXIT_FAILED
    ) -> None:
        lines = [what]
        if why:
            lines.append(f"  why:  {why}")
        if next_step:
            lines.append(f"  next: {next_step}")
        super().__init__("\n".join(lines))
        self.what = what
        self.why = why
        self.next_step = next_step
        self.exit_code = exit_code


def explained(error: CallError, address: str, to_reach_it: str = "") -> CommandError:
    """A failed call in the words of the command line. to_reach_it: what is known to keep a hub that
    does not answer from doing so, as something to do."""
    why = error.refusal.message
    if isinstance(error, UnreachableError):
        return CommandError(
            f"the hub at {address} does not answer",
            why,
            to_reach_it or "crossdock doctor; or start one: crossdock dev",
        )
    if isinstance(error, DeadlineError):
        return CommandError(f"the hub at {address} did not answer in time", why, "crossdock doctor")
    if isinstance(error, UnknownEndpointError):
        return CommandError(
            "the hub does not know this token",
            why,
            "use the token file of an endpoint that the hub's endpoints file names",
        )
    if isinstance(error, NotAllowedError):
        return CommandError(f"refused: {error.reason}", why, _who_may(error))
    if isinstance(error, NotFoundError):
        kind = error.refusal.metadata.get("kind", "")
        lists = LISTS.get(kind, "as the system that gave it writes it")
        return CommandError("not found", why, f"check the id: {lists}")
    if isinstance(error, TryAgainError):
        return CommandError("the hub cannot take it now", why, "type the same again in a moment")
    if isinstance(error, NoAnswerError):
        return CommandError(f"no answer from the hub at {address}", why, "crossdock doctor")
    delivery = error.refusal.metadata.get("delivery", "DELIVERY")
    if error.reason == "OUTCOME_UNKNOWN":
        return CommandError(
            f"refused: {error.reason}",
            why,
            f"found it: crossdock resolve {delivery} --reference TYPE=VALUE --reason …; "
            "it is not there: the same again with --not-found-at-vendor",
        )
    return CommandError(f"refused: {error.reason}", why, _next_step(error))


def _who_may(error: NotAllowedError) -> str:
    if error.refusal.metadata.get("scope") == SECOND_PERSON:
        return "the role is right; another operator than the one who planned it types the same"
    return "use the token of the role that may"


def _next_step(error: CallError) -> str:
    """What to type after a refusal, where that is known."""
    if error.reason == "STATE_TRANSITION":
        return after_transition(error.refusal.metadata)
    if error.reason == "STALE_REVISION":
        return "type the same again if you still mean it: it goes by what is there now"
    if error.reason == "REFERENCE_TAKEN":
        value = shlex.quote(error.refusal.metadata.get("value", "NUMBER"))
        return f"see what has this number: crossdock trace {value}"
    rule = error.refusal.metadata.get("rule", "")
    if rule:
        return f"read {rule}"
    if any(each.field == "page_token" for each in error.refusal.violations):
        return "begin without --page-token"
    if any(each.rule == UUID_RULE for each in error.refusal.violations):
        return "the hub's ids are UUIDs: crossdock deliveries and crossdock replay list print them"
    return ""
