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
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, fields
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

HANG_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Mix:
    """How often what strikes, as shares of calls; what is left over goes well.

    timed_out: booked, then silence. failed_after: booked, then 500. dropped: cut, nothing booked.
    unavailable: 503, nothing booked. late: cut, and booked up to late_seconds afterwards. silent:
    nothing booked, no answer. trickle: booked, and the answer comes a byte a second. rejected: 422.
    lie, broken: a look-up that says "not found" of what is there (never twice running), or fails.
    work_seconds: how long a call takes that goes well. honours_keys: a key that was used gives the
    same document again.
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


class Yard(Sandbox):
    """POST and GET /<endpoint>/documents; the books say what was sold and who asked for it."""

    name = "yard"

    def __init__(self, config: SandboxConfig) -> None:
        super().__init__(config)
        self.mixes: dict[str, Mix] = {}
        self.effects: list[dict[str, Any]] = []
        self.asked: list[dict[str, Any]] = []
        self._counts: Counter[tuple[str, ...]] = Counter()
        self._late: set[asyncio.Task[None]] = set()
        self._lied: set[tuple[str, str]] = set()
        for endpoint, values in config.settings.items():
            self.mixes[endpoint] = _mix(values)

    def routes(self) -> list[VendorRoute]:
        return [
            VendorRoute("POST", "/{endpoint}/documents", self.sell, "sell", effect=True),
            VendorRoute("GET", "/{endpoint}/documents/{key}", self.find, "find"),
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
        body = await request.json()
        endpoint = request.path_params["endpoint"]
        asked = self._note(endpoint, "CALL", body)
        call.key = str(body["key"])
        mix = self.mixes.get(endpoint, Mix())
        strike = drawn(mix, STRIKES, self._chance(endpoint, "CALL", body))
        await asyncio.sleep(mix.work_seconds)
        try:
            return await self._sold(endpoint, mix, strike, body, asked, call)
        finally:
            asked["end"], asked["effect"] = _now(), bool(call.effect)

    async def _sold(
        self, endpoint: str, mix: Mix, strike: str, body: Any, asked: dict[str, Any], call: Call
    ) -> Response:
        if strike == "silent":
            await asyncio.sleep(HANG_SECONDS)
        if strike in ("dropped", "silent"):
            raise ClientDisconnect
        if strike == "late":
            delay = mix.late_seconds * self._chance(endpoint, "late", body).uniform(0.4, 1.0)
            later = asyncio.create_task(self._sell_later(delay, endpoint, mix, body))
            self._late.add(later)
            later.add_done_callback(self._late.discard)
            raise ClientDisconnect
        if strike in ("unavailable", "rejected"):
            asked["status"] = 503 if strike == "unavailable" else 422
            raise VendorError(asked["status"], {"error": strike})
        call.effect = self._book(endpoint, mix, body)
        if strike == "timed_out":
            await asyncio.sleep(HANG_SECONDS)
            raise ClientDisconnect
        asked["status"] = 500 if strike == "failed_after" else 201
        if strike == "failed_after":
            raise VendorError(500, {"error": "internal"})
        told = {"number": self._of(endpoint, body["key"])[-1]["number"]}
        if strike == "trickle":
            return StreamingResponse(_dripping(json.dumps(told)), 201)
        return json_response(told, 201)

    async def _sell_later(self, delay: float, endpoint: str, mix: Mix, body: Any) -> None:
        await asyncio.sleep(delay)
        self._book(endpoint, mix, body)

    def _book(self, endpoint: str, mix: Mix, body: Any) -> bool:
        if mix.honours_keys and self._of(endpoint, body["key"]):
            return False
        number = f"{endpoint}-{len(self.effects) + 1:06}"
        kept = ("operation", "delivery_id", "key", "subject", "revision")
        effect = {name: body[name] for name in kept}
        self.effects.append({"endpoint": endpoint, "number": number, "made_at": _now()} | effect)
        return True

    async def find(self, request: Request, call: Call) -> Response:
        endpoint, key = request.path_params["endpoint"], request.path_params["key"]
        body = dict(request.query_params) | {"key": key}
        asked = self._note(endpoint, "LOOK_UP", body)
        mix = self.mixes.get(endpoint, Mix())
        strike = drawn(mix, LOOK_UP_STRIKES, self._chance(endpoint, "LOOK_UP", body))
        if strike == "lie" and (endpoint, key) in self._lied:
            strike = ""
        if strike != "broken":
            lied = self._lied.add if strike == "lie" else self._lied.discard
            lied((endpoint, key))
        call.key = key
        found = [] if strike == "lie" else self._of(endpoint, key)
        asked["end"], asked["found"], asked["status"] = _now(), bool(found), 200
        if strike == "broken":
            asked["status"] = 500
            raise VendorError(500, {"error": "the index is rebuilt"})
        return json_response({"numbers": [each["number"] for each in found]})

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
            "sent_at": int(body["sent_at"]), "lease_until": int(body["lease_until"]),
            "found": False,
        }  # fmt: skip
        self.asked.append(asked)
        return asked


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
