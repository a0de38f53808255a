"""What `dead-letters show` says to type next is what the hub accepts of such letters."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from crossdock.cli.dead_letters import next_steps
from crossdock.cli.many_words import GROUP_MAX
from crossdock.dead_letter.v1 import dead_letter_pb2
from crossdock_hub.delivery.causes import IN_DOUBT, cause_of
from crossdock_hub.delivery.guarding import Tally
from crossdock_hub.delivery.intervention import ALLOWED, ALLOWED_AFTER_A_LOOK
from replayed_flows import NOW, delivery, spec

# The states of the deliveries in a group of each kind; what came in has no such words.
STATES = {
    "PARKED": {"PARKED"},
    "REJECTED": {"REJECTED"},
    "UNKNOWN": set(IN_DOUBT),
    "UNROUTED": {"UNROUTED"},
    "HELD_FACT": set(),
    "HELD_PAYLOAD": set(),
}
LOOKED = "--not-found-at-vendor"


def told(kind: str, reason: str = "no", waiting: int = 1) -> list[str]:
    """The lines under a group of which one letter waits, or so many."""
    value = dead_letter_pb2.DeadLetterKind.Value(f"DEAD_LETTER_KIND_{kind}")
    group = dead_letter_pb2.DeadLetterGroup(
        id="0" * 32, kind=value, open_count=waiting, reason=reason
    )
    return list(next_steps(group))


def test_each_kind_of_group_has_its_states() -> None:
    """Proves that no kind of group of the contract is missing below."""
    names = dead_letter_pb2.DeadLetterKind.DESCRIPTOR.values_by_name
    kinds = {name.removeprefix("DEAD_LETTER_KIND_") for name in names}
    assert set(STATES) == kinds - {"UNSPECIFIED"}


@pytest.mark.parametrize("kind", sorted(kind for kind, states in STATES.items() if states))
def test_every_word_that_is_printed_is_allowed_there(kind: str) -> None:
    """Proves for each kind of group that every word on a delivery which is printed is accepted from
    each state its letters are in, with the look at the vendor where the hub asks for one, and that
    every word that is accepted is printed."""
    said = set()
    for line in told(kind):
        for word in re.findall(r"\b(retry|resubmit|skip|resolve)\b", line):
            verb = word.upper()
            said.add(verb)
            allowed = ALLOWED[verb] | (
                ALLOWED_AFTER_A_LOOK.get(verb, set()) if LOOKED in line else set()
            )
            assert STATES[kind] <= allowed, f"refused from {kind}: {line}"
    accepted = {
        verb
        for verb in ALLOWED
        if STATES[kind] <= ALLOWED[verb] | ALLOWED_AFTER_A_LOOK.get(verb, set())
    }
    assert said == accepted


def test_what_the_spending_guard_stopped_is_not_sent_to_a_replay() -> None:
    """Proves that a replay, which the guard stops as well, is not proposed for what it stopped, as
    the hub words its cause, but the words that help are, for as many as one command takes."""
    guarded = replace(spec("book"), max_per_root=1)
    bought, next_one = delivery(1, "book", "CONFIRMED"), delivery(2, "book", "READY")
    stopped = Tally([bought]).stopped(next_one, guarded, NOW)
    assert stopped is not None
    reason = cause_of(stopped, "").reason
    assert any("crossdock replay plan" in line for line in told("PARKED"))
    assert not any("replay" in line for line in told("PARKED", reason))
    for verb in ("retry", "skip"):
        for waiting, limit in ((1, ""), (900, " --limit 900"), (9_900, f" --limit {GROUP_MAX}")):
            words = f"crossdock delivery {verb} --group {'0' * 32}{limit} --reason"
            lines = told("PARKED", reason, waiting)
            assert any(words in line for line in lines), lines


def test_doubt_is_looked_up_at_the_vendor_first() -> None:
    """Proves that of work in doubt the look under its reference is said before any word."""
    lines = [line for line in told("UNKNOWN") if line]
    assert "reference" in lines[0] and not re.search("retry|resubmit|resolve|skip", lines[0])
    assert all("crossdock " in line for line in lines[1:])
