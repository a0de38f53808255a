"""A legacy ERP by staging tables at the hub: documents go in as rows, and come back as statuses."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Final

from crossdock_adapters.legacy_table import translate
from crossdock_adapters.legacy_table.client import StagingErp, age, is_gone, told
from crossdock_adapters.legacy_table.translate import Answers
from crossdock_adapters.sdk import deployed_files, erp_items, table_layout
from crossdock_adapters.sdk.adapter import Adapter
from crossdock_adapters.sdk.database import Database, Limits
from crossdock_adapters.sdk.erp_documents import DOCUMENTS, Document, Rules
from crossdock_adapters.sdk.held_payloads import LeftOut, Overtaken
from crossdock_adapters.sdk.outcomes import (
    AnswerLater,
    Confirmed,
    FoundRejected,
    NeedsPerson,
    NotFound,
    OutcomeUnknown,
    Reject,
    Retry,
    no_retry,
)
from crossdock_adapters.sdk.settings import Secrets, Settings
from crossdock_adapters.sdk.staging_client import shown, shown_key
from crossdock_adapters.sdk.staging_tables import Again, ClaimedRow
from crossdock_adapters.sdk.table_layout import Found, TableLayout
from crossdock_adapters.sdk.work import HeldPayload, Poll, Work

ADAPTER = Adapter.load(__package__)

ITEMS: Final = "items"
LOOK_PAUSE_SECONDS: Final = 0.1
CLAIM_ROWS: Final = 100
MAX_ROUNDS: Final = 1_000
BY_HAND: Final = "have the ERP tell the item anew, then discard this one"


class Erp(StagingErp):
    """The ERP's tables, with what this deployment decided about documents, answers and waiting."""

    def __init__(
        self,
        database: Database,
        layouts: dict[str, TableLayout],
        answers: Answers,
        settings: Settings,
    ) -> None:
        super().__init__(database, layouts)
        self.answers = answers
        self.rules = Rules.of(settings, ADAPTER.mappings, ADAPTER.name)
        self.wait_seconds = settings.seconds("answer_wait_seconds")
        self.claim_seconds = settings.seconds("claim_seconds")
        self.pick_silence = timedelta(seconds=settings.seconds("pick_silence_seconds"))
        self.result_silence = timedelta(seconds=settings.seconds("result_silence_seconds"))
        self.vanished_wait = timedelta(seconds=settings.seconds("vanished_wait_seconds"))


@ADAPTER.connect
async def connect(settings: Settings, secrets: Secrets) -> Erp:
    """The tables of one ERP. SettingsError when a layout, the table or the address is wrong."""
    limits = Limits(
        connections=settings.integer("connections"),
        connect_seconds=settings.seconds("connect_seconds"),
        statement_seconds=settings.seconds("statement_seconds"),
    )
    layouts = loaded_layouts(settings.text("layouts_directory"), settings.flag("reads_items"))
    database = Database(
        lambda: secrets.text("database_url"),
        limits,
        allow_plaintext=settings.allow_plaintext,
        errors=deployed_files.errors(__package__, settings.text("errors_file")),
    )
    return Erp(database, layouts, loaded_answers(settings.text("answers_file")), settings)


async def deliver(work: Work, vendor: Erp) -> Confirmed:
    """Write the document unless it is there, and see what came of it."""
    document = DOCUMENTS[work.operation]
    rows = document.rows(work.event, document.action, work.reference, vendor.rules)
    vendor.fitted(document.layout, rows)
    if await vendor.find(document.layout, work.reference) is None:
        await vendor.write(document.layout, rows, work.reference)
    with no_retry("the rows are written"):
        ended = await _wait(work, vendor, document)
    if isinstance(ended, FoundRejected):
        raise Reject(ended.code, ended.reason)
    return ended


async def look(work: Work, vendor: Erp) -> Confirmed | FoundRejected | NotFound:
    """What came of a document that may have been written; absence has to be proven."""
    document = DOCUMENTS[work.operation]
    layout = vendor.layouts[document.layout]
    if await vendor.find(document.layout, work.reference) is None:
        if layout.ledger.table or layout.kept:
            return NotFound(f"no row, and no sign of one, has the reference {work.reference}")
        raise NeedsPerson(
            f"no row has the reference {work.reference}, and this ERP removes rows, so it may have "
            "been posted: look for its document in the ERP. Resolve this delivery with the number, "
            "or resubmit it where there is none"
        )
    return await _wait(work, vendor, document)


for _name in DOCUMENTS:
    ADAPTER.operation(_name)(deliver)
    ADAPTER.look_up(_name)(look)


async def _wait(work: Work, vendor: Erp, document: Document) -> Confirmed | FoundRejected:
    """A moment for a quick ERP; then the delivery waits at the hub, which asks again."""
    layout = vendor.layouts[document.layout]
    loop = asyncio.get_running_loop()
    until = loop.time() + vendor.wait_seconds
    while True:
        found = await vendor.find(document.layout, work.reference)
        if found is None:
            raise OutcomeUnknown(f"the rows of {work.reference} are gone while they were looked at")
        ended = translate.verdict(layout, document, work.event, found, vendor.answers)
        if ended is not None:
            return ended
        if loop.time() >= until:
            _say_how_long(vendor, layout, found, work.reference)
        await asyncio.sleep(LOOK_PAUSE_SECONDS)


def _say_how_long(vendor: Erp, layout: TableLayout, found: Found, reference: str) -> None:
    """Raises what a document that has no outcome yet is told as."""
    began = found.sent or vendor.unchanged_since(reference)
    if is_gone(found):
        if age(vendor.unchanged_since(reference)) < vendor.vanished_wait:
            raise AnswerLater(f"the row of {reference} is gone; its document is awaited")
        raise NeedsPerson(
            f"the row of {reference} is gone, and neither an archive nor the ERP's books have it. "
            "It was given to the ERP, so it may have been posted: look for its document there. "
            "Resolve this delivery with the number; resubmit it only where the ERP has none"
        )
    if age(began) > vendor.result_silence:
        raise OutcomeUnknown(f"SILENT: {told(found)}, no result within {vendor.result_silence}")
    waiting = layout.status.words.get(found.status) == "waiting"
    silent = vendor.silent_since(found, reference)
    if waiting and age(silent) > vendor.pick_silence:
        raise OutcomeUnknown(f"SILENT: the ERP has taken nothing since {silent:%Y-%m-%d %H:%M} UTC")
    raise AnswerLater(f"accepted for processing, and not posted yet: {told(found)}")


async def take_again(poll: Poll, held: HeldPayload, vendor: Erp) -> None:
    """A row that was held, once more as it stands in the ERP's table, and never over what a newer
    row of its item said."""
    layout = vendor.layouts.get(ITEMS)
    if layout is None or not layout.claim.failed:
        raise LeftOut(f"no layout {ITEMS}, or no word `failed` in it: {BY_HAND}")
    try:
        number, item = shown_key(layout, held.payload)
    except ValueError:
        raise LeftOut(f"it was held without the id of its row: {BY_HAND}") from None
    revision = await erp_items.revision_of(poll.hub, item) if item else None
    again, token, row = await vendor.claim_again(ITEMS, number, vendor.claim_seconds)
    if again is Again.BUSY:
        raise Retry(0.0, "another row of its item comes first")
    if again is Again.GONE:
        raise LeftOut(f"its row is gone from {layout.head.table}: {BY_HAND}")
    if again is Again.OVERTAKEN:
        raise Overtaken(f"a newer row of item {item} than {number} of {layout.head.table} is done")
    if again is Again.ELSEWHERE:
        raise Overtaken(f"the ERP gives row {number} of {layout.head.table} anew, or gave it since")
    if row is not None:
        failed = not await _told_item(poll, vendor, row, revision)
        await vendor.settle(ITEMS, row, token, failed=failed)


@ADAPTER.poll("items", translate_held=take_again)
async def take_items(poll: Poll, vendor: Erp) -> None:
    """Tell the hub the items that the ERP wrote down for it, each row once."""
    if ITEMS not in vendor.layouts:
        return
    for _ in range(MAX_ROUNDS):
        token, rows = await vendor.claim(ITEMS, vendor.claim_seconds, CLAIM_ROWS)
        if not rows:
            return
        await poll.catch_up()
        for row in rows:
            # What is not told when this ends is free again once its claim is over.
            failed = not await _told_item(poll, vendor, row)
            await vendor.settle(ITEMS, row, token, failed=failed)


async def _told_item(poll: Poll, vendor: Erp, row: ClaimedRow, revision: int | None = None) -> bool:
    """Whether the hub has the item; False: it holds the row as it is, with what is wrong."""
    return await erp_items.tell(
        poll,
        lambda: vendor.values(ITEMS, row),
        shown(vendor.layouts[ITEMS], row),
        units=vendor.rules.units,
        key=f"items {row.id}",
        revision=revision,
    )


def loaded_layouts(directory: str, reads_items: bool = True) -> dict[str, TableLayout]:
    """Every layout that is needed, `directory` first. SettingsError lists what is wrong."""
    names = sorted({document.layout for document in DOCUMENTS.values()})
    needed = [*names, *([ITEMS] if reads_items else [])]
    return deployed_files.layouts(__package__, directory, needed, table_layout.parse)


def loaded_answers(file: str) -> Answers:
    """The table of answers. SettingsError names every row that is wrong."""
    return deployed_files.table(
        __package__, "answers_file", file, deployed_files.ANSWERS_FILE, translate.answers_table
    )
