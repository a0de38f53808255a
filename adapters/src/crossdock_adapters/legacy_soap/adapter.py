"""A legacy ERP by SOAP at the hub: documents are posted under a message id, and looked up by it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from crossdock_adapters.legacy_soap import translate
from crossdock_adapters.legacy_soap.client import BY_TEXT, ITEMS, LOOK_UP, RESULT, SoapErp
from crossdock_adapters.legacy_soap.translate import RESUBMIT, Answers, NotPosted, Result
from crossdock_adapters.sdk import (
    deployed_files,
    erp_items,
    error_table,
    soap,
    vendor_xml,
    xml_layout,
)
from crossdock_adapters.sdk.adapter import Adapter
from crossdock_adapters.sdk.erp_documents import DOCUMENTS, Document, Rules
from crossdock_adapters.sdk.error_table import ErrorTable
from crossdock_adapters.sdk.held_payloads import LeftOut, Overtaken
from crossdock_adapters.sdk.item_changes import Change, ItemChanges
from crossdock_adapters.sdk.outcomes import (
    AnswerLater,
    Confirmed,
    FoundRejected,
    KnownAlready,
    NeedsPerson,
    NotFound,
    OutcomeUnknown,
    Reject,
    Retry,
)
from crossdock_adapters.sdk.places import Unreadable
from crossdock_adapters.sdk.settings import Secrets, Settings, SettingsError
from crossdock_adapters.sdk.soap_client import BrokenPage
from crossdock_adapters.sdk.vendor_xml import Element
from crossdock_adapters.sdk.work import HeldPayload, Poll, Work
from crossdock_adapters.sdk.xml_layout import XmlLayout

ADAPTER = Adapter.load(__package__)

# A reference that no delivery has: what the ERP says of it proves that it can be asked.
NOBODYS_REFERENCE: Final = "CONNECTION-TEST"
PASSWORD_TYPES: Final = ("digest", BY_TEXT)
LOOK_PAUSE_SECONDS: Final = 0.2
PAGE_ITEMS: Final = 100
MAX_PAGES: Final = 1_000
XML: Final = "text/xml"
BY_HAND: Final = "have the ERP mend and tell it anew, then discard this one"


class Erp(SoapErp):
    """The ERP's service, with what this deployment decided about documents, answers, waiting."""

    def __init__(
        self,
        settings: Settings,
        secrets: Secrets,
        layouts: dict[str, XmlLayout],
        errors: ErrorTable,
        answers: Answers,
    ) -> None:
        super().__init__(settings, secrets, layouts, errors)
        self.answers = answers
        self.rules = Rules.of(settings, ADAPTER.mappings, ADAPTER.name)
        self.reads_items = settings.flag("reads_items")
        self.item_changes = ItemChanges(self._changes_behind)
        self.wait_seconds = settings.seconds("answer_wait_seconds")
        self.result_silence = timedelta(seconds=settings.seconds("result_silence_seconds"))

    async def test(self) -> None:
        """Prove that the ERP answers, takes our credentials, and can say that it has nothing."""
        said = await self.find(NOBODYS_REFERENCE)
        strange = [
            each.status for each in said if self.answers.results.get(each.status) != "absent"
        ]
        if strange:
            raise NeedsPerson(
                f"asked for a reference that nobody has, the ERP says {strange[0]!r}: give the "
                'word that it has for this the meaning "absent" in answers_file'
            )

    async def _changes_behind(self, after: int) -> list[Change]:
        """A page of them. What is behind one that nobody can read is told by nobody before it."""
        try:
            page = await self.items(after, PAGE_ITEMS)
        except BrokenPage:
            return []
        return [change for item in page if (change := self._change(item)) is not None]

    def _change(self, item: Element) -> Change | None:
        try:
            known_as = change_of(self.layouts[ITEMS], item)
        except Unreadable:
            return None
        try:
            values = xml_layout.read(self.layouts[ITEMS], item, "item")
            erp_items.item_entry(values, ADAPTER.name, self.rules.units)
        except Unreadable:
            return *known_as, False
        return *known_as, True


@ADAPTER.connect
async def connect(settings: Settings, secrets: Secrets) -> Erp:
    """The service of one ERP. SettingsError when a layout, a table or a word is wrong."""
    if settings.text("soap_version") not in soap.VERSIONS:
        raise SettingsError(f"soap_version must be one of {', '.join(soap.VERSIONS)}")
    if settings.text("password_type") not in PASSWORD_TYPES:
        raise SettingsError(f"password_type must be one of {', '.join(PASSWORD_TYPES)}")
    check_message_id(settings.text("message_id"))
    layouts = loaded_layouts(settings.text("layouts_directory"))
    errors = loaded_errors(settings.text("errors_file"))
    answers = loaded_answers(settings.text("answers_file"))
    return Erp(settings, secrets, layouts, errors, answers)


async def deliver(work: Work, vendor: Erp) -> Confirmed:
    """Post the document, and see what came of it."""
    document = DOCUMENTS[work.operation]
    rows = document.rows(work.event, document.action, work.reference, vendor.rules)
    body = vendor.body(document.layout, rows)
    said: Sequence[Result] = ()
    known = ""
    try:
        said = await vendor.post(document.layout, body, work.reference)
    except KnownAlready as again:
        known = f"; it said {again.reason}"
    try:
        ended = await _wait(work, vendor, document, said)
    except NotPosted:
        raise
    except (Retry, NeedsPerson) as trouble:
        # A call that ends so "left nothing at the vendor", which is no longer true: the ERP has it.
        raise OutcomeUnknown(f"the ERP has it; then: {trouble.reason}") from trouble
    if isinstance(ended, NotFound):
        raise OutcomeUnknown(f"the ERP took it and does not find it{known}")
    if isinstance(ended, FoundRejected):
        raise Reject(ended.code, f"{ended.reason}; {RESUBMIT}" if known else ended.reason)
    return ended


async def look(work: Work, vendor: Erp) -> Confirmed | FoundRejected | NotFound:
    """What came of a document that may have been posted, by its reference."""
    return await _wait(work, vendor, DOCUMENTS[work.operation], ())


for _name in DOCUMENTS:
    ADAPTER.operation(_name)(deliver)
    ADAPTER.look_up(_name)(look)


async def _wait(
    work: Work, vendor: Erp, document: Document, said: Sequence[Result]
) -> Confirmed | FoundRejected | NotFound:
    """A moment for a quick queue; then the delivery waits at the hub, which asks again."""
    loop = asyncio.get_running_loop()
    until = loop.time() + vendor.wait_seconds
    while True:
        said = said or await vendor.find(work.reference)
        ended = translate.verdict(document, work.event, said, vendor.answers, vendor.errors)
        if ended is not None:
            return ended
        if loop.time() >= until:
            waits = [each for each in said if vendor.answers.results[each.status] == "waiting"]
            since = min((each.received for each in waits if each.received), default=None)
            if since and datetime.now(UTC) - since > vendor.result_silence:
                raise OutcomeUnknown(f"SILENT: no result within {vendor.result_silence}")
            raise AnswerLater(f"taken by the ERP, and not posted yet: {waits[0].status}")
        said = ()
        await asyncio.sleep(LOOK_PAUSE_SECONDS)


async def take_again(poll: Poll, held: HeldPayload, vendor: Erp) -> None:
    """An item that was held, once more, unless the ERP has told something newer of it since."""
    try:
        item = vendor_xml.loads(held.payload)
        change, number = change_of(vendor.layouts[ITEMS], item)
    except Unreadable:
        raise LeftOut(f"no item with a number and a change's: {BY_HAND}") from None
    revision = await erp_items.revision_of(poll.hub, number)
    newer = await vendor.item_changes.newer(number, change)
    if newer:
        raise Overtaken(f"change {newer} of item {number} is newer than this one, {change}")
    await _told(poll, vendor, item, revision)


@ADAPTER.poll("items", translate_held=take_again)
async def take_items(poll: Poll, vendor: Erp) -> None:
    """Tell the hub the items that changed, each change once, from the cursor on."""
    if not vendor.reads_items:
        return
    for _ in range(MAX_PAGES):
        after = int(poll.cursor or b"0")
        try:
            page = await vendor.items(after, PAGE_ITEMS)
        except BrokenPage as broken:
            # It stays the next page until somebody mends it: nothing behind it can be asked for.
            await erp_items.hold(poll, broken.body, str(broken), XML)
            return
        await poll.catch_up()
        changes = [await _told(poll, vendor, item) for item in page]
        newest = max((after, *changes))
        if newest == after:
            return
        await poll.advance(str(newest))


async def _told(poll: Poll, vendor: Erp, item: Element, revision: int | None = None) -> int:
    """The number of a change that the hub has, or holds as it is with what is wrong; 0: it is no
    number. The number is read by itself: a page of nothing but unreadable items has an end, too."""
    layout = vendor.layouts[ITEMS]
    await erp_items.tell(
        poll,
        lambda: xml_layout.read(layout, item, "item"),
        vendor_xml.dumps(vendor_xml.copied(item)),
        units=vendor.rules.units,
        content_type=XML,
        revision=revision,
    )
    try:
        number: Any = xml_layout.value(layout, item, "item", "change")
    except Unreadable:
        return 0
    return int(number)


def change_of(layout: XmlLayout, item: Element) -> tuple[int, str]:
    """(the number of a change, the item's number). Unreadable: one of them is none."""
    change: Any = xml_layout.value(layout, item, "item", "change")
    number: Any = xml_layout.value(layout, item, "item", "number")
    return int(change), str(number)


def check_message_id(form: str) -> None:
    """SettingsError when two documents would have one message id, or a form has other names."""
    try:
        one, other = (form.format(reference=name, uuid=name) for name in ("A" * 20, "B" * 20))
    except (LookupError, ValueError):
        one = other = ""
    if one == other:
        raise SettingsError("message_id must hold {reference} or {uuid}, and no other name in {}")


def loaded_layouts(directory: str) -> dict[str, XmlLayout]:
    """Every layout that is needed, `directory` first. SettingsError lists what is wrong."""
    needed = sorted({each.layout for each in DOCUMENTS.values()} | {LOOK_UP, RESULT, ITEMS})
    return deployed_files.layouts(__package__, directory, needed, xml_layout.parse)


def loaded_errors(file: str) -> ErrorTable:
    """The table of faults and codes. SettingsError names every row that is wrong."""
    return deployed_files.table(
        __package__, "errors_file", file, error_table.FILE_NAME, error_table.parse
    )


def loaded_answers(file: str) -> Answers:
    """The table of answers. SettingsError names every row that is wrong."""
    return deployed_files.table(
        __package__, "answers_file", file, deployed_files.ANSWERS_FILE, translate.answers_table
    )
