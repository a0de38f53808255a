"""The simulated carrier's end of the mailbox: status messages out, acknowledgements in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from crossdock_adapters.sdk.places import Unreadable
from crossdock_adapters.sdk.x12 import acknowledgments, envelopes
from crossdock_adapters.sdk.x12.acknowledgments import FUNCTIONAL_ID
from crossdock_adapters.sdk.x12.envelopes import Envelope, Group, Payload
from crossdock_adapters.sdk.x12.segments import Delimiters, Segment, segment

FROM_CARRIER: Final = "from_carrier"
TO_CARRIER: Final = "to_carrier"
ARCHIVE: Final = "archive"
TEMPORARY: Final = ".tmp"
# Others than the adapter's defaults: it has to read them from the ISA.
DELIMITERS: Final = Delimiters(element="|", component=":", terminator="~", line_end="\r\n")
# What a mailbox may do once, when told to.
MISBEHAVIOURS: Final = frozenset(
    {"duplicate", "out_of_order", "conflict", "lost", "half_written", "damaged_set"}
)


@dataclass(frozen=True, slots=True)
class Step:
    """One AT7: the status or the appointment, its reason, when and where, in local time."""

    status: str
    reason: str
    at: datetime
    city: str
    state: str
    zone: str = "LT"
    appointment: bool = False


@dataclass(slots=True)
class Mailbox:
    """Folders below a root, control numbers, and what the shipper acknowledged."""

    root: Path
    scac: str
    shipper: str
    usage: str = "P"
    number: int = 0
    acknowledged: list[dict[str, Any]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    misbehaves: dict[str, int] = field(default_factory=dict)
    _kept_back: list[tuple[str, bytes]] = field(default_factory=list)

    def make_folders(self) -> None:
        """All three."""
        for name in (FROM_CARRIER, TO_CARRIER, ARCHIVE):
            (self.root / name).mkdir(parents=True, exist_ok=True)

    def report(self, pro: str, shipment_id: str, steps: Sequence[Step], now: datetime) -> None:
        """Publish a 214 with these events, in the ways it should be and in those it should not."""
        self.number += 1
        body = self.status(self.number, pro, shipment_id, steps, now)
        name = f"214_{self.number:09d}.edi"
        if self._used("lost"):
            return
        if self._used("damaged_set"):
            body = body.replace(b"SE|", b"SE|9")
        if self._used("half_written"):
            self.publish(f"half_{name}", body[: len(body) // 2])
        if self._used("out_of_order"):
            self._kept_back.append((name, body))
            return
        self.publish(name, body)
        for late_name, late in self._kept_back:
            self.publish(f"z_{late_name}", late)
        self._kept_back.clear()
        if self._used("duplicate"):
            self.publish(f"again_{name}", body)
        if self._used("conflict"):
            self.publish(f"other_{name}", body.replace(b"LX|1", b"LX|2"))

    def status(
        self, number: int, pro: str, shipment_id: str, steps: Sequence[Step], now: datetime
    ) -> bytes:
        """An interchange with one 214."""

        def sets(how: Envelope) -> list[envelopes.TransactionSet]:
            body = [segment(how.delimiters, "B10", pro, shipment_id, self.scac)]
            for at, step in enumerate(steps, start=1):
                body += _step(how.delimiters, at, step)
            return [envelopes.transaction_set(how.delimiters, "214", "0001", body)]

        return self.written("QM", number, sets, now)

    def say(
        self,
        functional_id: str,
        sets: Callable[[Envelope], Sequence[envelopes.TransactionSet]],
        now: datetime,
    ) -> None:
        """Publish an interchange with a number of its own."""
        self.number += 1
        body = self.written(functional_id, self.number, sets, now)
        self.publish(f"{functional_id}_{self.number:09d}.edi", body)

    def written(
        self,
        functional_id: str,
        number: int,
        sets: Callable[[Envelope], Sequence[envelopes.TransactionSet]],
        now: datetime,
    ) -> bytes:
        """An interchange of ours."""
        how = Envelope(
            ("02", self.scac), ("ZZ", self.shipper), self.scac, self.shipper,
            usage=self.usage, delimiters=DELIMITERS,
        )  # fmt: skip
        group = how.group(functional_id, number, now, sets(how))
        return envelopes.write(Payload((how.interchange(number, now, [group]),)))

    def publish(self, name: str, body: bytes) -> None:
        """A file in the folder of what we send, whole when it has its name."""
        place = self.root / FROM_CARRIER / name
        temporary = place.with_name(f"{name}{TEMPORARY}")
        temporary.write_bytes(body)
        temporary.rename(place)

    def collect(self, take: Callable[[Group], None]) -> None:
        """Take what the shipper sent: 997s into the books, other groups to `take`."""
        for file in sorted((self.root / TO_CARRIER).glob("*.edi")):
            try:
                payload = envelopes.read(file.read_bytes())
                for interchange in payload.interchanges:
                    for group in interchange.groups:
                        self._collect(group, take)
            except Unreadable as error:
                self.refused.append(str(error))
            file.unlink()

    def books(self) -> dict[str, Any]:
        """What was sent, acknowledged, and could not be read."""
        return {
            "interchanges": self.number,
            "acknowledged": self.acknowledged,
            "unreadable": self.refused,
        }

    def _collect(self, group: Group, take: Callable[[Group], None]) -> None:
        if group.functional_id != FUNCTIONAL_ID:
            take(group)
            return
        for found in group.sets:
            said = acknowledgments.read(found)
            answer: Mapping[str, Any] = {
                "group": said.control_number,
                "status": str(said.status),
                "sets": {each.control_number: str(each.status) for each in said.sets},
                "faults": [
                    [fault.segment_id, fault.number, fault.element, fault.element_code]
                    for each in said.sets
                    for fault in each.faults
                ],
            }
            self.acknowledged.append(dict(answer))

    def _used(self, kind: str) -> bool:
        left = self.misbehaves.get(kind, 0)
        if left <= 0:
            return False
        self.misbehaves[kind] = left - 1
        return True


def _step(marks: Delimiters, number: int, step: Step) -> list[Segment]:
    own = ("", "", step.status, step.reason) if step.appointment else (step.status, step.reason)
    first = [*own, "", ""][:4]
    return [
        segment(marks, "LX", str(number)),
        segment(marks, "AT7", *first, f"{step.at:%Y%m%d}", f"{step.at:%H%M}", step.zone),
        segment(marks, "MS1", step.city, step.state, "US"),
        # Equipment: nobody here asks for it.
        segment(marks, "MS2", "CDCK", f"{number:06}"),
    ]
