"""Violations about labels, to put into a good history of purchases, one for each kind."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from tests.faults.history.labels import BUY, VOID, books_of
from tests.faults.history.records import (
    LIST,
    SHIPMENT,
    Delivery,
    Effect,
    History,
    Label,
    LabelLook,
    Look,
    Record,
    Rpc,
)
from tests.faults.history.violations import Kind
from tests.faults.seeded import Seed, added, changed, first, without

LABEL_SEEDS: dict[Kind, list[Seed]] = {}


def seeded(kind: Kind) -> Callable[[Seed], Seed]:
    """Register what brings a kind of violation into a history; there may be several ways."""

    def register(seed: Seed) -> Seed:
        LABEL_SEEDS.setdefault(kind, []).append(seed)
        return seed

    return register


def sold(history: History, *, voided: bool = False) -> Effect:
    """A label in the vendor's books whose purchase is confirmed."""
    done = {d.id for d in history.of(Delivery) if d.operation == BUY and d.state == "CONFIRMED"}
    found: Effect = first(
        history, Effect, lambda e: e.delivery_id in done and bool(e.voided_at) is voided
    )
    return found


def label(history: History, *, voided: bool = False) -> Label:
    """The same label as the hub holds it."""
    number = sold(history, voided=voided).number
    found: Label = first(history, Label, lambda each: each.number == number)
    return found


def seen_label(history: History) -> Label:
    """A label of which a reader saw the number in the list, as not every one is in a short run."""
    looks = {look.number for look in history.of(LabelLook) if look.where == LIST}
    bought = {sold.number for sold in history.of(Effect) if not sold.voided_at}
    found: Label = first(history, Label, lambda each: each.number in looks & bought)
    return found


def purchase(history: History, package: str) -> Delivery:
    """The work that buys a package's label."""
    found: Delivery = first(history, Delivery, lambda d: d.operation == BUY and d.item == package)
    return found


def later(history: History) -> int:
    """When nobody looked any more."""
    return int(max(look.end for look in (*history.of(Look), *history.of(LabelLook)))) + 1


@seeded(Kind.PACKAGE_WITHOUT_PURCHASE)
def _nobody_buys(history: History) -> Iterable[Record]:
    return without(history, purchase(history, label(history).package_id))


@seeded(Kind.PACKAGE_WITHOUT_PURCHASE)
def _given_up(history: History) -> Iterable[Record]:
    row = purchase(history, label(history).package_id)
    return changed(history, row, state="SUPERSEDED", superseded_by="nobody's word")


@seeded(Kind.OUTCOME_WITHOUT_FACTS)
def _no_facts(history: History) -> Iterable[Record]:
    return without(history, label(history))


@seeded(Kind.OUTCOME_WITHOUT_FACTS)
def _no_facts_of_a_void(history: History) -> Iterable[Record]:
    return changed(history, label(history, voided=True), state="CREATED")


@seeded(Kind.OUTCOME_WITHOUT_FACTS)
def _facts_came_after(history: History) -> Iterable[Record]:
    made = seen_label(history)
    seen = next(k for k in history.of(LabelLook) if k.package_id == made.package_id and k.number)
    row = purchase(history, made.package_id)
    early = Look("operator", "delivery", row.id, 1, 2, "CONFIRMED", 0)
    return added(history, early, LabelLook("operator", LIST, seen.package_id, 3, 4))


@seeded(Kind.FACTS_WITHOUT_OUTCOME)
def _no_outcome(history: History) -> Iterable[Record]:
    row = purchase(history, label(history).package_id)
    return changed(history, row, state="READY", references=())


@seeded(Kind.FACTS_WITHOUT_OUTCOME)
def _outcome_came_after(history: History) -> Iterable[Record]:
    row, at = purchase(history, seen_label(history).package_id), later(history)
    return added(history, Look("operator", "delivery", row.id, at, at + 1, "IN_FLIGHT", 0))


@seeded(Kind.FACTS_WITHOUT_OUTCOME)
def _void_by_nobody(history: History) -> Iterable[Record]:
    package = label(history, voided=True).package_id
    row = first(history, Delivery, lambda d: d.operation == VOID and d.item == package)
    return changed(history, row, state="READY", references=())


@seeded(Kind.LABEL_NOT_KNOWN)
def _unknown_here(history: History) -> Iterable[Record]:
    return added(history, replace(sold(history), number="one more"))


@seeded(Kind.LABEL_NOT_KNOWN)
def _not_shown(history: History) -> Iterable[Record]:
    return changed(history, label(history), shown="")


@seeded(Kind.LABEL_NEVER_SOLD)
def _never_sold(history: History) -> Iterable[Record]:
    return without(history, sold(history))


@seeded(Kind.LABEL_DIFFERS)
def _another_price(history: History) -> Iterable[Record]:
    return changed(history, label(history), price="0.01")


@seeded(Kind.LABEL_DIFFERS)
def _no_document(history: History) -> Iterable[Record]:
    return changed(history, label(history), document="")


@seeded(Kind.LABEL_WENT_BACK)
def _not_any_more(history: History) -> Iterable[Record]:
    package, at = seen_label(history).package_id, later(history)
    return added(history, LabelLook("operator", LIST, package, at, at + 1))


@seeded(Kind.LABEL_WENT_BACK)
def _price_changed(history: History) -> Iterable[Record]:
    made = seen_label(history)
    seen = first(history, LabelLook, lambda k: k.number == made.number and k.where == LIST)
    return changed(history, seen, price="0.01")


@seeded(Kind.LABEL_WENT_BACK)
def _another_number_shown(history: History) -> Iterable[Record]:
    package = label(history).package_id
    return added(history, LabelLook("operator", SHIPMENT, package, 1, 2, "another number"))


@seeded(Kind.LABEL_WENT_BACK)
def _valid_again(history: History) -> Iterable[Record]:
    made, at = label(history, voided=True), later(history)
    seen = LabelLook(
        "operator", LIST, made.package_id, at, at + 1, made.number, made.price, made.document
    )
    void = replace(seen, state="VOIDED")
    return added(history, void, replace(seen, start=at + 2, end=at + 3, state="CREATED"))


@seeded(Kind.TWO_VALID_LABELS)
def _bought_twice(history: History) -> Iterable[Record]:
    return added(history, replace(sold(history), number="a second label"))


@seeded(Kind.VOIDED_UNASKED)
def _void_unasked(history: History) -> Iterable[Record]:
    asked = books_of(history).voided
    package = first(history, Label, lambda each: each.shipment_id not in asked)
    effect = first(history, Effect, lambda e: e.number == package.number)
    return changed(history, effect, voided_at=effect.made_at + 1)


@seeded(Kind.VOID_LOST)
def _still_valid(history: History) -> Iterable[Record]:
    return changed(history, sold(history, voided=True), voided_at=0)


@seeded(Kind.VOID_LOST)
def _nobody_voids(history: History) -> Iterable[Record]:
    made = label(history)
    told = first(history, Rpc, lambda r: r.method == "VoidShipment")
    return added(history, replace(told, object_id=made.shipment_id))


@seeded(Kind.VOIDED_BEFORE_SOLD)
def _sold_after(history: History) -> Iterable[Record]:
    effect = sold(history, voided=True)
    return changed(history, effect, made_at=effect.voided_at + 1_000_000)
