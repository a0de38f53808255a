"""The control port of a sandbox: its books, its call log, its faults, its commands."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from crossdock_adapters.sdk import vendor_json
from crossdock_adapters.sdk.faults import FaultRefused, Faults, check_operation

MAX_BODY_BYTES = 1024 * 1024
MAX_ID_DIGITS = 18


class Controlled(Protocol):
    """A sandbox, as far as its control port shows and moves it."""

    faults: Faults

    @property
    def vendor_url(self) -> str: ...

    @property
    def listening(self) -> bool: ...

    @property
    def tick_error(self) -> str: ...

    @property
    def calls(self) -> Iterable[Any]: ...

    @property
    def calls_dropped(self) -> int: ...

    def books(self) -> Any: ...

    def operations(self) -> Collection[str]: ...

    def commands(self) -> Mapping[str, Callable[[dict[str, Any]], Awaitable[Any]]]: ...

    def webhook_log(self) -> list[dict[str, Any]]: ...

    async def apply_outage(self) -> None: ...


def control_app(sandbox: Controlled, name: str) -> Starlette:
    """GET /health /books /calls /webhooks /faults, POST and DELETE /faults, POST /commands/x."""
    control = _Control(sandbox, name)
    return Starlette(
        routes=[
            Route("/health", control.health, methods=["GET"]),
            Route("/books", control.books, methods=["GET"]),
            Route("/calls", control.calls, methods=["GET"]),
            Route("/webhooks", control.webhooks, methods=["GET"]),
            Route("/faults", control.faults, methods=["GET"]),
            Route("/faults", control.add_fault, methods=["POST"]),
            Route("/faults", control.clear_faults, methods=["DELETE"]),
            Route("/commands/{name}", control.command, methods=["POST"]),
        ]
    )


class _Control:
    def __init__(self, sandbox: Controlled, name: str) -> None:
        self._sandbox = sandbox
        self._name = name

    async def health(self, _: Request) -> Response:
        sandbox = self._sandbox
        return _json(
            {
                "name": self._name,
                "vendor_url": sandbox.vendor_url,
                "listening": sandbox.listening,
                "tick_error": sandbox.tick_error,
                "calls_dropped": sandbox.calls_dropped,
            },
            200 if not sandbox.tick_error else 500,
        )

    async def books(self, _: Request) -> Response:
        return _json(self._sandbox.books())

    async def calls(self, request: Request) -> Response:
        """All calls, or those with an id above `after`, or of one `operation`."""
        text = request.query_params.get("after") or "0"
        if not (text.isascii() and text.isdigit() and len(text) <= MAX_ID_DIGITS):
            return _json({"error": "after: the id of a call, a whole number"}, 400)
        after = int(text)
        operation = request.query_params.get("operation")
        if operation is not None:
            try:
                check_operation(operation, self._sandbox.operations())
            except FaultRefused as refused:
                return _json({"error": str(refused)}, 400)
        rows = [
            call.as_json()
            for call in self._sandbox.calls
            if call.id > after and operation in (None, call.operation)
        ]
        return _json({"calls": rows, "dropped": self._sandbox.calls_dropped})

    async def webhooks(self, _: Request) -> Response:
        return _json({"webhooks": self._sandbox.webhook_log()})

    async def faults(self, _: Request) -> Response:
        return _json({"faults": self._sandbox.faults.as_json()})

    async def add_fault(self, request: Request) -> Response:
        spec = await _body(request)
        if isinstance(spec, Response):
            return spec
        try:
            fault = self._sandbox.faults.add(spec)
        except FaultRefused as refused:
            return _json({"error": str(refused)}, 400)
        # Before the answer, so that the caller's next call meets the fault.
        await self._sandbox.apply_outage()
        rows = [row for row in self._sandbox.faults.as_json() if row["id"] == fault.id]
        return _json(rows[0] if rows else {"id": fault.id}, 201)

    async def clear_faults(self, request: Request) -> Response:
        cleared = self._sandbox.faults.clear(request.query_params.get("kind"))
        await self._sandbox.apply_outage()
        return _json({"cleared": cleared})

    async def command(self, request: Request) -> Response:
        name = request.path_params["name"]
        commands = self._sandbox.commands()
        if name not in commands:
            return _json({"error": f"no command {name}", "commands": sorted(commands)}, 404)
        arguments = await _body(request)
        if isinstance(arguments, Response):
            return arguments
        try:
            return _json(await commands[name](arguments))
        except (KeyError, ValueError, TypeError) as error:
            return _json({"error": f"{type(error).__name__}: {error}"}, 400)


async def _body(request: Request) -> dict[str, Any] | Response:
    raw = await request.body()
    if len(raw) > MAX_BODY_BYTES:
        return _json({"error": "body too large"}, 413)
    try:
        value = vendor_json.loads(raw) if raw else {}
    except ValueError:
        return _json({"error": "the body is not JSON"}, 400)
    if not isinstance(value, dict):
        return _json({"error": "the body is not a JSON object"}, 400)
    return {str(name): item for name, item in value.items()}


def _json(body: Any, status: int = 200) -> Response:
    return Response(vendor_json.dumps(body), status_code=status, media_type="application/json")
