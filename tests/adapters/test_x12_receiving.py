"""Interchanges that come twice, with other content, too late or not at all."""

from __future__ import annotations

import zlib
from datetime import date, timedelta
from hashlib import sha256
from random import Random
from unittest.mock import patch

import pytest
from crossdock_adapters.sdk.x12 import envelopes, receiving
from crossdock_adapters.sdk.x12.isa import MAX_CONTROL_NUMBER
from crossdock_adapters.sdk.x12.receiving import Day, Decision, Record, RecordFull, Seen, Verdict
from hypothesis import given
from hypothesis import strategies as st
from test_x12 import BODY

TODAY = date(2026, 3, 5)
KEPT_DAYS = 90
# What the hub keeps of a cursor.
MAX_CURSOR_BYTES = 65_536


def digest_of(number: int) -> str:
    """Other letters for each, because those of real digests cannot be packed."""
    return sha256(str(number).encode()).hexdigest()[:24]


def come(record: Record, number: int, content: str = "same", day: date = TODAY) -> Decision:
    """What the interchange is, with the record taken to the hub and back."""
    kept = receiving.decode(receiving.encode(record))
    return receiving.decide(kept, number, content, day, KEPT_DAYS)


def after(*numbers: int) -> Record:
    """The record once these came."""
    record = Record()
    for number in numbers:
        record = come(record, number).record
    return record


@given(st.lists(st.tuples(st.integers(1, 60), st.sampled_from("ab")), max_size=80))
def test_each_number_is_taken_once(steps: list[tuple[int, str]]) -> None:
    """Proves for any order of arrival that a number is new exactly the first time, a duplicate
    with the same content and a conflict with another, and that what is told missing is what lies
    behind the newest and never came."""
    record, came = Record(), dict[int, str]()
    for number, content in steps:
        decision = come(record, number, content)
        if number not in came:
            assert decision.verdict is Verdict.NEW
            came[number] = content
        else:
            same = came[number] == content
            assert decision.verdict is (Verdict.DUPLICATE if same else Verdict.CONFLICT)
            assert decision.record == record
        record = decision.record
    assert record.newest == max(came, default=0)
    first = next(iter(came), 0)
    assert set(record.missing) == {n for n in range(first, record.newest) if n not in came}


def test_a_gap_is_told_and_filled() -> None:
    """Proves that the numbers in between are told once, that one that comes later fills its place
    and is told to be late, and that nothing is missing in the end."""
    decision = come(after(5), 8)
    assert (decision.gap, decision.late, decision.record.missing) == ((6, 7), False, (6, 7))
    decision = come(decision.record, 6)
    assert (decision.verdict, decision.late, decision.record.newest) == (Verdict.NEW, True, 8)
    assert come(decision.record, 7).record.missing == ()
    assert come(after(5, 8), 9).gap == ()


def test_what_never_comes_is_awaited_as_long_as_numbers_are_known() -> None:
    """Proves that a number that was skipped is missing as long as numbers are kept, asked for or
    with the next one that comes, and no longer."""
    record = after(5, 8)
    last = TODAY + timedelta(days=KEPT_DAYS)
    assert receiving.missing(record, last, KEPT_DAYS) == (6, 7)
    assert receiving.missing(record, last + timedelta(days=1), KEPT_DAYS) == ()
    assert come(record, 9, day=last).record.missing == (6, 7)
    assert come(record, 9, day=last + timedelta(days=1)).record.missing == ()


def test_after_the_highest_number_comes_the_first() -> None:
    """Proves that the counter wraps without a gap, and that one over the wrap is told."""
    record = after(MAX_CONTROL_NUMBER - 1, MAX_CONTROL_NUMBER, 1)
    assert (record.newest, record.missing) == (1, ())
    assert come(after(MAX_CONTROL_NUMBER - 1), 1).gap == (MAX_CONTROL_NUMBER,)


def test_a_counter_that_was_set_anew_is_told() -> None:
    """Proves that a number far away is taken, told as a restart, and opens no gap of millions."""
    decision = come(after(5_000_000), 1)
    assert (decision.verdict, decision.restarted, decision.gap) == (Verdict.NEW, True, ())
    assert come(decision.record, 2).restarted is False


def test_numbers_stay_known_as_long_as_was_said() -> None:
    """Proves that a number is known for the days it is kept, and free again after them."""
    record = after(5)
    last = TODAY + timedelta(days=KEPT_DAYS)
    assert come(record, 5, day=last).verdict is Verdict.DUPLICATE
    assert come(record, 5, day=last + timedelta(days=1)).verdict is Verdict.NEW


def test_a_counter_that_begins_again_is_taken_after_the_days() -> None:
    """Proves for a partner whose counter begins again at 1 after its numbers' days are over that
    every interchange is new, and that each number is known until then, however many follow it."""
    record, last, daily, kept_days = Record(), 1_999, 140, 10
    for place in range(30 * daily):
        day = TODAY + timedelta(days=place // daily)
        decision = receiving.decide(record, place % last + 1, "same", day, kept_days)
        assert decision.verdict is Verdict.NEW, place
        record = decision.record
        known = place - kept_days * daily
        if place % 97 == 0 and known >= 0:
            again = receiving.decide(record, known % last + 1, "same", day, kept_days)
            assert again.verdict is Verdict.CONFLICT


def test_numbers_with_holes_stay_known() -> None:
    """Proves for a sender whose counter serves other partners, too, that every number is known
    until its days are over, and that all of them fit in what the hub keeps."""
    record, daily = Record(), 50
    for place in range((KEPT_DAYS + 1) * daily):
        day = TODAY + timedelta(days=place // daily)
        record = receiving.decide(record, 3 * place + 1, "same", day, KEPT_DAYS).record
    assert len(receiving.encode(record)) < MAX_CURSOR_BYTES
    last = TODAY + timedelta(days=KEPT_DAYS)
    kept = receiving.decode(receiving.encode(record))
    for place in range((KEPT_DAYS + 1) * daily):
        decision = receiving.decide(kept, 3 * place + 1, "same", last, KEPT_DAYS)
        assert decision.verdict is not Verdict.NEW, place
    assert come(record, 2, day=last).verdict is Verdict.NEW
    assert come(record, 1, day=last + timedelta(days=1)).verdict is Verdict.NEW


def test_what_does_not_fit_is_refused_before_it_is_forgotten() -> None:
    """Proves that a sender of more numbers than can be kept is told, with every number that came
    still known, and that what the hub keeps never grows over its limit."""
    record, number, came, fullness = Record(), 1, list[int](), [0.0]
    # Less room, for a shorter test, and what may come between two looks at it.
    chance, room, between = Random(5), 16_000, MAX_CURSOR_BYTES - receiving.MAX_KEPT_BYTES
    with (
        patch.object(receiving, "MAX_KEPT_BYTES", room),
        pytest.raises(RecordFull, match="lower the days"),
    ):
        while True:
            decision = receiving.decide(record, number, digest_of(number), TODAY, KEPT_DAYS)
            record = decision.record
            came.append(number)
            fullness.append(max(fullness[-1], decision.fullness))
            number += chance.randrange(2, 30_000)
            assert len(came) % 49 or len(receiving.encode(record)) < room + between
    # It was told long before.
    warned = next(at for at, share in enumerate(fullness) if share >= 0.8)
    assert len(came) * 0.5 < warned < len(came) * 0.9 and fullness[-1] <= 1
    kept = receiving.decode(receiving.encode(record))
    for known in came[::101]:
        decision = receiving.decide(kept, known, "other", TODAY, KEPT_DAYS)
        assert decision.verdict is Verdict.CONFLICT
    later = TODAY + timedelta(days=KEPT_DAYS + 1)
    assert come(kept, number, day=later).verdict is Verdict.NEW


def test_a_busy_sender_with_holes_fits() -> None:
    """Proves that 270 interchanges a day with holes between them, as of a counter that serves
    other partners, too, fit with all the days that they are known."""
    number, chance, days = 0, Random(7), []
    for back in range(KEPT_DAYS, 0, -1):
        ranges = []
        for _ in range(270):
            number += chance.randrange(2, 300)
            ranges.append((number, number))
        days.append(Day(TODAY - timedelta(days=back), tuple(ranges)))
    seen = []
    for _ in range(receiving.MAX_DIGESTS):
        number += chance.randrange(2, 300)
        seen.append(Seen(number, digest_of(number), TODAY))
    record = Record(number, tuple(seen), tuple(days))
    decision = receiving.decide(record, number + 1, digest_of(number + 1), TODAY, KEPT_DAYS)
    record = decision.record
    assert 0.5 < decision.fullness < 1
    assert len(receiving.encode(record)) < MAX_CURSOR_BYTES
    assert receiving.decode(receiving.encode(record)) == record


def test_a_record_that_was_not_packed_is_read() -> None:
    """Proves that a record as it was kept before it was packed is known still."""
    record = after(*range(1, 500, 2))
    plain = zlib.decompress(receiving.encode(record))
    assert plain.startswith(b"{") and receiving.decode(plain) == record


@given(
    st.lists(
        st.tuples(st.integers(1, 40), st.sampled_from("ab"), st.sampled_from([0, 0, 0, 1, 3])),
        min_size=20,
        max_size=200,
    )
)
def test_only_age_makes_a_number_free(steps: list[tuple[int, str, int]]) -> None:
    """Proves for any order of numbers over many days, with nearly all digests given up, that a
    number is new exactly when its days are over, never a duplicate with other content, and a
    duplicate while its digest is kept."""
    record, came, day, kept_days = Record(), dict[int, tuple[str, date, int]](), TODAY, 5
    taken = 0
    with patch.multiple(receiving, MAX_DIGESTS=4, KEPT_DIGESTS=2):
        for number, content, days in steps:
            day += timedelta(days=days)
            kept = receiving.decode(receiving.encode(record))
            decision = receiving.decide(kept, number, content, day, kept_days)
            before, last, place = came.get(number, ("", date.min, 0))
            if day - last > timedelta(days=kept_days):
                assert decision.verdict is Verdict.NEW
                taken += 1
                came[number] = (content, day, taken)
            elif before != content:
                assert decision.verdict is Verdict.CONFLICT
            else:
                assert decision.verdict is not Verdict.NEW
                if taken - place < 2:
                    assert decision.verdict is Verdict.DUPLICATE
            record = decision.record


def test_the_record_stays_small_and_forgets_no_number() -> None:
    """Proves that thousands of numbers without a hole fit in a part of what the hub keeps, over
    as many days as they are known, and that one whose content is no longer known is a conflict."""
    record, daily = Record(), 100
    for place in range(KEPT_DAYS * daily):
        day = TODAY + timedelta(days=place // daily)
        record = receiving.decide(record, place + 1, "s" * 24, day, KEPT_DAYS).record
    assert len(receiving.encode(record)) < 32 * 1024
    assert come(record, KEPT_DAYS * daily, "s" * 24, day).verdict is Verdict.DUPLICATE
    assert come(record, 1, "s" * 24, day).verdict is Verdict.CONFLICT
    newest = KEPT_DAYS * daily
    assert come(record, newest - receiving.MAX_DIGESTS, day=day).verdict is Verdict.CONFLICT


def test_line_breaks_do_not_make_other_content() -> None:
    """Proves that the digest is of what an interchange says: line breaks between segments count
    for nothing, any other character does."""
    (plain,) = envelopes.read(BODY).interchanges
    (broken,) = envelopes.read(BODY.replace(b"~", b"~\r\n")).interchanges
    (other,) = envelopes.read(BODY.replace(b"PORTLAND", b"PORTLANE")).interchanges
    assert receiving.digest(plain) == receiving.digest(broken) != receiving.digest(other)
