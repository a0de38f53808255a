"""The control port of a simulated vendor: its own books, its call log, its faults."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final
from urllib.parse import quote, urlencode

from crossdock.cli.problems import CommandError

ANSWER_SECONDS: Final = 20.0
MAXIMUM_ANSWER_BYTES: Final = 256 << 20

# A proxy of the environment must not come between us and the loopback.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class SandboxControl:
    """One sandbox. Every method raises CommandError when it is away or refuses."""

    def __init__(self, name: str, control_url: str) -> None:
        self.name = name
        self.control_url = control_url.rstrip("/")

    async def health(self) -> dict[str, Any]:
        """Whether its world moves and its vendor port is open."""
        return await self._ask("GET", "/health")

    async def books(self) -> dict[str, Any]:
        """Every record that the vendor holds."""
        return await self._ask("GET", "/books")

    async def calls(self, after: int = 0, operation: str = "") -> list[dict[str, Any]]:
        """Its call log from an id on."""
        query = {"after": after, **({"operation": operation} if operation else {})}
        answer = await self._ask("GET", f"/calls?{urlencode(query)}")
        if answer["dropped"]:
            raise CommandError(
                f"sandbox {self.name} left {answer['dropped']} calls out of its log",
                next_step="start crossdock dev again: the log begins anew",
            )
        return list(answer["calls"])

    async def webhooks(self) -> list[dict[str, Any]]:
        """Every webhook it sent, copies included."""
        return list((await self._ask("GET", "/webhooks"))["webhooks"])

    async def faults(self) -> list[dict[str, Any]]:
        """The faults in force."""
        return list((await self._ask("GET", "/faults"))["faults"])

    async def fault(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Begin a fault; fields of None are left out."""
        given = {name: value for name, value in fields.items() if value is not None}
        return await self._ask("POST", "/faults", {"kind": kind, **given})

    async def clear(self, kind: str = "") -> int:
        """End all faults, or those of one kind; how many ended."""
        path = "/faults" + (f"?{urlencode({'kind': kind})}" if kind else "")
        return int((await self._ask("DELETE", path))["cleared"])

    async def command(self, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """What people at the vendor do by hand."""
        return await self._ask("POST", f"/commands/{quote(name)}", dict(arguments))

    async def _ask(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        return await asyncio.to_thread(self._exchange, method, path, body)

    def _exchange(self, method: str, path: str, body: Any) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.control_url + path,
            data=data,
            method=method,
            headers={"Content-Type": "application/json"},
        )
        try:
            with _OPENER.open(request, timeout=ANSWER_SECONDS) as response:
                raw = response.read(MAXIMUM_ANSWER_BYTES)
        except urllib.error.HTTPError as error:
            raw = error.read(MAXIMUM_ANSWER_BYTES)
            raise CommandError(
                f"sandbox {self.name} refuses",
                _problem(raw),
                f"crossdock sandbox faults {self.name}",
            ) from None
        except OSError as error:
            raise CommandError(
                f"sandbox {self.name} does not answer at {self.control_url}",
                str(error),
                "crossdock doctor; or start one: crossdock dev",
            ) from None
        found: dict[str, Any] = json.loads(raw, parse_float=Decimal)
        return found


def _problem(raw: bytes) -> str:
    try:
        document = json.loads(raw)
    except ValueError:
        return raw.decode("utf-8", "replace")[:300]
    listed = document.get("commands")
    return str(document.get("error", document)) + (f"; there are: {listed}" if listed else "")
