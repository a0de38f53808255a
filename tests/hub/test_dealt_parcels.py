"""The parcels of the bench: how they are put into batches that become as many messages each."""

from __future__ import annotations

import random

from crossdock.bus import partition_of
from hypothesis import given
from hypothesis import strategies as st

from tests.load.parcels import dealt

SIZE = 500


@given(st.integers(0, 2**64))
def test_each_lot_has_parcels_of_every_partition(seed: int) -> None:
    """Proves that a partition with a parcel for each lot has one in each of them, whatever the ids
    of the orders are, and that no parcel is left out or dealt twice."""
    chance = random.Random(seed)
    ids = [f"{chance.getrandbits(128):032x}" for _ in range(4 * SIZE)]
    partitions = {each: partition_of(each) for each in ids}
    parcels = sorted(partitions, key=lambda each: (partitions[each], each))
    found = dealt(parcels, SIZE)
    assert sorted(found) == sorted(parcels)
    lots = [found[first : first + SIZE] for first in range(0, len(found), SIZE)]
    assert len(lots) == 4
    in_lots = [{partitions[each] for each in lot} for lot in lots]
    counts = list(partitions.values())
    for partition in set(counts):
        if counts.count(partition) >= len(lots):
            assert all(partition in lot for lot in in_lots), partition


def test_fewer_parcels_than_a_batch_are_one_lot() -> None:
    """Proves that a small run, whose batches have scans of all parcels, keeps them as they are."""
    assert dealt(["a", "b", "c"], SIZE) == ["a", "b", "c"]
