"""Events of the platform as what has to be read again; places in the stream as the hub keeps them.

An event says that something changed. What holds is read from the record, so it does not matter in
which order, or how often, events come. Pure.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from crossdock_adapters.salesforce.names import ORDER
from crossdock_adapters.sdk.places import Unreadable

HEADER: Final = "ChangeEventHeader"
ORDER_ID: Final = "FulfillmentOrderId"
OVERFLOW: Final = "GAP_OVERFLOW"
GAP_PREFIX: Final = "GAP_"
DELETE: Final = "DELETE"
MAX_CURSOR_NAME: Final = 64
MAX_IDS: Final = 200
# The last moment that a datetime can be.
MAX_MILLISECONDS: Final = 253_402_300_799_999
ID_LENGTHS: Final = frozenset({15, 18})


@dataclass(frozen=True, slots=True)
class Change:
    """What an event is about: these fulfillment orders, or everything that changed lately.

    status, category: what it says that they have come to; "": it does not say.
    is_gap: other changes of them were not told. note: why there is nothing to read, where there is
    not.
    """

    ids: tuple[str, ...] = ()
    status: str = ""
    category: str = ""
    is_gap: bool = False
    everything: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class Window:
    """Every record that changed between these times, both included, has to be read again."""

    since: datetime
    until: datetime

    def and_(self, other: Window | None) -> Window:
        """Both, and what is between them."""
        if other is None:
            return self
        return Window(min(self.since, other.since), max(self.until, other.until))


@dataclass(frozen=True, slots=True)
class Place:
    """How far a topic is told to the hub. time: of which everything before it is told; None: of
    nothing that is known."""

    replay_id: bytes = b""
    time: datetime | None = None


def change_of(name: str, record: Mapping[str, Any], is_idle: Callable[[str, str], bool]) -> Change:
    """What an event of this schema asks for. Unreadable: it does not say what it is about.

    is_idle: whether a status and its category ask for nothing: of such an event no record has to be
    read.
    """
    if HEADER in record:
        return _of_change_event(record[HEADER])
    if ORDER_ID not in record:
        raise Unreadable(f"{name} is neither a change event nor one of a fulfillment order")
    order_id = _id(record.get(ORDER_ID), f"/{ORDER_ID}")
    category = str(record.get("NewStatusCategory") or "")
    status = str(record.get("NewStatus") or "")
    if is_idle(status, category):
        return Change(note=f"a status of category {category} asks for nothing")
    return Change((order_id,), status=status, category=category)


def time_of(record: Mapping[str, Any]) -> datetime | None:
    """When it happened: of a change its commit, of another event its creation; None: it does not
    say."""
    header = record.get(HEADER)
    told = header.get("commitTimestamp") if isinstance(header, Mapping) else None
    told = record.get("CreatedDate") if told is None else told
    if isinstance(told, datetime):
        return told.astimezone(UTC)
    if not isinstance(told, int) or not 0 <= told <= MAX_MILLISECONDS:
        return None
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=told)


def event_id(record: Mapping[str, Any], published_id: str) -> str:
    """By what an event is known again: EventUuid, where its definition has it."""
    told = record.get("EventUuid")
    return told if isinstance(told, str) and told else published_id


def _of_change_event(header: Any) -> Change:
    place = f"/{HEADER}"
    if not isinstance(header, Mapping):
        raise Unreadable("is no record", place)
    if header.get("entityName") != ORDER:
        return Change(note=f"a change of {header.get('entityName')}")
    kind = header.get("changeType")
    if kind == OVERFLOW:
        return Change(everything=True)
    if kind == DELETE:
        raise Unreadable("a fulfillment order was deleted: cancel it by hand", f"{place}/recordIds")
    found = header.get("recordIds")
    if not isinstance(found, list) or not found or len(found) > MAX_IDS:
        raise Unreadable(f"must be 1 to {MAX_IDS} ids", f"{place}/recordIds")
    # GAP_CREATE, GAP_UPDATE and the like have ids and no content; the others are read all the same.
    ids = (_id(each, f"{place}/recordIds/{index}") for index, each in enumerate(found))
    return Change(tuple(dict.fromkeys(ids)), is_gap=str(kind).startswith(GAP_PREFIX))


def _id(value: Any, place: str) -> str:
    if value in (None, ""):
        raise Unreadable("is empty: the record was erased, or the event is not whole", place)
    if not is_id(value):
        raise Unreadable("is no record id", place)
    return str(value)


def is_id(value: Any) -> bool:
    """Whether a value can be a record's id; nothing else goes into a query or a path."""
    return (
        isinstance(value, str) and len(value) in ID_LENGTHS and value.isascii() and value.isalnum()
    )


def cursor_name(organization: str, topic: str) -> str:
    """Under what the hub keeps a topic's place: replay ids are of one org and one topic."""
    name = f"pubsub:{organization}:{topic}"
    if len(name) <= MAX_CURSOR_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()
    return f"pubsub:{digest[: MAX_CURSOR_NAME - len('pubsub:')]}"


def gap_name(organization: str) -> str:
    """Under what the hub keeps which changes of an org have to be read again."""
    return f"pubsub-gap:{organization}"


def place_of(raw: bytes) -> Place:
    """A place as the hub kept it. ValueError: it was not written here."""
    if not raw:
        return Place()
    try:
        content = json.loads(raw)
        replay_id = base64.b64decode(content["replay_id"], validate=True)
        told = content["time"]
        moment = datetime.fromisoformat(told).astimezone(UTC) if told else None
        return Place(replay_id, moment)
    except (KeyError, TypeError, binascii.Error) as error:
        raise ValueError("the cursor is no place in a topic") from error


def place_bytes(place: Place) -> bytes:
    """A place as the hub keeps it."""
    moment = place.time.isoformat() if place.time is not None else ""
    told = {"replay_id": base64.b64encode(place.replay_id).decode(), "time": moment}
    return json.dumps(told, separators=(",", ":")).encode()


def window_of(raw: bytes) -> Window | None:
    """A window as the hub kept it; None: there is none. ValueError: it was not written here."""
    if not raw:
        return None
    try:
        content = json.loads(raw)
        since, until = (
            datetime.fromisoformat(content[each]).astimezone(UTC) for each in ("since", "until")
        )
    except (KeyError, TypeError) as error:
        raise ValueError("the cursor is no window of changes") from error
    return Window(since, until)


def window_bytes(window: Window | None) -> bytes:
    """A window as the hub keeps it."""
    if window is None:
        return b""
    told = {"since": window.since.isoformat(), "until": window.until.isoformat()}
    return json.dumps(told, separators=(",", ":")).encode()
