"""What becomes of a delivery whose word has no code: parked for it, or retried once more; and how
it goes again when a row says what to send."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from crossdock.mapping.v1 import mapping_pb2

from crossdock_hub.config import SECOND
from crossdock_hub.delivery import ledger
from crossdock_hub.objects.mappings import topic_value
from crossdock_hub.objects.unsent_words import UnsentWord, unsent_of
from crossdock_hub.records import AttemptRecord, DeliveryRecord
from crossdock_hub.unit import Unit

# An adapter that takes no word of rows from its begin hears of one with its next heartbeat.
HEARD_SECONDS = 5.0
_TOPICS = frozenset(mapping_pb2.MappingTopic.keys())


def report_of(
    unit: Unit, attempt: AttemptRecord, request: Any, outcome: str
) -> tuple[ledger.Report, str]:
    """How an attempt ended, and for what word the delivery is parked; "" when it is not for one.

    An adapter that has not heard of a row yet which is there is asked again soon: nothing else
    would tell the delivery of it any more. One that knew it has no use for it, so a person looks.
    """
    seconds = request.retry_after.ToMicroseconds() / SECOND
    report = ledger.Report(outcome, request.code, request.reason, seconds)
    word = _told(unit, request) if outcome == "PARKED" else None
    if word is None:
        return report, ""
    rows = unit.get(("mapping_words", word.endpoint_kind, word.topic, word.canonical))
    if word.sent_by(rows) and word.revision(rows) != request.unsent_word.rows_revision:
        again = ledger.word(attempt, "RETRY")
        return replace(report, outcome=again, retry_after_seconds=HEARD_SECONDS), ""
    return report, word.awaits


def parked(record: DeliveryRecord, attempt: AttemptRecord, awaits_word: str) -> DeliveryRecord:
    """A delivery after an attempt, as it waits for a word; "": for none. The call said that it sent
    nothing, so what follows may still make the delivery pointless."""
    if awaits_word and attempt.kind == "CALL":
        record = replace(record, calls_reached=max(0, record.calls_reached - 1))
    return replace(record, awaits_word=awaits_word)


def _told(unit: Unit, request: Any) -> UnsentWord | None:
    if not request.HasField("unsent_word"):
        return None
    said = request.unsent_word
    if f"MAPPING_TOPIC_{said.topic}" not in _TOPICS or not topic_value(said.topic):
        # Of a newer contract: no row of this hub's can have it.
        return None
    types = tuple(dict.fromkeys(said.native_types))
    return UnsentWord(unit.endpoint_kind, said.topic, said.canonical, types)


def waits(record: DeliveryRecord | None) -> UnsentWord | None:
    """The word that a delivery is parked for; None when it is not, or not any more."""
    if record is None or record.state != "PARKED":
        return None
    return unsent_of(record.awaits_word)


def is_sent(unit: Unit, word: UnsentWord) -> bool:
    """Whether a row says by now what to send for a word. Raises NotLoaded."""
    rows = unit.get(("mapping_words", word.endpoint_kind, word.topic, word.canonical))
    return word.sent_by(rows)
