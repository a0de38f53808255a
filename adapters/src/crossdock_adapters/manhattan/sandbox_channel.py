"""The simulated Google Cloud Pub/Sub in front of the warehouse, as a REST subset."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response

from crossdock_adapters.sdk import vendor_json
from crossdock_adapters.sdk.faults import FaultKind
from crossdock_adapters.sdk.sandbox import Call, Sandbox, VendorError, VendorRoute, json_response

from . import sandbox_messages as messages
from .sandbox_access import AccessRefusal, ServiceAccount, Tokens
from .sandbox_pubsub import MAX_ACK_DEADLINE_SECONDS, PubSubMessage, Subscription
from .sandbox_records import OutMessage

DEFAULT_ACK_DEADLINE_SECONDS = 10
DEFAULT_PULL_WAIT_SECONDS = 1.0
# One subscription per interface, as the vendor's project team hands them out.
DEFAULT_SUBSCRIPTIONS = {
    messages.PICK: "host-pick",
    messages.PACK: "host-pack",
    messages.SHIP: "host-ship",
    messages.UNKNOWN: "host-pick",
}


class Channel:
    """The subscriptions of one environment and their REST surface.

    Settings of the sandbox it reads: subscriptions, ack_deadline_seconds, pull_wait_seconds,
    duplicate_rate.
    """

    def __init__(self, sandbox: Sandbox, account: ServiceAccount, tokens: Tokens) -> None:
        given = sandbox.settings
        self._sandbox = sandbox
        self._account = account
        self._tokens = tokens
        deadline = float(given.get("ack_deadline_seconds", DEFAULT_ACK_DEADLINE_SECONDS))
        routing = dict(given.get("subscriptions", DEFAULT_SUBSCRIPTIONS))
        self._routing = {str(kind): str(name) for kind, name in routing.items()}
        self._subscriptions = {
            name: Subscription(name, deadline) for name in dict.fromkeys(self._routing.values())
        }
        self._pull_wait_seconds = float(given.get("pull_wait_seconds", DEFAULT_PULL_WAIT_SECONDS))
        self._duplicate_rate = float(given.get("duplicate_rate", 0.0))
        self._published = asyncio.Event()
        self._message_number = 0

    def routes(self) -> Sequence[VendorRoute]:
        subscription = "/v1/projects/{project}/subscriptions/{name}"
        return [
            VendorRoute("POST", "/token", self._token, "pubsub_token"),
            VendorRoute("POST", subscription + ":pull", self._pull, "pubsub_pull"),
            VendorRoute(
                "POST", subscription + ":acknowledge", self._acknowledge, "pubsub_acknowledge"
            ),
            VendorRoute("POST", subscription + ":modifyAckDeadline", self._modify, "pubsub_modify"),
        ]

    def publish(self, message: OutMessage, now: datetime) -> None:
        """Send a message of the warehouse; faults may double it or hold it back."""
        message.sent += 1
        name = self._routing.get(message.type)
        if name is None:
            return
        attributes = {
            "MessageType": message.type,
            "FacilityId": message.facility_id,
            "BusinessKey": message.business_key,
        }
        data = base64.b64encode(vendor_json.dumps(message.payload)).decode()
        wire = self._message(data, attributes, message.original_order_id)
        sandbox = self._sandbox
        available = now
        if (fault := sandbox.fault(FaultKind.LATE_WEBHOOKS, "message")) is not None:
            # Uneven delays, so held-back messages also overtake each other.
            available += timedelta(seconds=fault.delay_seconds * (0.5 + sandbox.random.random()))
        twice = sandbox.fault(FaultKind.DUPLICATE_WEBHOOKS, "message") is not None
        twice = twice or sandbox.random.random() < self._duplicate_rate
        for _ in range(2 if twice else 1):
            self._subscriptions[name].publish(wire, available)
        self._published.set()

    def publish_raw(self, name: str, data: str, attributes: dict[str, str]) -> str:
        """Send anything at all to one subscription; returns the message id."""
        wire = self._message(data, attributes, "")
        self._subscriptions[name].publish(wire, self._sandbox.now())
        self._published.set()
        return wire.message_id

    def tick(self) -> None:
        """Give back expired leases and wake pulls that wait for them."""
        now = self._sandbox.now()
        for subscription in self._subscriptions.values():
            subscription.expire(now)
            if subscription.waiting:
                self._published.set()

    def expire_tokens(self) -> int:
        return self._tokens.expire_all()

    def as_json(self) -> dict[str, Any]:
        return {name: each.as_json() for name, each in self._subscriptions.items()}

    async def _token(self, request: Request, call: Call) -> Response:
        now = self._sandbox.now()
        form = dict(parse_qsl((await request.body()).decode("utf-8", "replace")))
        try:
            self._account.check(form, f"{self._sandbox.vendor_url}/token", now)
        except AccessRefusal as refused:
            raise VendorError(refused.status, refused.body) from None
        return json_response(self._tokens.answer(now))

    async def _pull(self, request: Request, call: Call) -> Response:
        subscription = self._subscription(request)
        maximum = (await _object(request)).get("maxMessages")
        if not isinstance(maximum, int) or maximum < 1:
            raise _error(400, "INVALID_ARGUMENT", "maxMessages must be positive")
        until = self._sandbox.now() + timedelta(seconds=self._pull_wait_seconds)
        received = subscription.pull(maximum, self._sandbox.now())
        # The body is read: what comes next from there is that nobody is there any more.
        gone = asyncio.ensure_future(request.receive())
        try:
            while not received and (left := (until - self._sandbox.now()).total_seconds()) > 0:
                await self._wait_for_news(gone, left)
                if gone.done():
                    # Nobody takes a lease.
                    break
                received = subscription.pull(maximum, self._sandbox.now())
                if not received:
                    # The news may be of another subscription, or of a message held back.
                    await asyncio.sleep(min(left, self._sandbox.config.tick_seconds))
        finally:
            gone.cancel()
        call.key = subscription.name
        call.effect = bool(received)
        return json_response({"receivedMessages": received} if received else {})

    async def _wait_for_news(self, gone: asyncio.Future[Any], seconds: float) -> None:
        """Until something is published, the caller is gone, or the time is over."""
        self._published.clear()
        news = asyncio.create_task(self._published.wait())
        await asyncio.wait({news, gone}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        news.cancel()

    async def _acknowledge(self, request: Request, call: Call) -> Response:
        subscription = self._subscription(request)
        ack_ids = _ack_ids(await _object(request))
        call.key = subscription.name
        call.effect = subscription.acknowledge(ack_ids, self._sandbox.now()) > 0
        return json_response({})

    async def _modify(self, request: Request, call: Call) -> Response:
        subscription = self._subscription(request)
        body = await _object(request)
        seconds = body.get("ackDeadlineSeconds")
        if not isinstance(seconds, int) or not 0 <= seconds <= MAX_ACK_DEADLINE_SECONDS:
            raise _error(400, "INVALID_ARGUMENT", "ackDeadlineSeconds is out of range")
        call.key = subscription.name
        call.effect = subscription.modify(_ack_ids(body), seconds, self._sandbox.now()) > 0
        return json_response({})

    def _subscription(self, request: Request) -> Subscription:
        authorization = request.headers.get("authorization", "")
        if not self._tokens.valid(authorization, self._sandbox.now()):
            raise _error(401, "UNAUTHENTICATED", "the access token is not valid")
        name = request.path_params["name"]
        found = self._subscriptions.get(name)
        if found is None or request.path_params["project"] != self._account.project:
            raise _error(404, "NOT_FOUND", f"Resource not found (resource={name}).")
        return found

    def _message(self, data: str, attributes: dict[str, str], ordering_key: str) -> PubSubMessage:
        self._message_number += 1
        number = f"{self._sandbox.config.seed % 10_000:04d}{self._message_number:012d}"
        return PubSubMessage(number, data, attributes, self._sandbox.now(), ordering_key)


def _ack_ids(body: Mapping[str, Any]) -> list[str]:
    ack_ids = body.get("ackIds")
    if not isinstance(ack_ids, list) or not ack_ids:
        raise _error(400, "INVALID_ARGUMENT", "ackIds must be a list")
    return [str(each) for each in ack_ids]


def _error(status: int, name: str, text: str) -> VendorError:
    return VendorError(status, {"error": {"code": status, "message": text, "status": name}})


async def _object(request: Request) -> dict[str, Any]:
    try:
        body = vendor_json.loads(await request.body() or b"{}")
    except ValueError:
        raise _error(400, "INVALID_ARGUMENT", "the body is not JSON") from None
    if not isinstance(body, dict):
        raise _error(400, "INVALID_ARGUMENT", "the body is not an object")
    return {str(name): value for name, value in body.items()}
