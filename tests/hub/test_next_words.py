"""What `dead-letters show` says to type next is what the hub accepts of such letters."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from crossdock.cli.dead_letters import next_steps
from crossdock.cli.many_words import GROUP_MAX
from crossdock.dead_letter.v1 import dead_letter_pb2, dead_letter_service_pb2
from crossdock_hub.delivery.causes import IN_DOUBT
from crossdock_hub.delivery.guarding import Tally
from crossdock_hub.delivery.intervention import ALLOWED, ALLOWED_AFTER_A_LOOK
from crossdock_hub.reading.presenting import delivery_message
from crossdock_hub.records import DeliveryRecord
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


def told(
    kind: str,
    waiting: int = 1,
    *,
    in_doubt: bool = False,
    stopped: DeliveryRecord | None = None,
    standing: str = "STOPPED",
) -> list[str]:
    """The lines under a group of which one letter waits, or so many; a member of it is shown."""
    value = dead_letter_pb2.DeadLetterKind.Value(f"DEAD_LETTER_KIND_{kind}")
    answer = dead_letter_service_pb2.GetDeadLettersResponse()
    answer.group.MergeFrom(
        dead_letter_pb2.DeadLetterGroup(id="0" * 32, kind=value, open_count=waiting, reason="no")
    )
    member = answer.members.add(in_doubt=in_doubt)
    member.standing = dead_letter_pb2.DeadLetterStanding.Value(f"DEAD_LETTER_STANDING_{standing}")
    if stopped is not None:
        member.delivery.CopyFrom(delivery_message(stopped))
    return list(next_steps(answer))


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
    assert any("crossdock replay plan" in line for line in told("PARKED"))
    assert not any("replay" in line for line in told("PARKED", stopped=stopped))
    for verb in ("retry", "skip"):
        for waiting, limit in ((1, ""), (900, " --limit 900"), (9_900, f" --limit {GROUP_MAX}")):
            words = f"crossdock delivery {verb} --group {'0' * 32}{limit} --reason"
            lines = told("PARKED", waiting, stopped=stopped)
            assert any(words in line for line in lines), lines


@pytest.mark.parametrize("kind", ["PARKED", "REJECTED"])
def test_what_stopped_in_doubt_is_no_plain_retry(kind: str) -> None:
    """Proves that of what stopped while nobody knows what a call did, the look at the vendor and
    the words after it are printed, as of other doubt, and neither a retry on a word alone nor a
    replay, which the hub refuses."""
    lines = told(kind, in_doubt=True)
    assert lines == told("UNKNOWN")
    for line in lines:
        assert "retry" not in line or LOOKED in line
        assert "replay" not in line
    assert told(kind, in_doubt=True, standing="UNDER_WAY") == told(kind, standing="UNDER_WAY")


@pytest.mark.parametrize("kind", ["PARKED", "REJECTED"])
def test_of_letters_that_are_not_shown_nothing_is_said(kind: str) -> None:
    """Proves that where no letter that waits is on the page, and so nobody can tell whether one is
    in doubt, no word is proposed but a look at those."""
    (_, line) = told(kind, standing="UNDER_WAY")
    assert "none of these waits" in line and "crossdock" not in line


@pytest.mark.parametrize(
    ("kind", "command"),
    [
        ("HELD_FACT", "crossdock dead-letters drive ID"),
        ("HELD_PAYLOAD", "crossdock dead-letters discard ID"),
        ("UNROUTED", "crossdock delivery skip ID"),
        ("REJECTED", "crossdock replay plan --group"),
    ],
)
def test_each_other_kind_has_its_words(kind: str, command: str) -> None:
    """Proves that what came in is driven or discarded, what nobody serves is skipped, and what was
    refused without a doubt may be replayed together."""
    words = " ".join(told(kind)).replace("or discard", "or crossdock dead-letters discard")
    assert command in words


def test_doubt_is_looked_up_at_the_vendor_first() -> None:
    """Proves that of work in doubt the look under its reference is said before any word."""
    lines = [line for line in told("UNKNOWN") if line]
    assert "reference" in lines[0] and not re.search("retry|resubmit|resolve|skip", lines[0])
    assert all("crossdock " in line for line in lines[1:])
