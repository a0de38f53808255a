"""A user's calls at a SOAP service: envelopes, credentials, message ids, clocks, faults.

    client = SoapClient(settings, secrets, errors)
    said = await client.ask(Operation(path, action, "CreateOrderResponse"), body, effect=True)

What a fault means is in errors.toml. A success is a 200 with the element that belongs to it, in
answer to our message; everything else is unknown once a call with an effect may have left.
"""

from __future__ import annotations

import secrets as random_bytes
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from xml.etree.ElementTree import Element as NewElement

from crossdock_adapters.sdk import exchange, soap
from crossdock_adapters.sdk.error_table import ErrorTable
from crossdock_adapters.sdk.http import Answer, VendorHttp
from crossdock_adapters.sdk.masking import Mask
from crossdock_adapters.sdk.outcomes import NeedsPerson, OutcomeUnknown, Retry, Throttled
from crossdock_adapters.sdk.places import Unreadable
from crossdock_adapters.sdk.settings import Secrets, Settings
from crossdock_adapters.sdk.soap import Fault
from crossdock_adapters.sdk.vendor_xml import Element

# Smaller differences between two clocks are what a service has to bear by itself.
CLOCK_STEP: Final = timedelta(seconds=30)
# Refusals for the security header: nothing was done, and our clock may be why.
CLOCK_CODES: Final = frozenset({
    "MessageExpired", "InvalidSecurity", "InvalidSecurityToken", "FailedAuthentication",
})  # fmt: skip
# Whom a fault blames that says "the message is wrong", in 1.1 and in 1.2.
OUR_FAULT: Final = frozenset({"Client", "Sender"})
MAX_RESULT_BYTES: Final = 1024 * 1024


class BrokenPage(Exception):
    """An answer that came whole and cannot be read: what came, and where it breaks."""

    def __init__(self, body: bytes, problem: Unreadable) -> None:
        super().__init__(str(problem))
        self.body = body


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a service speaks SOAP.

    fault_code: where in the detail of a fault its own code stands. by_text: it keeps no password
    from which it could make a digest. message_life: how long a message is good for; 0: not told.
    clock_correction: how far its clock is followed where it refuses ours; 0: not at all.
    """

    version: str = "1.1"
    fault_code: str = "code"
    by_text: bool = False
    message_life: timedelta = timedelta(0)
    clock_correction: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True)
class Operation:
    """One of its operations: path below the address, action, and the element of its answer."""

    path: str
    action: str
    answer: str
    namespace: str


class SoapClient:
    """One user at a service. Settings: base_url, timeout_seconds, username, password."""

    def __init__(
        self,
        settings: Settings,
        secrets: Secrets,
        errors: ErrorTable,
        dialect: Dialect = Dialect(),
    ) -> None:
        self.errors = errors
        self._settings, self._secrets, self._dialect = settings, secrets, dialect
        # How far the service's clock is before ours, once it refused a call for it.
        self._ahead = timedelta(0)
        self._http = VendorHttp.of(settings)

    async def close(self) -> None:
        """Close the connection pool."""
        await self._http.close()

    async def ask(
        self,
        operation: Operation,
        body: NewElement,
        message_id: str = "",
        *,
        effect: bool,
        pages: bool = False,
    ) -> Element:
        """Call once; once more where the service refused our clock at the door, and told its own.

        message_id: the same for the same work, whoever asks; without one each call has one of its
        own. pages: the answer may be large, and is a BrokenPage where nobody can read it.
        """
        record = exchange.current()
        left_before = record is not None and record.effect_left
        ahead = self._ahead
        try:
            return await self._once(operation, body, message_id, effect, pages)
        except Throttled:
            raise
        except Retry:
            if self._ahead == ahead:
                raise
        if record is not None:
            # Refused for its security header, which proves that nothing was done.
            record.effect_left = left_before
        return await self._once(operation, body, message_id, effect, pages)

    async def _once(
        self, operation: Operation, body: NewElement, message_id: str, effect: bool, pages: bool
    ) -> Element:
        # A service that remembers ids may know that of a call which it refused.
        message_id = message_id or f"urn:uuid:{uuid.uuid4()}"
        token = self._token()
        record = exchange.current()
        if record is not None:
            # Whoever has the digest, its nonce and its time can try passwords in peace.
            record.hide([token.digest])
        answer = await self._http.post(
            operation.path,
            body=soap.envelope(
                body,
                token,
                message_id=message_id,
                action=operation.action,
                to=f"{self._settings.text('base_url').rstrip('/')}/{operation.path.lstrip('/')}",
                version=self._dialect.version,
            ),
            headers=soap.headers(operation.action, self._dialect.version),
            effect=effect,
            max_answer_bytes=None if pages else MAX_RESULT_BYTES,
        )
        try:
            content_type = answer.headers.get("Content-Type", "")
            root = soap.opened(soap.message_in(content_type, answer.body))
            said = soap.content(root, self._dialect.fault_code)
        except Unreadable as error:
            if pages and answer.ok and "html" not in answer.headers.get("Content-Type", ""):
                raise BrokenPage(answer.body, error) from None
            none = Fault("", f"no SOAP answer: {error}")
            raise self._meaning(answer, none, effect, token) from None
        if isinstance(said, Fault):
            self._learn_clock(root, said)
            raise self._meaning(answer, said, effect, token)
        wrong = _strange(answer, root, said, operation, message_id)
        if wrong:
            raise self._meaning(answer, Fault("", wrong), effect, token)
        return said

    def _meaning(
        self, answer: Answer, said: Fault, effect: bool, token: soap.UsernameToken
    ) -> Exception:
        """By the code of the fault that says most and has a row, the last of which is whom it
        blames; else by the HTTP status."""
        named = self._named(said)
        status, code = (answer.status, said.code) if named is None else (0, named)
        by_wider = code != said.code
        text = f"{said.code} {said.text}".strip() if by_wider else said.text
        # A service may repeat what it was sent, and a poll's trouble is told in logs.
        text = Mask([self._secrets.text("password"), token.digest]).over(text)
        wish = answer.wish_seconds()
        found = self.errors.meaning(status, code, text, effect=effect, wish_seconds=wish)
        if effect and by_wider and code in OUR_FAULT and isinstance(found, NeedsPerson):
            # The service's own programs ran, and nobody has said what they mean by this code.
            reason = f"a code without a row in errors_file: {found.reason}"
            return OutcomeUnknown(reason, answer.retry_after_seconds())
        return found

    def _named(self, said: Fault) -> str | None:
        """The code of a fault that says most and has a row."""
        return next((code for code in said.codes if self.errors.names(0, code)), None)

    def _learn_clock(self, root: Element, said: Fault) -> None:
        """Of a refusal for our security header: how far the service's clock is before ours.

        Not farther than the deployment allows: who could make us sign for any day could keep the
        message for it.
        """
        told = soap.told_time(root)
        if told is None or self._named(said) not in CLOCK_CODES:
            return
        ahead = told - datetime.now(UTC)
        most = self._dialect.clock_correction
        if abs(ahead - self._ahead) >= CLOCK_STEP and abs(ahead) <= most:
            self._ahead = ahead

    def _token(self) -> soap.UsernameToken:
        """A new one for each call: services refuse a nonce that they had, and one that is old."""
        return soap.username_token(
            self._settings.text("username"),
            self._secrets.text("password"),
            random_bytes.token_bytes(soap.NONCE_BYTES),
            datetime.now(UTC) + self._ahead,
            by_text=self._dialect.by_text,
            life=self._dialect.message_life,
        )


def _strange(
    answer: Answer, root: Element, said: Element, operation: Operation, message_id: str
) -> str:
    """Why this is no success; "": it is one."""
    if not answer.ok or (said.name, said.namespace) != (operation.answer, operation.namespace):
        return f"{said.name} with HTTP {answer.status} is no {operation.answer}"
    relates = root.text_of("Header/RelatesTo")
    if relates and relates != message_id:
        return "the answer relates to another message"
    return ""
