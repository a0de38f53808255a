"""A legacy ERP by flat file at the hub: documents go out as files, and come back as answers."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

from crossdock_adapters.legacy_file import translate
from crossdock_adapters.legacy_file.client import CONTROL, RECEIPTS, REJECTS, RESULTS, ErpFiles
from crossdock_adapters.legacy_file.translate import Answers
from crossdock_adapters.sdk import deployed_files, layout, layout_files
from crossdock_adapters.sdk.adapter import Adapter
from crossdock_adapters.sdk.attempts import HubAway
from crossdock_adapters.sdk.drop_folder import DropFolder
from crossdock_adapters.sdk.erp_documents import DOCUMENTS, Document, Rules
from crossdock_adapters.sdk.file_exchange import INBOUND, Conventions, Receipt
from crossdock_adapters.sdk.folder_place import opened_folder
from crossdock_adapters.sdk.layout import Layout
from crossdock_adapters.sdk.layout_files import LayoutError
from crossdock_adapters.sdk.outcomes import (
    AnswerLater,
    Confirmed,
    NeedsPerson,
    OutcomeUnknown,
    Reference,
    Retry,
    Untranslatable,
    no_retry,
)
from crossdock_adapters.sdk.sequences import KEPT_OPEN
from crossdock_adapters.sdk.settings import Secrets, Settings
from crossdock_adapters.sdk.work import Poll, Work

ADAPTER = Adapter.load(__package__)

FILE_REFERENCE: Final = "file"
# How often a file that the ERP could not read is sent again before a person has to look.
SENDS_MAX: Final = 3
LOOK_PAUSE_SECONDS: Final = 0.1
MAX_TOLD: Final = 5
# What an attempt does with its file.
SEND, SEND_AGAIN, WAIT = "send", "send again", "wait"


class Erp(ErpFiles):
    """The ERP's folders, with what this deployment decided about documents and answers."""

    def __init__(
        self,
        folder: DropFolder,
        conventions: Conventions,
        layouts: dict[str, Layout],
        answers: Answers,
        settings: Settings,
    ) -> None:
        super().__init__(folder, conventions, layouts, settings.seconds("look_seconds"))
        self.answers = answers
        self.rules = Rules.of(settings, ADAPTER.mappings, ADAPTER.name)
        self.wait_seconds = settings.seconds("answer_wait_seconds")
        self.receipt_silence = timedelta(seconds=settings.seconds("receipt_silence_seconds"))
        self.result_silence = timedelta(seconds=settings.seconds("result_silence_seconds"))


@ADAPTER.connect
async def connect(settings: Settings, secrets: Secrets) -> Erp:
    """The folders of one ERP. SettingsError when a layout, the table or the place is wrong."""
    conventions = Conventions(
        folders=settings.mapping("folders"),
        marker=settings.text("marker"),
        temporary=settings.text("temporary"),
        ending=settings.text("ending"),
        system=settings.text("sender"),
        site=settings.text("site"),
    )
    conventions.check()
    layouts = loaded_layouts(settings.text("layouts_directory"))
    answers = loaded_answers(settings.text("answers_file"))
    errors = deployed_files.errors(__package__, settings.text("errors_file"))
    return Erp(opened_folder(settings, secrets, errors), conventions, layouts, answers, settings)


async def take_number(work: Work, vendor: Erp) -> str:
    """The first step: the name of the file, by the next control number. It changes nothing."""
    document = DOCUMENTS[work.operation]
    await asyncio.to_thread(_written, work, vendor, document, 0, datetime.now(UTC))
    await vendor.look()
    interface = document.layout.replace("_", "-")
    seen = await vendor.highest(interface)
    assert work.sequences is not None
    try:
        taken = await work.sequences.take(document.layout, work.reference, seen + 1)
    except HubAway as away:
        raise Retry(0.0, f"the hub did not answer for a control number: {away}") from away
    return vendor.name_of(interface, taken.number, taken.time)


async def deliver(work: Work, vendor: Erp) -> Confirmed:
    """The second step: publish the file of this name unless it is out, and see what came of it."""
    document = DOCUMENTS[work.operation]
    await vendor.look(work.draft)
    found = _answered(work, vendor, document)
    if found is not None:
        await _closed(work, document)
        return found
    step = await _step(work, vendor, document)
    if step != WAIT:
        await _send(work, vendor, document, again=step == SEND_AGAIN)
    await _closed(work, document)
    if step == WAIT:
        return await _wait(work, vendor, document)
    with no_retry(f"{work.draft} is out"):
        return await _wait(work, vendor, document)


for _name in DOCUMENTS:
    ADAPTER.draft(_name)(take_number)
    ADAPTER.operation(_name)(deliver)


@ADAPTER.poll("answers")
async def hold_broken_answers(poll: Poll, vendor: Erp) -> None:
    """Give the hub the answer files that break their layout, so that somebody looks at them."""
    await vendor.hold_broken(poll)


def _answered(work: Work, vendor: Erp, document: Document) -> Confirmed | None:
    """What the results and rejects say by our reference; None: not enough yet."""
    said = vendor.said(work.reference)
    found = translate.verdict(document, work.event, said, vendor.answers) if said else None
    if found is None:
        return None
    rows = document.rows(work.event, document.action, work.reference, vendor.rules)
    cut = layout_files.cuts(vendor.layouts[document.layout], rows)
    told = [found.note, f"cut to fit: {', '.join(cut)}" if cut else ""]
    note = "; ".join(filter(None, told))
    return Confirmed([*found.references, Reference(FILE_REFERENCE, work.draft)], found.facts, note)


async def _step(work: Work, vendor: Erp, document: Document) -> str:
    """What to do with the file: the newest receipt says, then where it is, then what we know."""
    receipts = vendor.receipts(work.draft)
    if receipts:
        if _receipt_word(receipts[-1], vendor) != "again" or await vendor.went_again(work.draft):
            return WAIT
        refused = [each for each in receipts if _known_word(each, vendor) == "again"]
        if len(refused) >= SENDS_MAX:
            raise NeedsPerson(
                f"the ERP could not read {work.draft} {SENDS_MAX} times: {receipts[-1].text}; a "
                "retry reads its receipts again, and sends nothing"
            )
        return SEND_AGAIN
    found = await vendor.whereabouts(work.draft)
    if found is not None:
        # In inbound its marker may be missing: `drop` finds out and does what is missing.
        return SEND if found.place == INBOUND else WAIT
    return SEND if await _is_unsent(work, vendor, document) else WAIT


async def _is_unsent(work: Work, vendor: Erp, document: Document) -> bool:
    """Whether a file that is nowhere was never out: an ERP may delete or sort what it took."""
    assert work.sequences is not None
    try:
        numbers = await work.sequences.state(document.layout)
    except HubAway as away:
        raise Retry(0.0, f"the hub did not answer for the control numbers: {away}") from away
    if numbers.of(work.reference) is not None:
        return True
    _, taken = vendor.number_of(work.draft)
    if datetime.now(UTC) - taken < KEPT_OPEN:
        return False
    raise NeedsPerson(
        f"{work.draft} is nowhere, has no receipt, and is too old to know whether it was ever out: "
        "look for its document in the ERP"
    )


async def _send(work: Work, vendor: Erp, document: Document, *, again: bool) -> None:
    number, taken = vendor.number_of(work.draft)
    try:
        data, records = await asyncio.to_thread(_written, work, vendor, document, number, taken)
        await vendor.drop(work.draft, data, records, again=again)
    except NeedsPerson as parked:
        raise type(parked)(
            f"{parked.reason}; number {number} of {document.layout} is taken and its file is not "
            "out, and the ERP may hold all later files: mend this and retry this delivery. If it "
            f"is skipped or resubmitted instead, ask the ERP to let number {number} pass"
        ) from parked


async def _closed(work: Work, document: Document) -> None:
    """The file is out, so its number is no longer kept for this delivery."""
    assert work.sequences is not None
    try:
        await work.sequences.close(document.layout, work.reference)
    except (HubAway, Retry):
        # Closed by the next attempt; the file is out all the same.
        pass


def _known_word(receipt: Receipt, vendor: Erp) -> str:
    """By its code where the table has it, else by its letter; "" where it has neither."""
    words = vendor.answers.receipts
    return words.get(receipt.code) or words.get(receipt.status) or ""


def _receipt_word(receipt: Receipt, vendor: Erp) -> str:
    word = _known_word(receipt, vendor)
    if word in ("", "person"):
        said = f"{receipt.status} {receipt.code} {receipt.text}"
        raise NeedsPerson(f"the ERP refused the file: {said}".strip())
    return word


async def _wait(work: Work, vendor: Erp, document: Document) -> Confirmed:
    """A moment for a quick ERP; then the delivery waits at the hub, which asks again."""
    loop = asyncio.get_running_loop()
    until = loop.time() + vendor.wait_seconds
    while loop.time() < until:
        await asyncio.sleep(LOOK_PAUSE_SECONDS)
        await vendor.look(work.draft)
        found = _answered(work, vendor, document)
        if found is not None:
            return found
    now = datetime.now(UTC)
    silent = await vendor.silent_since()
    if silent is not None and now - silent > vendor.receipt_silence:
        raise OutcomeUnknown(f"SILENT: the ERP has taken no file since {silent:%Y-%m-%d %H:%M} UTC")
    receipts = vendor.receipts(work.draft)
    out = await vendor.out_since(work.draft) or vendor.number_of(work.draft)[1]
    if now - out > vendor.result_silence:
        raise OutcomeUnknown(f"SILENT: no result for {work.draft} within {vendor.result_silence}")
    if not receipts:
        raise AnswerLater(f"{work.draft} waits for its receipt")
    if _receipt_word(receipts[-1], vendor) == "held":
        missing = await _missing(work, vendor, document)
        raise AnswerLater(f"{work.draft} is held by the ERP: {receipts[-1].text}{missing}")
    raise AnswerLater(f"{work.draft} waits for its result")


async def _missing(work: Work, vendor: Erp, document: Document) -> str:
    """For people: which earlier numbers of ours are not out, and what can be done about them."""
    assert work.sequences is not None
    own, _ = vendor.number_of(work.draft)
    try:
        numbers = await work.sequences.state(document.layout)
    except HubAway:
        return ""
    earlier = sorted(taken.number for _, taken in numbers.open if taken.number < own)
    if not earlier:
        return ""
    told = ", ".join(map(str, earlier[:MAX_TOLD]))
    return (
        f"; taken and not out: {told}. Retry the deliveries that are parked with these, or ask the "
        "ERP to let them pass"
    )


def _written(
    work: Work, vendor: Erp, document: Document, number: int, created: datetime
) -> tuple[bytes, int]:
    """The file, the same each time: (bytes, records). Untranslatable names what does not fit."""
    rows = [
        translate.head(number, created, vendor.rules),
        *document.rows(work.event, document.action, work.reference, vendor.rules),
    ]
    layout = vendor.layouts[document.layout]
    translate.refuse_respelled(layout, rows)
    try:
        return layout_files.write(layout, rows), len(rows) + 1
    except LayoutError as error:
        raise Untranslatable(f"{document.layout}: {error}") from error


def loaded_layouts(directory: str) -> dict[str, Layout]:
    """Every layout that is needed, `directory` first. SettingsError lists what is wrong."""

    def parse(text: str, name: str) -> Layout:
        # A layout may include others, which a deployment may have put its own in place of, too.
        of_name = partial(deployed_files.layout_text, __package__, directory)
        return layout.parse(text, name, of_name)

    sent = sorted({document.layout for document in DOCUMENTS.values()})
    needed = [*sent, *(f"{name}{REJECTS}" for name in sent), RECEIPTS, RESULTS, CONTROL]
    return deployed_files.layouts(__package__, directory, needed, parse)


def loaded_answers(file: str) -> Answers:
    """The table of answers. SettingsError names every row that is wrong."""
    return deployed_files.table(
        __package__, "answers_file", file, deployed_files.ANSWERS_FILE, translate.answers_table
    )
