"""The algebra of order under the history checker, for any sequence there is."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tests.faults.history.order import copies, gaps, grouped, inversions, overlaps

NUMBERS = st.lists(st.integers(-50, 50), max_size=40)
SPAN = st.tuples(st.integers(0, 60), st.integers(0, 20)).map(lambda s: (s[0], s[0] + s[1]))


@given(NUMBERS)
def test_a_sequence_without_inversions_is_sorted(numbers: list[int]) -> None:
    """Proves that there is an inversion exactly where a sequence is not sorted."""
    assert (inversions(numbers) == []) == (numbers == sorted(numbers))


@given(st.lists(st.integers(0, 1000), min_size=2, max_size=40, unique=True), st.data())
def test_one_swap_is_seen(numbers: list[int], data: st.DataObject) -> None:
    """Proves that swapping any two members of an ordered sequence is found."""
    ordered = sorted(numbers)
    places = st.integers(0, len(ordered) - 1)
    first, second = data.draw(places), data.draw(places)
    ordered[first], ordered[second] = ordered[second], ordered[first]
    assert bool(inversions(ordered)) == (first != second)


@given(st.dictionaries(st.integers(0, 5), NUMBERS.map(sorted), max_size=6), st.randoms())
def test_interleaving_ordered_keys_is_no_inversion(keys: dict, chance: object) -> None:
    """Proves that any interleaving of ordered sequences is ordered key by key."""
    left = {key: list(numbers) for key, numbers in keys.items() if numbers}
    merged = []
    while left:
        key = chance.choice(sorted(left))  # type: ignore[attr-defined]
        merged.append((key, left[key].pop(0)))
        left = {k: v for k, v in left.items() if v}
    for key, together in grouped(merged, lambda pair: pair[0]).items():
        assert inversions([number for _, number in together]) == []
        assert [number for _, number in together] == keys[key]


@given(st.sets(st.integers(1, 60), min_size=1), st.data())
def test_gaps_are_what_is_missing(missing: set[int], data: st.DataObject) -> None:
    """Proves that taking numbers away leaves exactly these gaps, and copies add none."""
    there = [number for number in range(1, 61) if number not in missing]
    again = data.draw(st.lists(st.sampled_from(there), max_size=5)) if there else []
    assert gaps(there + again, 1, 60) == sorted(missing)


@given(NUMBERS)
def test_copies_count_every_extra(numbers: list[int]) -> None:
    """Proves that copies account for all that is there beyond the first of each."""
    extra = sum(count - 1 for count in copies(numbers).values())
    assert extra == len(numbers) - len(set(numbers))


@given(st.lists(SPAN, max_size=15))
def test_spans_overlap_exactly_when_an_instant_is_in_two(spans: list[tuple[int, int]]) -> None:
    """Proves that an overlap is found exactly when some span starts inside another one."""
    ordered = sorted(spans, key=lambda span: span[0])
    inside = any(
        later[0] < earlier[1] for place, later in enumerate(ordered) for earlier in ordered[:place]
    )
    assert bool(overlaps(spans)) == inside


@given(st.lists(st.integers(1, 20), min_size=1, max_size=15))
def test_spans_that_touch_do_not_overlap(lengths: list[int]) -> None:
    """Proves that one may begin in the instant in which the other ends."""
    edges = [0]
    for length in lengths:
        edges.append(edges[-1] + length)
    assert overlaps(list(pairwise(edges))) == []


@given(st.lists(SPAN, min_size=1, max_size=10), st.integers(61, 90))
def test_a_span_without_end_overlaps_all_that_follows(
    spans: list[tuple[int, int]], start: int
) -> None:
    """Proves that a lease nobody gave back is in the way of everything later."""
    forever = (min(span[0] for span in spans), None)
    assert overlaps([forever, (start, start + 1)])
