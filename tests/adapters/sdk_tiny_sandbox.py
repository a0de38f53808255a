"""The smallest possible vendor: it books things by key. Used by the tests of the SDK."""

from __future__ import annotations

from typing import Any

from crossdock_adapters.sdk.conformance import payloads
from crossdock_adapters.sdk.sandbox import (
    Call,
    Command,
    Sandbox,
    VendorError,
    VendorRoute,
    json_response,
)
from starlette.requests import Request
from starlette.responses import Response


class TinySandbox(Sandbox):
    """POST /bookings {key}, GET /bookings/{key}, drafts, POST /token, and a ticking counter."""

    name = "tiny"

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.bookings: list[dict[str, Any]] = []
        self.drafts: list[str] = []
        self.confirmed: list[str] = []
        self.lie = ""
        self.repeats = ""
        self.honours_keys = False
        self.tokens_given = 0
        self.valid_token = ""
        self.ticks = 0

    def routes(self) -> list[VendorRoute]:
        return [
            VendorRoute("POST", "/bookings", self.book, "book", effect=True),
            VendorRoute("GET", "/bookings/{key}", self.find, "find"),
            VendorRoute("POST", "/drafts", self.draft, "draft", effect=True),
            VendorRoute("POST", "/drafts/{id}/confirm", self.confirm, "confirm", effect=True),
            VendorRoute("POST", "/token", self.token, "token"),
            VendorRoute("GET", "/large", self.large, "large"),
            VendorRoute("GET", "/inflating", self.inflating, "inflating"),
        ]

    def books(self) -> dict[str, Any]:
        return {
            "bookings": self.bookings,
            "drafts": self.drafts,
            "confirmed": self.confirmed,
            "ticks": self.ticks,
        }

    def commands(self) -> dict[str, Command]:
        return {"notify": self.notify}

    async def tick(self) -> None:
        self.ticks += 1

    async def book(self, request: Request, call: Call) -> Response:
        body = await request.json()
        if not isinstance(body.get("key"), str):
            raise VendorError(422, {"error": "key missing"})
        if "token" in body and request.headers.get("authorization") != f"Bearer {self.valid_token}":
            raise VendorError(401, {"error": "token"})
        call.key = body["key"]
        if self.honours_keys and self.bookings:
            return json_response(self.bookings[0], 201)
        repeated = {"who": self.repeats} if self.repeats else {}
        self.bookings.append({"key": call.key, "number": len(self.bookings) + 1, **repeated})
        return json_response(self.bookings[-1], 201)

    async def find(self, request: Request, call: Call) -> Response:
        call.key = request.path_params["key"]
        found = [b for b in self.bookings if b["key"] == call.key]
        if self.lie == "wrong object":
            found = [{"key": "SOMEBODY-ELSES", "number": 4711}]
        elif self.lie == "no json":
            return Response(b"<html>all is well</html>", media_type="text/html")
        return json_response({"found": found})

    async def draft(self, request: Request, call: Call) -> Response:
        """A draft costs nothing and is never de-duplicated."""
        shown = request.headers.get("authorization", "")
        if shown and shown != f"Bearer {self.valid_token}":
            raise VendorError(401, {"error": "token"})
        call.key = (await request.json())["key"]
        self.drafts.append(f"D-{len(self.drafts) + 1}")
        return json_response({"draft": self.drafts[-1]}, 201)

    async def confirm(self, request: Request, call: Call) -> Response:
        """Confirming a draft again changes nothing."""
        call.key = request.path_params["id"]
        if call.key not in self.drafts:
            raise VendorError(404, {"error": "no such draft"})
        if call.key not in self.confirmed:
            self.confirmed.append(call.key)
        return json_response({"number": call.key.replace("D", "S")})

    async def token(self, request: Request, call: Call) -> Response:
        self.tokens_given += 1
        self.valid_token = f"token-{self.tokens_given}"
        return json_response({"access_token": self.valid_token, "expires_in": 100})

    async def large(self, request: Request, call: Call) -> Response:
        return Response(b"x" * int(request.query_params["bytes"]))

    async def inflating(self, request: Request, call: Call) -> Response:
        packed = payloads.inflating(int(request.query_params["mib"]))
        return Response(packed, headers={"Content-Encoding": payloads.GZIP})

    async def notify(self, arguments: dict[str, Any]) -> dict[str, Any]:
        for number in range(int(arguments["count"])):
            body = {"key": arguments["key"], "number": number}
            await self.webhook(arguments["url"], body, {"credential": "c"}, key=arguments["key"])
        return {"sent": int(arguments["count"])}
