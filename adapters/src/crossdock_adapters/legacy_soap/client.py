"""One ERP's SOAP service: envelopes, credentials, message ids, clocks, faults; no orders here.

What a fault means is in errors.toml. A success is a 200 with the element that belongs to it, in
answer to our message; everything else is unknown once a call with an effect may have left.
"""

from __future__ import annotations

import secrets as random_bytes
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from xml.etree.ElementTree import Element as NewElement
from zoneinfo import ZoneInfo

from crossdock_adapters.legacy_soap import translate
from crossdock_adapters.legacy_soap.translate import Result
from crossdock_adapters.sdk import exchange, soap, xml_layout
from crossdock_adapters.sdk.error_table import ErrorTable
from crossdock_adapters.sdk.http import Answer, VendorHttp
from crossdock_adapters.sdk.layout_files import Row
from crossdock_adapters.sdk.layout_values import FieldProblem
from crossdock_adapters.sdk.masking import Mask
from crossdock_adapters.sdk.outcomes import (
    NeedsPerson,
    OutcomeUnknown,
    Retry,
    Throttled,
    Untranslatable,
)
from crossdock_adapters.sdk.places import Unreadable
from crossdock_adapters.sdk.settings import Secrets, Settings
from crossdock_adapters.sdk.soap import Fault
from crossdock_adapters.sdk.vendor_xml import Element
from crossdock_adapters.sdk.xml_layout import XmlLayout

LOOK_UP, RESULT, ITEMS = "look_up", "result", "items"
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


class SoapErp:
    """One user at the ERP. `layouts` by name, `errors` by code."""

    def __init__(
        self,
        settings: Settings,
        secrets: Secrets,
        layouts: Mapping[str, XmlLayout],
        errors: ErrorTable,
    ) -> None:
        self.layouts, self.errors = layouts, errors
        self._settings, self._secrets = settings, secrets
        self._version = settings.text("soap_version")
        zone = settings.text("time_zone")
        self._zone = ZoneInfo(zone) if zone else None
        self._form = settings.text("message_id")
        self._most = timedelta(seconds=settings.seconds("clock_correction_seconds"))
        # How far the ERP's clock is before ours, once it refused a call for it.
        self._ahead = timedelta(0)
        self._http = VendorHttp(
            settings.text("base_url"), timeout_seconds=settings.seconds("timeout_seconds")
        )

    async def close(self) -> None:
        """Close the connection pool."""
        await self._http.close()

    def body(self, name: str, rows: Sequence[Row]) -> NewElement:
        """The document of these rows. Untranslatable: a value does not fit its element."""
        try:
            return xml_layout.written(self.layouts[name], rows)
        except FieldProblem as problem:
            raise Untranslatable(f"{name}: {problem}") from None

    async def post(self, name: str, body: NewElement, reference: str) -> list[Result]:
        """Post a document under its message id, the same each time. KnownAlready: it had it."""
        said = await self._ask(self.layouts[name], body, reference, effect=True)
        return self._results(said, reference)

    async def find(self, reference: str) -> list[Result]:
        """What the ERP says of the document that carries the reference; of several, if it took it
        more than once."""
        body = self.body(LOOK_UP, [Row("document", {"reference": reference})])
        return self._results(await self._ask(self.layouts[LOOK_UP], body, effect=False), reference)

    async def items(self, after: int, most: int) -> list[Element]:
        """The items that changed after a change number, oldest first. BrokenPage: nobody can read
        what came."""
        layout = self.layouts[ITEMS]
        question = self.body(ITEMS, [Row("question", {"after": after, "most": most})])
        said = await self._ask(layout, question, effect=False, pages=True)
        return list(xml_layout.all_of(layout, said, "item"))

    async def _ask(
        self,
        layout: XmlLayout,
        body: NewElement,
        reference: str = "",
        *,
        effect: bool,
        pages: bool = False,
    ) -> Element:
        """Call once; once more where the ERP refused our clock at the door, and told its own."""
        record = exchange.current()
        left_before = record is not None and record.effect_left
        ahead = self._ahead
        try:
            return await self._once(layout, body, reference, effect, pages)
        except Throttled:
            raise
        except Retry:
            if self._ahead == ahead:
                raise
        if record is not None:
            # Refused for its security header, which proves that nothing was done.
            record.effect_left = left_before
        return await self._once(layout, body, reference, effect, pages)

    async def _once(
        self, layout: XmlLayout, body: NewElement, reference: str, effect: bool, pages: bool
    ) -> Element:
        message_id = self._message_id(reference)
        token = self._token()
        record = exchange.current()
        if record is not None:
            # Whoever has the digest, its nonce and its time can try passwords in peace.
            record.hide([token.digest])
        answer = await self._http.post(
            layout.path,
            body=soap.envelope(
                body,
                token,
                message_id=message_id,
                action=layout.action,
                to=f"{self._settings.text('base_url').rstrip('/')}/{layout.path.lstrip('/')}",
                version=self._version,
            ),
            headers=soap.headers(layout.action, self._version),
            effect=effect,
            max_answer_bytes=None if pages else MAX_RESULT_BYTES,
        )
        try:
            root = soap.opened(answer.body)
            said = soap.content(root, self._settings.text("fault_code"))
        except Unreadable as error:
            if pages and answer.ok and "html" not in answer.headers.get("Content-Type", ""):
                raise BrokenPage(answer.body, error) from None
            none = Fault("", f"no SOAP answer: {error}")
            raise self._meaning(answer, none, effect, token) from None
        if isinstance(said, Fault):
            self._learn_clock(root, said)
            raise self._meaning(answer, said, effect, token)
        wrong = _strange(answer, root, said, layout, message_id)
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
            # The ERP's own programs ran, and nobody has said what they mean by this code.
            reason = f"a code without a row in errors_file: {found.reason}"
            return OutcomeUnknown(reason, answer.retry_after_seconds())
        return found

    def _named(self, said: Fault) -> str | None:
        """The code of a fault that says most and has a row."""
        return next((code for code in said.codes if self.errors.names(0, code)), None)

    def _learn_clock(self, root: Element, said: Fault) -> None:
        """Of a refusal for our security header: how far the ERP's clock is before ours.

        Not farther than the deployment allows: who could make us sign for any day could keep the
        message for it.
        """
        told = soap.told_time(root)
        if told is None or self._named(said) not in CLOCK_CODES:
            return
        ahead = told - datetime.now(UTC)
        if abs(ahead - self._ahead) >= CLOCK_STEP and abs(ahead) <= self._most:
            self._ahead = ahead

    def _token(self) -> soap.UsernameToken:
        """A new one for each call: services refuse a nonce that they had, and one that is old."""
        return soap.username_token(
            self._settings.text("username"),
            self._secrets.text("password"),
            random_bytes.token_bytes(soap.NONCE_BYTES),
            datetime.now(UTC) + self._ahead,
            by_text=self._settings.text("password_type") == "text",
            life=timedelta(seconds=self._settings.seconds("message_life_seconds")),
        )

    def _message_id(self, reference: str) -> str:
        """The same for the same reference, whoever asks; a question has one of its own."""
        if not reference:
            return f"urn:uuid:{uuid.uuid4()}"
        named = uuid.uuid5(uuid.NAMESPACE_URL, f"urn:crossdock:{reference}")
        return self._form.format(reference=reference, uuid=named)

    def _results(self, said: Element, reference: str) -> list[Result]:
        try:
            found = translate.results(self.layouts[RESULT], said, self._zone)
        except Unreadable as error:
            raise OutcomeUnknown(f"the answer cannot be read: {error}") from None
        if any(each.reference != reference for each in found):
            raise OutcomeUnknown("the answer is about another reference than ours")
        return found


def _strange(
    answer: Answer, root: Element, said: Element, layout: XmlLayout, message_id: str
) -> str:
    """Why this is no success; "": it is one."""
    if not answer.ok or (said.name, said.namespace) != (layout.answer, layout.namespace):
        return f"{said.name} with HTTP {answer.status} is no {layout.answer}"
    relates = root.text_of("Header/RelatesTo")
    if relates and relates != message_id:
        return "the answer relates to another message"
    return ""
