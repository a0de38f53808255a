"""The vendor of the fault tests: it sells documents, and lies, hangs and forgets as real ones do.

One process plays the vendors of all endpoints; each path begins with the endpoint. What strikes a
call is drawn from the seed, the order's number, the operation and how often that was asked for, so
the same seed brings the same misfortune to the same order.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from crossdock_adapters.sdk.sandbox import (
    Call,
    Command,
    Sandbox,
    SandboxConfig,
    VendorError,
    VendorRoute,
    json_response,
)
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse

from tests.faults.yard import label_books

HANG_SECONDS = 60.0
# A draft takes this share of the time that selling takes.
DRAFT_SHARE = 0.3
# Headers in which a sender says when a request left, and how far its lease reached then.
SENT_AT, LEASE_UNTIL = "x-sent-at", "x-lease-until"
STAMPS = {SENT_AT: "sent_at", LEASE_UNTIL: "lease_until"}


@dataclass(frozen=True, slots=True)
class Mix:
    """How often what strikes, as shares of calls; what is left over goes well.

    timed_out: booked, then silence. failed_after: booked, then 500. dropped: cut, nothing booked.
    unavailable: 503, nothing booked. late: cut, and booked up to late_seconds afterwards. silent:
    nothing booked, no answer. trickle: booked, and the answer comes a byte a second. rejected: 422.
    lie, broken: a look-up that says "not found" of what is there (never twice running), or fails.
    stale_seconds: look-ups show nothing that was booked so short a time ago. work_seconds: how long
    a call takes that goes well. honours_keys: a key that was used gives the same document again.
    """

    timed_out: float = 0.0
    failed_after: float = 0.0
    dropped: float = 0.0
    unavailable: float = 0.0
    late: float = 0.0
    silent: float = 0.0
    trickle: float = 0.0
    rejected: float = 0.0
    lie: float = 0.0
    broken: float = 0.0
    late_seconds: float = 1.0
    stale_seconds: float = 0.0
    work_seconds: float = 0.01
    honours_keys: bool = False


STRIKES = (
    "timed_out", "failed_after", "dropped", "unavailable", "late", "silent", "trickle", "rejected",
)  # fmt: skip
LOOK_UP_STRIKES = ("lie", "broken")


def drawn(mix: Mix, strikes: tuple[str, ...], chance: random.Random) -> str:
    """What strikes one call; "" for nothing."""
    at = chance.random()
    for name in strikes:
        at -= float(getattr(mix, name))
        if at < 0:
            return name
    return ""


@dataclass(frozen=True, slots=True)
class Deed:
    """What a request is for. do: it, and whether the books changed. tell: the answer after that."""

    kind: str
    do: Callable[[], bool]
    tell: Callable[[], dict[str, str]]


class Yard(Sandbox):
    """POST and GET /<endpoint>/documents; the books say what was sold and who asked for it.

    Or POST /<endpoint>/drafts, of which nothing comes, and POST /<endpoint>/drafts/<id>/confirm,
    which sells what was drafted; the same draft is sold once, another draft is sold besides.
    POST /<endpoint>/documents/<number>/void takes a label back, once however often it is asked.
    """

    name = "yard"

    def __init__(self, config: SandboxConfig) -> None:
        super().__init__(config)
        self.mixes: dict[str, Mix] = {}
        self.effects: list[dict[str, Any]] = []
        self.asked: list[dict[str, Any]] = []
        self._counts: Counter[tuple[str, ...]] = Counter()
        self._late: set[asyncio.Task[None]] = set()
        self._lied: set[tuple[str, str]] = set()
        self._drafts = 0
        # Draft -> what was sold by it.
        self._sold_by: dict[str, dict[str, Any]] = {}
        for endpoint, values in config.settings.items():
            self.mixes[endpoint] = _mix(values)

    def routes(self) -> list[VendorRoute]:
        return [
            VendorRoute("POST", "/{endpoint}/documents", self.sell, "sell", effect=True),
            VendorRoute("GET", "/{endpoint}/documents/{key}", self.find, "find"),
            VendorRoute("POST", "/{endpoint}/drafts", self.draft, "draft"),
            VendorRoute(
                "POST", "/{endpoint}/drafts/{draft}/confirm", self.confirm, "confirm", effect=True
            ),
            VendorRoute(
                "POST", "/{endpoint}/documents/{number}/void", self.void, "void", effect=True
            ),
            VendorRoute("GET", "/{endpoint}/open", self.open, "open"),
        ]

    def commands(self) -> dict[str, Command]:
        return {"mix": self.change_mix}

    def books(self) -> dict[str, Any]:
        return {"effects": self.effects, "asked": self.asked}

    async def change_mix(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """From now on other things strike the calls of one endpoint."""
        self.mixes[arguments["endpoint"]] = _mix(arguments["mix"])
        return asdict(self.mixes[arguments["endpoint"]])

    async def open(self, request: Request, call: Call) -> Response:
        return json_response({"open": True})

    async def sell(self, request: Request, call: Call) -> Response:
        endpoint, body = request.path_params["endpoint"], await _body(request)
        mix = self.mixes.get(endpoint, Mix())
        key = str(body["key"])
        deed = Deed(
            "CALL",
            lambda: self._book(endpoint, mix, body),
            lambda: label_books.told(self._of(endpoint, key)[-1]),
        )
        return await self._answered(endpoint, mix, body, deed, call)

    async def draft(self, request: Request, call: Call) -> Response:
        endpoint, body = request.path_params["endpoint"], await _body(request)
        mix = self.mixes.get(endpoint, Mix())
        self._drafts += 1
        # Known from the start, told in the end: what is struck on the way stays a draft.
        body["draft"] = f"D-{self._drafts:06}"
        deed = Deed("DRAFT", lambda: False, lambda: {"draft": body["draft"]})
        share = mix.work_seconds * DRAFT_SHARE
        return await self._answered(endpoint, replace(mix, work_seconds=share), body, deed, call)

    async def confirm(self, request: Request, call: Call) -> Response:
        endpoint, body = request.path_params["endpoint"], await _body(request)
        mix = self.mixes.get(endpoint, Mix())
        body["draft"] = draft = request.path_params["draft"]

        def sell() -> bool:
            if draft in self._sold_by:
                return False
            made = self._book(endpoint, mix, body)
            self._sold_by[draft] = self._of(endpoint, str(body["key"]))[-1]
            return made

        deed = Deed("CALL", sell, lambda: label_books.told(self._sold_by[draft]))
        return await self._answered(endpoint, mix, body, deed, call)

    async def void(self, request: Request, call: Call) -> Response:
        endpoint, body = request.path_params["endpoint"], await request.json()
        number = request.path_params["number"]

        def take_back() -> bool:
            ours = (e for e in self.effects if e["number"] == number and "price" in e)
            sold = next(ours, None)
            if sold is None:
                raise VendorError(404, {"error": "no such label"})
            if sold["voided_at"]:
                return False
            sold["voided_at"] = _now()
            self._keep(endpoint, number, body)
            return True

        deed = Deed("CALL", take_back, lambda: {"voided": number})
        return await self._answered(endpoint, self.mixes.get(endpoint, Mix()), body, deed, call)

    async def _answered(
        self, endpoint: str, mix: Mix, body: Any, deed: Deed, call: Call
    ) -> Response:
        asked = self._note(endpoint, deed.kind, body)
        call.key = str(body["key"])
        strike = drawn(mix, STRIKES, self._chance(endpoint, deed.kind, body))
        await asyncio.sleep(mix.work_seconds)
        try:
            if strike == "late":
                delay = mix.late_seconds * self._chance(endpoint, "late", body).uniform(0.4, 1.0)
                later = asyncio.create_task(_done_later(delay, deed))
                self._late.add(later)
                later.add_done_callback(self._late.discard)
                raise ClientDisconnect
            return await self._struck(strike, deed, asked, call)
        finally:
            asked["end"], asked["effect"] = _now(), bool(call.effect)

    async def _struck(self, strike: str, deed: Deed, asked: dict[str, Any], call: Call) -> Response:
        if strike == "silent":
            await asyncio.sleep(HANG_SECONDS)
        if strike in ("dropped", "silent"):
            raise ClientDisconnect
        if strike in ("unavailable", "rejected"):
            asked["status"] = 503 if strike == "unavailable" else 422
            raise VendorError(asked["status"], {"error": strike})
        call.effect = deed.do()
        if strike == "timed_out":
            await asyncio.sleep(HANG_SECONDS)
            raise ClientDisconnect
        asked["status"] = 500 if strike == "failed_after" else 201
        if strike == "failed_after":
            raise VendorError(500, {"error": "internal"})
        told = deed.tell()
        if strike == "trickle":
            return StreamingResponse(_dripping(json.dumps(told)), 201)
        return json_response(told, 201)

    def _book(self, endpoint: str, mix: Mix, body: Any) -> bool:
        if mix.honours_keys and self._of(endpoint, body["key"]):
            return False
        number = f"{endpoint}-{len(self.effects) + 1:06}"
        effect = self._keep(endpoint, number, body)
        if body["operation"] == label_books.BUY:
            effect.update(label_books.label_of(self.config.seed, number), voided_at=0)
        return True

    def _keep(self, endpoint: str, number: str, body: Any) -> dict[str, Any]:
        kept = ("operation", "delivery_id", "key", "subject", "revision")
        effect = {"endpoint": endpoint, "number": number, "made_at": _now()}
        effect |= {name: body[name] for name in kept}
        self.effects.append(effect)
        return effect

    async def find(self, request: Request, call: Call) -> Response:
        endpoint, key = request.path_params["endpoint"], request.path_params["key"]
        body = _stamped(request, dict(request.query_params)) | {"key": key}
        asked = self._note(endpoint, "LOOK_UP", body)
        mix = self.mixes.get(endpoint, Mix())
        strike = drawn(mix, LOOK_UP_STRIKES, self._chance(endpoint, "LOOK_UP", body))
        if strike == "lie" and (endpoint, key) in self._lied:
            strike = ""
        if strike != "broken":
            lied = self._lied.add if strike == "lie" else self._lied.discard
            lied((endpoint, key))
        call.key = key
        until = _now() - int(mix.stale_seconds * 1e6)
        indexed = [each for each in self._of(endpoint, key) if each["made_at"] <= until]
        found = [] if strike == "lie" else indexed
        asked["end"], asked["found"], asked["status"] = _now(), bool(found), 200
        if strike == "broken":
            asked["status"] = 500
            raise VendorError(500, {"error": "the index is rebuilt"})
        return json_response({"documents": [label_books.told(each) for each in found]})

    def _of(self, endpoint: str, key: str) -> list[dict[str, Any]]:
        return [e for e in self.effects if e["key"] == key and e["endpoint"] == endpoint]

    def _chance(self, endpoint: str, kind: str, body: Any) -> random.Random:
        place = (endpoint, kind, str(body["subject"]), str(body["operation"]))
        self._counts[place] += 1
        words = ":".join((str(self.config.seed), *place, str(self._counts[place])))
        return random.Random(words)

    def _note(self, endpoint: str, kind: str, body: Any) -> dict[str, Any]:
        asked = {
            "endpoint": endpoint, "kind": kind, "operation": body["operation"],
            "delivery_id": body["delivery_id"], "attempt": int(body["attempt"]),
            "key": body["key"], "start": _now(), "end": None, "status": None, "effect": False,
            "sent_at": int(body.get("sent_at", 0)), "lease_until": int(body.get("lease_until", 0)),
            "found": False, "draft": body.get("draft", ""),
        }  # fmt: skip
        self.asked.append(asked)
        return asked


async def _body(request: Request) -> dict[str, Any]:
    return _stamped(request, await request.json())


def _stamped(request: Request, body: dict[str, Any]) -> dict[str, Any]:
    """A request with what its sender stamped on it last; others say in the body when they wrote
    it."""
    stamps = {name: request.headers[header] for header, name in STAMPS.items()
              if header in request.headers}  # fmt: skip
    return body | stamps


async def _done_later(seconds: float, deed: Deed) -> None:
    await asyncio.sleep(seconds)
    deed.do()


async def _dripping(text: str) -> AsyncIterator[str]:
    for character in text:
        yield character
        await asyncio.sleep(1.0)


def _mix(values: Any) -> Mix:
    known = {each.name for each in fields(Mix)}
    unknown = set(values) - known
    if unknown:
        raise ValueError(f"no such strike: {', '.join(sorted(unknown))}")
    return Mix(**{name: _plain(value) for name, value in values.items()})


def _plain(value: Any) -> Any:
    # Fractions come as Decimal from the control port.
    return value if isinstance(value, bool) else float(value)


def _now() -> int:
    return int(time.time() * 1e6)
