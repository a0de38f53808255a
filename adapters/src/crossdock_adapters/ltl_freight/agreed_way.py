"""How an LTL carrier and we exchange X12 files: ids, folders and delimiters that were agreed on."""

from __future__ import annotations

from datetime import UTC, datetime

from crossdock_adapters.sdk.edi_mailbox import Way
from crossdock_adapters.sdk.places import Unreadable
from crossdock_adapters.sdk.settings import Settings, SettingsError
from crossdock_adapters.sdk.x12 import acknowledgments, envelopes
from crossdock_adapters.sdk.x12.envelopes import Envelope, Payload
from crossdock_adapters.sdk.x12.segments import Delimiters


def way_of(settings: Settings) -> Way:
    """How files are exchanged. SettingsError: ids, folders or delimiters are missing or wrong."""
    ours, theirs = settings.text("our_id"), settings.text("partner_id")
    folders = settings.mapping("folders")
    missing = [name for name in ("inbound", "outbound", "archive") if not folders.get(name)]
    if missing or not ours or not theirs or not settings.text("temporary"):
        raise SettingsError("a mailbox needs our_id, partner_id, temporary and all three folders")
    given = settings.text("delimiters")
    if len(given) not in (3, 4):
        raise SettingsError("delimiters: give three, or four with the repetition separator")
    try:
        delimiters = Delimiters(*given)
    except ValueError as error:
        raise SettingsError(f"delimiters: {error}") from error
    try:
        # One that fits nothing is told now, not with the first file.
        envelope = Envelope(
            sender=(settings.text("our_qualifier"), ours),
            receiver=(settings.text("partner_qualifier"), theirs),
            application_sender=settings.text("our_application_id") or ours,
            application_receiver=settings.text("partner_application_id") or theirs,
            version=settings.text("interchange_version"),
            release=settings.text("release"),
            usage=settings.text("usage"),
            delimiters=delimiters,
        )
        now, encoding = datetime.now(UTC), settings.text("encoding")
        group = envelope.group(acknowledgments.FUNCTIONAL_ID, 1, now, [])
        envelopes.write(Payload((envelope.interchange(1, now, [group]),)), encoding)
    except (Unreadable, ValueError) as error:
        raise SettingsError(f"the header of interchanges cannot be written: {error}") from error
    return Way(
        envelope=envelope,
        inbound=folders["inbound"],
        outbound=folders["outbound"],
        archive=folders["archive"],
        temporary=settings.text("temporary"),
        encoding=encoding,
        kept_days=settings.integer("numbers_kept_days"),
        awaited_days=settings.integer("numbers_awaited_days"),
        incomplete_seconds=settings.seconds("incomplete_seconds"),
        acknowledges=settings.flag("acknowledges"),
    )
