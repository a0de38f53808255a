"""What a command says when it cannot go on: what is wrong, why, and what to type next."""

from __future__ import annotations

from typing import Final

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


def explained(error: CallError, address: str) -> CommandError:
    """A failed call in the words of the command line."""
    why = error.refusal.message
    if isinstance(error, UnreachableError):
        return CommandError(
            f"the hub at {address} does not answer",
            why,
            "crossdock doctor; or start one: crossdock dev",
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
        return CommandError(f"refused: {error.reason}", why, "use the token of the role that may")
    if isinstance(error, NotFoundError):
        return CommandError("not found", why, "check the id, or list what there is")
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
    rule = error.refusal.metadata.get("rule", "")
    return CommandError(f"refused: {error.reason}", why, f"read {rule}" if rule else "")
