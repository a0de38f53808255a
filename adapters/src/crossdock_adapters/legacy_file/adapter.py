"""A legacy ERP by flat file at the hub: documents go out as files, and come back as answers."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit
from zoneinfo import ZoneInfo

from crossdock_adapters.legacy_file import translate
from crossdock_adapters.legacy_file.client import CONTROL, RECEIPTS, RESULTS, Conventions, ErpFiles
from crossdock_adapters.legacy_file.translate import Answers, Document, Rules
from crossdock_adapters.sdk import layout, layout_files
from crossdock_adapters.sdk.adapter import Adapter
from crossdock_adapters.sdk.attempts import HubAway
from crossdock_adapters.sdk.drop_folder import DropFolder, LocalFolder
from crossdock_adapters.sdk.layout import Layout, LayoutProblem
from crossdock_adapters.sdk.layout_files import LayoutError
from crossdock_adapters.sdk.outcomes import (
    AnswerLater,
    Confirmed,
    NeedsPerson,
    OutcomeUnknown,
    Reference,
    Retry,
    Untranslatable,
)
from crossdock_adapters.sdk.settings import Secrets, Settings, SettingsError
from crossdock_adapters.sdk.work import Poll, Work

ADAPTER = Adapter.load(__package__)

REJECTS: Final = "_rejects"
SFTP_PORT: Final = 22
FILE_REFERENCE: Final = "file"
ANSWERS_FILE: Final = "answers.toml"
# How often a file that the ERP could not read is sent again before a person has to look.
SENDS_MAX: Final = 3
LOOK_PAUSE_SECONDS: Final = 0.1
MAX_HELD_BYTES: Final = 512 * 1024


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
        self.rules = rules_of(settings)
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
    layouts = loaded_layouts(settings.text("layouts_directory"))
    answers = loaded_answers(settings.text("answers_file"))
    return Erp(opened_folder(settings, secrets), conventions, layouts, answers, settings)


async def take_number(work: Work, vendor: Erp) -> str:
    """The first step: the name of the file, by the next control number. It changes nothing."""
    document = translate.DOCUMENTS[work.operation]
    _written(work, vendor, document, 0, datetime.now(UTC))
    assert work.sequences is not None
    try:
        taken = await work.sequences.take(document.layout, work.reference)
    except HubAway as away:
        raise Retry(0.0, f"the hub did not answer for a control number: {away}") from away
    return vendor.name_of(document.layout.replace("_", "-"), taken.number, taken.time)


async def deliver(work: Work, vendor: Erp) -> Confirmed:
    """The second step: publish the file of this name unless it is out, and see what came of it."""
    document = translate.DOCUMENTS[work.operation]
    number, taken = vendor.number_of(work.draft)
    await vendor.look()
    found = _answered(work, vendor, document)
    if found is not None:
        return found
    if await _must_go(work.draft, vendor):
        data, records = _written(work, vendor, document, number, taken)
        await vendor.drop(work.draft, data, records)
        assert work.sequences is not None
        try:
            await work.sequences.close(document.layout, work.reference)
        except HubAway:
            # Its number stays reserved for this delivery, which changes nothing for anybody.
            pass
    return await _wait(work, vendor, document, taken)


for _name in translate.DOCUMENTS:
    ADAPTER.draft(_name)(take_number)
    ADAPTER.operation(_name)(deliver)


@ADAPTER.poll("answers")
async def hold_broken_answers(poll: Poll, vendor: Erp) -> None:
    """Give the hub the answer files that break their layout, so that somebody looks at them."""
    await vendor.look()
    for key, broken in vendor.broken.items():
        if not broken.told:
            data = broken.data[:MAX_HELD_BYTES]
            await poll.hold(data, f"{broken.path}: {broken.reason}", "text/plain", key=key)
            broken.told = True


def _answered(work: Work, vendor: Erp, document: Document) -> Confirmed | None:
    """What the results and rejects say by our reference; None: not enough yet."""
    said = vendor.said(work.reference)
    found = translate.verdict(document, work.event, said, vendor.answers) if said else None
    if found is None:
        return None
    return Confirmed(
        [*found.references, Reference(FILE_REFERENCE, work.draft)], found.facts, found.note
    )


async def _must_go(name: str, vendor: Erp) -> bool:
    """Whether the file has to be published, for the first time or again."""
    words = [_receipt_word(receipt, vendor) for receipt in vendor.receipts(name)]
    if words.count("again") >= SENDS_MAX and words[-1] == "again":
        said = vendor.receipts(name)[-1]
        raise NeedsPerson(f"the ERP could not read {name} {SENDS_MAX} times: {said.text}")
    if words and words[-1] in ("taken", "held"):
        return False
    # Nowhere, or in inbound with its marker missing: `drop` finds out and does what is missing.
    return await vendor.whereabouts(name) in ("", "inbound")


def _receipt_word(receipt: object, vendor: Erp) -> str:
    code, status = getattr(receipt, "code", ""), getattr(receipt, "status", "")
    word = vendor.answers.receipts.get(code) or vendor.answers.receipts.get(status)
    if word in (None, "person"):
        text = getattr(receipt, "text", "")
        raise NeedsPerson(f"the ERP refused the file: {status} {code} {text}".strip())
    return word or ""


async def _wait(work: Work, vendor: Erp, document: Document, taken: datetime) -> Confirmed:
    """A moment for a quick ERP; then the delivery waits at the hub, which asks again."""
    loop = asyncio.get_running_loop()
    until = loop.time() + vendor.wait_seconds
    while loop.time() < until:
        await asyncio.sleep(LOOK_PAUSE_SECONDS)
        await vendor.look()
        found = _answered(work, vendor, document)
        if found is not None:
            return found
    now = datetime.now(UTC)
    oldest = await vendor.oldest_untaken()
    if oldest is not None and now - oldest > vendor.receipt_silence:
        raise OutcomeUnknown(f"SILENT: the ERP has taken no file since {oldest:%Y-%m-%d %H:%M} UTC")
    receipts = vendor.receipts(work.draft)
    if now - taken > vendor.result_silence:
        raise OutcomeUnknown(f"SILENT: no result for {work.draft} within {vendor.result_silence}")
    if not receipts:
        raise AnswerLater(f"{work.draft} waits for its receipt")
    if _receipt_word(receipts[-1], vendor) == "held":
        raise AnswerLater(f"{work.draft} is held by the ERP: {receipts[-1].text}")
    raise AnswerLater(f"{work.draft} waits for its result")


def _written(
    work: Work, vendor: Erp, document: Document, number: int, created: datetime
) -> tuple[bytes, int]:
    """The file, the same each time: (bytes, records). Untranslatable names what does not fit."""
    rows = [
        translate.head(number, created, vendor.rules),
        *document.rows(work.event, document.action, work.reference, vendor.rules),
    ]
    try:
        return layout_files.write(vendor.layouts[document.layout], rows), len(rows) + 1
    except LayoutError as error:
        raise Untranslatable(f"{document.layout}: {error}") from error


def rules_of(settings: Settings) -> Rules:
    """What the deployment decided about documents."""
    zone = settings.text("time_zone")
    return Rules(
        sender=settings.text("sender"),
        receiver=settings.text("receiver"),
        zone=ZoneInfo(zone) if zone else None,
        units=settings.mapping("units"),
        warehouses=settings.mapping("warehouses"),
    )


def opened_folder(settings: Settings, secrets: Secrets) -> DropFolder:
    """The folder behind the setting `location`. SettingsError says what it needs."""
    place = urlsplit(settings.text("location"))
    if place.scheme == "file" and place.path:
        return LocalFolder(Path(unquote(place.path)))
    if place.scheme != "sftp" or not place.hostname or not place.username:
        raise SettingsError("location must be sftp://user@host:port/path or file:///path")
    if place.password is not None:
        raise SettingsError("location must not hold a password: use the setting password")
    if not settings.text("host_key"):
        raise SettingsError("host_key is needed for sftp: the server's public key")
    # Here, because an installation that shares a folder needs no SSH in its memory.
    from crossdock_adapters.sdk.sftp import SftpFolder, SftpLogin

    login = SftpLogin(
        host=place.hostname,
        port=place.port or SFTP_PORT,
        username=unquote(place.username),
        host_key=settings.text("host_key"),
        password=lambda: secrets.text("password") if secrets.has("password") else "",
        private_key=lambda: secrets.text("private_key") if secrets.has("private_key") else "",
    )
    return SftpFolder(login, unquote(place.path), settings.seconds("timeout_seconds"))


def loaded_layouts(directory: str) -> dict[str, Layout]:
    """Every layout that is needed, `directory` first. SettingsError lists what is wrong."""
    own = resources.files(__package__).joinpath("layouts")

    def text_of(name: str) -> str:
        file = Path(directory) / f"{name}.toml"
        if directory and file.is_file():
            return file.read_text("utf-8")
        return own.joinpath(f"{name}.toml").read_text("utf-8")

    sent = {document.layout for document in translate.DOCUMENTS.values()}
    names = [*sorted(sent), *(f"{name}{REJECTS}" for name in sorted(sent))]
    try:
        return {
            name: layout.parse(text_of(name), f"{name}.toml", text_of)
            for name in (*names, RECEIPTS, RESULTS, CONTROL)
        }
    except (LayoutProblem, OSError) as error:
        raise SettingsError(f"layouts_directory: {error}") from error


def loaded_answers(file: str) -> Answers:
    """The table of answers. SettingsError names every row that is wrong."""
    own = resources.files(__package__).joinpath(ANSWERS_FILE)
    try:
        text = Path(file).read_text("utf-8") if file else own.read_text("utf-8")
        return translate.answers_table(text, file or ANSWERS_FILE)
    except (ValueError, OSError) as error:
        raise SettingsError(f"answers_file: {error}") from error
