"""`replace` gives what `dataclasses.replace` gives, for every kind of record and each field."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from crossdock_hub import records
from crossdock_hub.delivery import ledger
from crossdock_hub.replacing import replace

KINDS = [
    kind
    for kind in (*vars(records).values(), ledger.Report)
    if isinstance(kind, type)
    and dataclasses.is_dataclass(kind)
    and len(dataclasses.fields(kind)) > 1
]


def _made(kind: type[Any]) -> Any:
    """A record whose fields are all different."""
    return kind(**{field.name: f"{field.name} as it was" for field in dataclasses.fields(kind)})


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_each_field_is_replaced_and_no_other(kind: type[Any]) -> None:
    """One by one and all at once; the record that it was made of stays as it is."""
    before = _made(kind)
    names = [field.name for field in dataclasses.fields(kind)]
    for name in names:
        after = replace(before, **{name: "another"})
        assert after == dataclasses.replace(before, **{name: "another"})
        assert type(after) is kind and after != before
    everything = {name: f"{name} as it is" for name in reversed(names)}
    assert replace(before, **everything) == kind(**everything)
    assert before == _made(kind)


def test_nothing_replaced_is_a_copy() -> None:
    """Never the record itself: a caller may change what it was given."""
    before = _made(records.DeliveryRecord)
    after = replace(before)
    assert after == before and after is not before


def test_a_name_that_is_no_field_is_refused() -> None:
    """By its name, as dataclasses does it."""
    with pytest.raises(TypeError, match="stat"):
        replace(_made(records.DeliveryRecord), stat="READY")


def test_a_kind_that_takes_its_fields_otherwise_is_refused() -> None:
    """Nothing is put where it does not belong."""

    @dataclasses.dataclass
    class Named:
        one: int
        two: int = dataclasses.field(default=0, kw_only=True)

    with pytest.raises(TypeError, match="Named"):
        replace(Named(1), one=2)
