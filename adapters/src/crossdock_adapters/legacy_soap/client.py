"""One ERP's SOAP service: what is posted, found and read by its layouts; no orders here.

How it is called, and what its faults mean, is `sdk.soap_client` with errors.toml.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final
from xml.etree.ElementTree import Element as NewElement
from zoneinfo import ZoneInfo

from crossdock_adapters.legacy_soap import translate
from crossdock_adapters.legacy_soap.translate import Result
from crossdock_adapters.sdk import xml_layout
from crossdock_adapters.sdk.error_table import ErrorTable
from crossdock_adapters.sdk.layout_files import Row
from crossdock_adapters.sdk.layout_values import FieldProblem
from crossdock_adapters.sdk.outcomes import OutcomeUnknown, Untranslatable
from crossdock_adapters.sdk.places import Unreadable
from crossdock_adapters.sdk.settings import Secrets, Settings
from crossdock_adapters.sdk.soap_client import Dialect, Operation, SoapClient
from crossdock_adapters.sdk.vendor_xml import Element
from crossdock_adapters.sdk.xml_layout import XmlLayout

LOOK_UP, RESULT, ITEMS = "look_up", "result", "items"
BY_TEXT: Final = "text"


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
        zone = settings.text("time_zone")
        self._zone = ZoneInfo(zone) if zone else None
        self._form = settings.text("message_id")
        dialect = Dialect(
            settings.text("soap_version"),
            settings.text("fault_code"),
            by_text=settings.text("password_type") == BY_TEXT,
            message_life=timedelta(seconds=settings.seconds("message_life_seconds")),
            clock_correction=timedelta(seconds=settings.seconds("clock_correction_seconds")),
        )
        self._client = SoapClient(settings, secrets, errors, dialect)

    async def close(self) -> None:
        """Close the connection pool."""
        await self._client.close()

    def body(self, name: str, rows: Sequence[Row]) -> NewElement:
        """The document of these rows. Untranslatable: a value does not fit its element."""
        try:
            return xml_layout.written(self.layouts[name], rows)
        except FieldProblem as problem:
            raise Untranslatable(f"{name}: {problem}") from None

    async def post(self, name: str, body: NewElement, reference: str) -> list[Result]:
        """Post a document under its message id, the same each time. KnownAlready: it had it."""
        named = uuid.uuid5(uuid.NAMESPACE_URL, f"urn:crossdock:{reference}")
        message_id = self._form.format(reference=reference, uuid=named)
        said = await self._client.ask(self._operation(name), body, message_id, effect=True)
        return self._results(said, reference)

    async def find(self, reference: str) -> list[Result]:
        """What the ERP says of the document that carries the reference; of several, if it took it
        more than once."""
        body = self.body(LOOK_UP, [Row("document", {"reference": reference})])
        said = await self._client.ask(self._operation(LOOK_UP), body, effect=False)
        return self._results(said, reference)

    async def items(self, after: int, most: int) -> list[Element]:
        """The items that changed after a change number, oldest first. BrokenPage: nobody can read
        what came."""
        question = self.body(ITEMS, [Row("question", {"after": after, "most": most})])
        said = await self._client.ask(self._operation(ITEMS), question, effect=False, pages=True)
        return list(xml_layout.all_of(self.layouts[ITEMS], said, "item"))

    def _operation(self, name: str) -> Operation:
        layout = self.layouts[name]
        return Operation(layout.path, layout.action, layout.answer, layout.namespace)

    def _results(self, said: Element, reference: str) -> list[Result]:
        try:
            found = translate.results(self.layouts[RESULT], said, self._zone)
        except Unreadable as error:
            raise OutcomeUnknown(f"the answer cannot be read: {error}") from None
        if any(each.reference != reference for each in found):
            raise OutcomeUnknown("the answer is about another reference than ours")
        return found
