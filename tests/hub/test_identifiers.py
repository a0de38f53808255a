"""Ids are UUIDs of version 7 whose random part nobody has twice."""

from __future__ import annotations

import uuid

from crossdock_hub.unit import Identifiers, RandomBits, time_of_id

NOW = 1_700_000_000_123_456
# More than a few lots of random bits.
MANY = 2_000


def test_an_id_is_a_uuid_of_version_7_with_its_time() -> None:
    """Proves the form of RFC 9562: version, variant, the time in front, and order as text."""
    identifiers = Identifiers()
    made = [identifiers.next(NOW) for _ in range(MANY)]
    for each in made:
        parsed = uuid.UUID(each)
        assert (str(parsed), parsed.version, parsed.variant) == (each, 7, uuid.RFC_4122)
    assert time_of_id(made[0]) == NOW // 1000 * 1000
    assert made == sorted(set(made))


def test_random_bits_differ_from_lot_to_lot() -> None:
    """Proves that no part of a lot is given twice, and that bits are of the width asked for."""
    bits = RandomBits()
    found = [bits(62) for _ in range(MANY)]
    assert len(set(found)) == MANY
    assert max(found) < 1 << 62
    # Every place of 62 is one at times and nought at times.
    ones, noughts = 0, 0
    for each in found:
        ones, noughts = ones | each, noughts | ~each
    assert ones & noughts & ((1 << 62) - 1) == (1 << 62) - 1
