"""Rules about labels: each package one that is valid, with what was told of it, and never less."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.faults.history.order import grouped
from tests.faults.history.records import (
    FAIL,
    LIST,
    Delivery,
    Effect,
    History,
    Label,
    LabelLook,
    Look,
    Packed,
    Rpc,
)
from tests.faults.history.violations import Kind, Violation

BUY, VOID, VOID_SHIPMENT = "buy_label", "void_label", "VoidShipment"
# A person has these in hand: the vendor may have sold what nobody here can know.
IN_HAND = frozenset({"PARKED"})


@dataclass(frozen=True, slots=True)
class Books:
    """Both sides of every package, by its id: what was asked, what was sold, what the hub holds."""

    packages: dict[str, Packed]
    purchases: dict[str, list[Delivery]]
    voids: dict[str, list[Delivery]]
    sold: dict[str, list[Effect]]
    taken_back: dict[str, list[Effect]]
    labels: dict[str, list[Label]]
    # Shipments that a caller asked to void, and was not refused.
    voided: frozenset[str]

    def is_voided(self, package: str) -> bool:
        """Whether a caller undid the shipment of a package."""
        known = self.packages.get(package)
        return known is not None and known.shipment_id in self.voided

    def in_hand(self, package: str) -> bool:
        """Whether a person has to find out what became of a package's purchase."""
        return any(row.state in IN_HAND for row in self.purchases.get(package, []))


def books_of(history: History) -> Books:
    """What a history says of each package."""
    rows: list[Delivery] = history.of(Delivery)
    package_of = {row.id: row.item for row in rows}
    effects = [e for e in history.of(Effect) if e.delivery_id in package_of]
    work = grouped(rows, lambda row: row.operation)
    made = grouped(effects, lambda effect: effect.operation)
    return Books(
        {each.package_id: each for each in history.of(Packed)},
        grouped(work.get(BUY, []), lambda row: row.item),
        grouped(work.get(VOID, []), lambda row: row.item),
        grouped(made.get(BUY, []), lambda effect: package_of[effect.delivery_id]),
        grouped(made.get(VOID, []), lambda effect: package_of[effect.delivery_id]),
        grouped(history.of(Label), lambda label: label.package_id),
        frozenset(
            rpc.object_id
            for rpc in history.of(Rpc)
            if rpc.method == VOID_SHIPMENT and rpc.outcome != FAIL
        ),
    )


def violations(history: History) -> Iterator[Violation]:
    """Every rule about labels; of a history without packages there is nothing to say."""
    books = books_of(history)
    yield from _asked_for(books)
    yield from _together(books)
    yield from _known(books)
    yield from _once(books)
    yield from _voided(books)
    looks = history.of(LabelLook)
    yield from _shown(looks, books)
    yield from _seen_together(history, looks, books)


def _asked_for(books: Books) -> Iterator[Violation]:
    """What was packed is bought, or says why not."""
    for package in books.packages.values():
        rows = books.purchases.get(package.package_id, [])
        if not rows:
            facts = f"{package.number}: nobody was asked for its label"
            yield Violation(Kind.PACKAGE_WITHOUT_PURCHASE, package.package_id, facts)
        for row in rows:
            if row.state == "SUPERSEDED" and not books.is_voided(row.item):
                facts = f"{package.number}: superseded, and nobody voided its shipment"
                yield Violation(Kind.PACKAGE_WITHOUT_PURCHASE, package.package_id, facts)


def _together(books: Books) -> Iterator[Violation]:
    """Outcome, references and facts are there together, or not at all: at the end."""
    for package, rows in books.purchases.items():
        there = books.labels.get(package, [])
        numbers = {label.number for label in there}
        done = [row for row in rows if row.state == "CONFIRMED"]
        for row in done:
            if not numbers.intersection(row.references):
                facts = f"confirmed as {row.references}, the hub has labels {sorted(numbers)}"
                yield Violation(Kind.OUTCOME_WITHOUT_FACTS, row.id, facts)
        if there and not done:
            facts = f"the hub has {sorted(numbers)}, its purchase is {[r.state for r in rows]}"
            yield Violation(Kind.FACTS_WITHOUT_OUTCOME, package, facts)
    for package, rows in books.voids.items():
        states = {label.number: label.state for label in books.labels.get(package, [])}
        taken_back = {n for row in rows if row.state == "CONFIRMED" for n in row.references}
        for number in sorted(taken_back):
            if states.get(number) != "VOIDED":
                facts = f"the void of {number} is confirmed, the hub has it as {states.get(number)}"
                yield Violation(Kind.OUTCOME_WITHOUT_FACTS, package, facts)
        for number, state in states.items():
            if state == "VOIDED" and number not in taken_back:
                facts = f"{number} is void at the hub, its void is {[r.state for r in rows]}"
                yield Violation(Kind.FACTS_WITHOUT_OUTCOME, package, facts)


def _known(books: Books) -> Iterator[Violation]:
    """Hub and vendor have the same labels, with the same price and document."""
    for package in sorted(set(books.sold) | set(books.labels)):
        sold = {effect.number: effect for effect in books.sold.get(package, [])}
        there = {label.number: label for label in books.labels.get(package, [])}
        settled = [row for row in books.purchases.get(package, []) if row.state not in IN_HAND]
        for number in sorted(set(sold) - set(there)) if settled else []:
            facts = f"the vendor sold {number}, the hub has {sorted(there)}"
            yield Violation(Kind.LABEL_NOT_KNOWN, package, facts)
        for number in sorted(set(there) - set(sold)):
            facts = f"the hub has {number}, the vendor sold {sorted(sold)}"
            yield Violation(Kind.LABEL_NEVER_SOLD, package, facts)
        for number in sorted(set(there) & set(sold)):
            yield from _same(sold[number], there[number])
        if there and not any(label.shown in there for label in there.values()):
            shown = sorted({label.shown for label in there.values()})
            facts = f"the hub has {sorted(there)}, the shipment shows {shown}"
            yield Violation(Kind.LABEL_NOT_KNOWN, package, facts)


def _same(sold: Effect, label: Label) -> Iterator[Violation]:
    for what, ours, theirs in (
        ("price", label.price, sold.price),
        ("document", label.document, sold.document),
    ):
        if ours != theirs:
            facts = f"{what} of {sold.number} is {ours or 'none'}, the vendor's is {theirs}"
            yield Violation(Kind.LABEL_DIFFERS, label.package_id, facts)


def _once(books: Books) -> Iterator[Violation]:
    """One valid label for a package, however often it was packed.

    What a person has to find out about, of a shipment that was voided, is no second one: its void
    waits for that person.
    """
    valid = {
        package: [effect.number for effect in effects if not effect.voided_at]
        for package, effects in books.sold.items()
    }
    carton = {each.package_id: each.number for each in books.packages.values()}
    for package, numbers in valid.items():
        if len(numbers) > 1:
            yield Violation(Kind.TWO_VALID_LABELS, package, f"the vendor has {numbers}")
    counting = {
        package: numbers
        for package, numbers in valid.items()
        if not (books.is_voided(package) and books.in_hand(package))
    }
    for number, packages in grouped(counting, lambda p: carton.get(p, p)).items():
        found = [each for package in packages for each in counting[package]]
        if len(packages) > 1 and len(found) > 1:
            facts = f"packed {len(packages)} times, the vendor has {found}"
            yield Violation(Kind.TWO_VALID_LABELS, number, facts)


def _voided(books: Books) -> Iterator[Violation]:
    """What a caller voided is void at the vendor, nothing else is, and nothing is sold after."""
    for package, effects in books.sold.items():
        rows = books.voids.get(package, [])
        for effect in effects:
            if effect.voided_at and not books.is_voided(package):
                facts = f"{effect.number} is void, and nobody voided its shipment"
                yield Violation(Kind.VOIDED_UNASKED, package, facts)
            done = rows and all(row.state in ("CONFIRMED", "SUPERSEDED") for row in rows)
            if done and not effect.voided_at:
                facts = f"{effect.number} is valid, its void is {[r.state for r in rows]}"
                yield Violation(Kind.VOID_LOST, package, facts)
        for void in books.taken_back.get(package, []):
            later = [effect.number for effect in effects if effect.made_at > void.made_at]
            if later:
                facts = f"{void.number} was voided, {later} sold after that"
                yield Violation(Kind.VOIDED_BEFORE_SOLD, package, facts)
    for packed in books.packages.values():
        if books.is_voided(packed.package_id) and packed.package_id not in books.voids:
            facts = f"{packed.number}: nobody was asked to void its label"
            yield Violation(Kind.VOID_LOST, packed.package_id, facts)


def _shown(looks: list[LabelLook], books: Books) -> Iterator[Violation]:
    """What was shown of a label is shown by every look that begins later, and at the end."""
    for (package, where), found in grouped(looks, lambda k: (k.package_id, k.where)).items():
        yield from _kept(package, sorted(found, key=lambda look: look.start))
        there = books.labels.get(package, [])
        if where == LIST:
            left = {(label.number, label.price, label.document) for label in there}
            gone = {(k.number, k.price, k.document) for k in found if k.number} - left
        else:
            left = {(label.shown, "", "") for label in there}
            gone = {(k.number, "", "") for k in found if k.number} - left
        for each in sorted(gone):
            facts = f"the {where} showed {each}, at the end it is {sorted(left)}"
            yield Violation(Kind.LABEL_WENT_BACK, package, facts)
        states = Counter(look.state for look in found)
        if states["VOIDED"] and any(label.state != "VOIDED" for label in there):
            yield Violation(Kind.LABEL_WENT_BACK, package, "it was shown as void, and is no more")


def _kept(package: str, looks: list[LabelLook]) -> Iterator[Violation]:
    """Of looks by their start: none that shows less than one that had ended before it began."""
    for place, look in enumerate(looks):
        before = [each for each in looks[:place] if each.end < look.start and each.number]
        if not before:
            continue
        last = max(before, key=lambda each: each.end)
        told = (last.number, last.price, last.document)
        if (look.number, look.price, look.document) != told:
            facts = f"{last.reader} saw {told}, then {look.reader} saw {look.number or 'none'}"
            yield Violation(Kind.LABEL_WENT_BACK, package, facts)
        if last.state == "VOIDED" and look.state != "VOIDED":
            facts = f"{last.reader} saw {last.number} void, then {look.reader} {look.state}"
            yield Violation(Kind.LABEL_WENT_BACK, package, facts)


def _seen_together(history: History, looks: list[LabelLook], books: Books) -> Iterator[Violation]:
    """Outcome and facts are there together, or not at all: whenever somebody looked."""
    states = grouped(
        (look for look in history.of(Look) if look.kind == "delivery"), lambda look: look.subject
    )
    listed = grouped((look for look in looks if look.where == LIST), lambda k: k.package_id)
    for package, of_package in listed.items():
        for rows, made in (
            (books.purchases.get(package, []), lambda look: bool(look.number)),
            (books.voids.get(package, []), lambda look: look.state == "VOIDED"),
        ):
            of_work = [look for row in rows for look in states.get(row.id, [])]
            yield from _one_without_the_other(package, of_work, of_package, made)


def _one_without_the_other(
    package: str,
    of_work: list[Look],
    of_package: list[LabelLook],
    made: Callable[[LabelLook], bool],
) -> Iterator[Violation]:
    if not any(made(look) for look in of_package):
        # Nothing is shown where nothing was made: what was never bought is void without a label.
        return
    shown = min(look.end for look in of_package if made(look))
    done = min((look.end for look in of_work if look.state == "CONFIRMED"), default=shown)
    for look in of_package:
        if look.start > done and not made(look):
            facts = f"seen confirmed, then {look.reader} saw {look.number or 'none'} {look.state}"
            yield Violation(Kind.OUTCOME_WITHOUT_FACTS, package, facts)
    for state in of_work:
        if state.start > shown and state.state != "CONFIRMED":
            facts = f"what it made was seen, then {state.reader} saw it {state.state}"
            yield Violation(Kind.FACTS_WITHOUT_OUTCOME, package, facts)
