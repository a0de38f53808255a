"""The Manhattan Active REST protocol: tokens, site headers, save, search, bulk import; no orders.

What an answer means is a row of `errors.toml`. A time-out or an unreadable answer to a call with an
effect is an unknown outcome. A bulk import answers 200 whatever happened to single records: it is
read by business key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from crossdock_adapters.sdk.auth import Token, TokenCache, basic_credentials
from crossdock_adapters.sdk.error_table import ErrorTable
from crossdock_adapters.sdk.http import Answer, VendorHttp
from crossdock_adapters.sdk.mappings import Mappings
from crossdock_adapters.sdk.outcomes import NeedsPerson, OutcomeUnknown, Retry, VendorOutcome
from crossdock_adapters.sdk.settings import Secrets, Settings, SettingsError

from .known_items import KnownItems
from .names import Names, names_from
from .sites import Sites
from .subscription import SubscriptionClient

PASSWORD_PATH = "/oauth/token"
REALM_PATH = "/auth/realms/maactive/protocol/openid-connect/token"
GRANTS = frozenset({"password", "realm_password", "client_credentials"})
PAGE_SIZE = 100
MAX_PAGES = 200
MAX_BULK_RECORDS = 200
MAX_REASON_CHARACTERS = 300
AUTH_RETRY_SECONDS = 5.0
SUCCESS = 200
ERROR = "ERROR"
# Types that only warn or inform: no list of them is public, so any other is an error.
WARNINGS = frozenset({
    "WARNING", "WARN", "W", "INFO", "INFORMATION", "INFORMATIONAL", "I", "NOTICE", "DEBUG",
    "SUCCESS", "S",
})  # fmt: skip
# Rows of errors.toml that are of no code of the platform's.
ONLY_WARNS = "WARNING"
UNCONFIRMED = "NO WORD OF SUCCESS"
CODES = ("messageKey", "code", "Code", "MessageKey")
WORDS = ("message", "Description", "Message")
NO_EXCEPTION = "without an exception: check paths, headers and rights"
ERRORS = ErrorTable.load(__package__)


class ManhattanClient:
    """One environment of the platform, and the Pub/Sub subscriptions that belong to it.

    Every call names its facility: with a wrong one the platform silently reads or writes another
    site's data.
    """

    def __init__(
        self, settings: Settings, secrets: Secrets, mappings: Mappings | None = None
    ) -> None:
        if settings.text("grant") not in GRANTS:
            raise SettingsError(f"grant must be one of {', '.join(sorted(GRANTS))}")
        self.names: Names = names_from(settings, mappings)
        self._settings = settings
        self._secrets = secrets
        self._too_late = frozenset(settings.texts("too_late_codes"))
        self._not_found = frozenset(settings.texts("not_found_codes"))
        timeout = settings.seconds("timeout_seconds")
        self._http = VendorHttp(settings.text("base_url"), timeout_seconds=timeout)
        self._auth_http = VendorHttp(
            settings.text("auth_url") or settings.text("base_url"), timeout_seconds=timeout
        )
        self._tokens = TokenCache(self._fetch_token)
        self._gates: dict[str, asyncio.Semaphore] = {}
        self.subscriptions = SubscriptionClient(settings, secrets)
        self.sites = Sites(settings.mapping("facilities"))
        self.known_items = KnownItems()

    async def test(self) -> None:
        """Prove that the platform and Pub/Sub accept the credentials."""
        await self._tokens.get()
        await self.subscriptions.test()

    async def close(self) -> None:
        """Close all connection pools."""
        await self._http.close()
        await self._auth_http.close()
        await self.subscriptions.close()

    async def save_original_order(self, facility: str, content: Mapping[str, Any]) -> None:
        """Create or replace one original order by its business key; Reject when refused."""
        await self._save("original_order_save", facility, content)

    async def save_olpn(self, facility: str, content: Mapping[str, Any]) -> None:
        """Set fields of one oLPN by its business key; Reject when refused."""
        await self._save("olpn_save", facility, content)

    async def find_original_order(self, facility: str, order_id: str) -> dict[str, Any] | None:
        """One original order of this facility by its business key."""
        key = self.names.fields["order.id"]
        wanted = ("order.id", "order.host_id", "order.cancelled")
        query = f"{key} = {quoted(order_id)}"
        found = await self.search("original_order_search", facility, query, wanted)
        ours = (each for each in found if self.names.get(each, "order.id") == order_id)
        return next(ours, None)

    async def find_facilities(self, facility: str) -> list[dict[str, Any]]:
        """All facilities; `facility` is any one of them, for the header."""
        wanted = ("facility.id", "facility.time_zone")
        return await self.search("facility_search", facility, "", wanted)

    async def import_items(
        self, facility: str, records: Sequence[Mapping[str, Any]]
    ) -> dict[str, str]:
        """Create or replace items; returns what was refused, by item id, in words.

        Repeating it changes nothing, so it never leaves an outcome unknown.
        """
        refused: dict[str, str] = {}
        key = self.names.fields["item.id"]
        for start in range(0, len(records), MAX_BULK_RECORDS):
            part = list(records[start : start + MAX_BULK_RECORDS])
            answer = await self._call("item_bulk_import", facility, {"Data": part}, effect=False)
            try:
                body = self._body(answer, effect=True)
            except OutcomeUnknown as unclear:
                raise Retry(unclear.after_seconds, unclear.reason) from unclear
            refused.update(read_bulk(body, key, [str(record[key]) for record in part]))
        return refused

    async def search(
        self, path: str, facility: str, query: str, wanted: Sequence[str]
    ) -> list[dict[str, Any]]:
        """All records that match, page by page until a short page.

        `wanted`: the fields to answer, by our names. The first one sorts: it has to be unique, or
        records move between pages.
        """
        template: dict[str, Any] = {}
        for name in wanted:
            self.names.put(template, name, None)
        order = [{"attribute": self.names.fields[wanted[0]], "direction": "asc"}]
        found: list[dict[str, Any]] = []
        for page in range(MAX_PAGES):
            request = {
                "Query": query,
                "Template": template,
                "Sort": order,
                "Size": PAGE_SIZE,
                "Page": page,
            }
            answer = await self._call(path, facility, request, effect=False)
            data = self._checked(answer, effect=False).get("data")
            records = [each for each in data if isinstance(each, dict)] if data else []
            found += records
            if len(records) < PAGE_SIZE:
                return found
        raise NeedsPerson(f"{path}: more than {MAX_PAGES * PAGE_SIZE} records match")

    async def _save(self, path: str, facility: str, content: Mapping[str, Any]) -> None:
        answer = await self._call(path, facility, content, effect=True)
        self._checked(answer, effect=True)

    async def _call(
        self, path: str, facility: str, body: Mapping[str, Any], *, effect: bool
    ) -> Answer:
        target = self.names.paths[path]
        component = target.strip("/").partition("/")[0]
        limit = self._settings.integer("calls_per_component")
        gate = self._gates.setdefault(component, asyncio.Semaphore(max(1, limit)))
        headers = {
            "SelectedOrganization": self._settings.text("organization"),
            "SelectedLocation": facility,
            **self._settings.mapping("extra_headers"),
        }
        async with gate:
            return await self._http.post(
                target, headers=headers, json=dict(body), auth=self._tokens, effect=effect
            )

    def _checked(self, answer: Answer, *, effect: bool) -> dict[str, Any]:
        """The body of a successful answer; what else an answer can be is raised."""
        body = self._body(answer, effect=effect)
        success = _success(body)
        if success:
            return body
        told = self._refusal(body, effect=effect)
        if success is False:
            raise self._meaning(answer, told, effect=effect)
        if told.weight is Weight.ERROR or self._is_named(told, effect=effect):
            raise self._meaning(answer, told, effect=effect, is_confirmed=False)
        return body

    def _body(self, answer: Answer, *, effect: bool) -> dict[str, Any]:
        body = _json_object(answer)
        if not answer.ok:
            raise self._meaning(answer, self._refusal(body or {}, effect=effect), effect=effect)
        if body is None:
            raise answer.unclear("the answer is not a JSON object", effect=effect)
        return body

    def _refusal(self, body: Mapping[str, Any], *, effect: bool) -> Refusal:
        # What a project's codes say is of a save; "not found" is no refusal of a question.
        return refusal(body, self._too_late, self._not_found) if effect else refusal(body)

    def _is_named(self, told: Refusal, *, effect: bool) -> bool:
        return effect and (told.code in self._too_late or told.code in self._not_found)

    def _meaning(
        self, answer: Answer, told: Refusal, *, effect: bool, is_confirmed: bool = True
    ) -> VendorOutcome:
        """is_confirmed: the answer itself says that it failed, by its status or its success."""
        code, text = told.code, told.text or NO_EXCEPTION
        is_named = self._is_named(told, effect=effect)
        if not is_confirmed and not (is_named and told.weight is Weight.ERROR):
            code, text = UNCONFIRMED, f"{code} {text}"
        elif told.weight is Weight.WARNING and not is_named:
            code, text = ONLY_WARNS, f"{code} {text}"
        status = SUCCESS if answer.ok else answer.status
        wish = answer.wish_seconds()
        return ERRORS.meaning(status, code, text, effect=effect, wish_seconds=wish)

    async def _fetch_token(self) -> Token:
        grant = self._settings.text("grant")
        client_id = self._settings.text("client_id")
        client_secret = self._secrets.text("client_secret")
        headers: dict[str, str] = {}
        form = {"grant_type": "password"}
        if grant == "client_credentials":
            form = {"grant_type": "client_credentials"}
        else:
            form["username"] = self._settings.text("username")
            form["password"] = self._secrets.text("password")
        if grant == "password":
            headers["Authorization"] = basic_credentials(client_id, client_secret)
        else:
            form |= {"client_id": client_id, "client_secret": client_secret}
        path = self._settings.text("token_path")
        if not path:
            path = PASSWORD_PATH if grant == "password" else REALM_PATH
        answer = await self._auth_http.post(path, headers=headers, form=form, effect=False)
        return read_token(answer, "the platform")


def quoted(value: str) -> str:
    """A value in the query language; quotes are doubled so that it can't end early."""
    return "'" + value.replace("'", "''") + "'"


class Weight(IntEnum):
    """How much an entry of an envelope says of a failure, most first."""

    ERROR = 0
    # It explains a failure that is one anyhow: a message without a type, an exception that warns.
    UNCLEAR = 1
    # In the messages only: it rejects nothing.
    WARNING = 2


@dataclass(frozen=True, slots=True)
class Refusal:
    """Code and words of what the platform refused; empty: it names nothing."""

    code: str = ""
    text: str = ""
    weight: Weight = Weight.UNCLEAR


def refusal(
    body: Mapping[str, Any],
    too_late: Set[str] = frozenset(),
    not_found: Set[str] = frozenset(),
) -> Refusal:
    """What decides among the exceptions, errors and messages of an envelope.

    First a code of a project's that means too late, whatever its type; then errors before
    warnings, and among them a code that means not found: beside an error, a warning of that proves
    nothing.
    """
    told: list[Refusal] = []
    for name in ("exceptions", "errors"):
        entries = body.get(name) or []
        listed = entries if isinstance(entries, list) else [entries]
        told += [_refusal_of(each, is_exception=True) for each in listed]
    messages = body.get("messages")
    entries = messages.get("Message") if isinstance(messages, Mapping) else None
    listed = entries if isinstance(entries, list) else [entries]
    told += [_refusal_of(each, is_exception=False) for each in listed]

    def rank(each: Refusal) -> tuple[bool, bool, bool, bool, int]:
        warns = each.weight is Weight.WARNING
        return (
            not each.code, each.code not in too_late, warns, each.code not in not_found, each.weight
        )  # fmt: skip

    return min(told, key=rank, default=Refusal())


def _refusal_of(entry: Any, *, is_exception: bool) -> Refusal:
    if entry is None:
        return Refusal()
    if not isinstance(entry, Mapping):
        weight = Weight.ERROR if is_exception else Weight.UNCLEAR
        return Refusal("REFUSED", str(entry)[:MAX_REASON_CHARACTERS], weight)
    code = next((str(entry[name]) for name in CODES if entry.get(name)), "REFUSED")
    text = next((str(entry[name]) for name in WORDS if entry.get(name)), code)
    weight = _weight(entry, is_exception=is_exception)
    return Refusal(code[:64], text[:MAX_REASON_CHARACTERS], weight)


def _weight(entry: Mapping[str, Any], *, is_exception: bool) -> Weight:
    kind, category = (str(entry.get(name) or "").upper() for name in ("Type", "Category"))
    if (kind or category) in WARNINGS:
        return Weight.UNCLEAR if is_exception else Weight.WARNING
    # A message's category may say what it is about; an exception is one whatever it says.
    is_error = bool(entry) if is_exception else bool(kind) or category == ERROR
    return Weight.ERROR if is_error else Weight.UNCLEAR


def _success(body: Mapping[str, Any]) -> bool | None:
    """What an envelope says of its success; None: nothing."""
    said = body.get("success")
    if isinstance(said, str):
        return {"true": True, "false": False}.get(said.strip().lower())
    return said if isinstance(said, bool) else None


def read_bulk(body: Mapping[str, Any], key: str, sent: Sequence[str]) -> dict[str, str]:
    """What a bulk import refused, by business key. Retry when the answer does not add up."""
    data = body.get("data")
    failed = data.get("FailedRecords") if isinstance(data, Mapping) else None
    refused: dict[str, str] = {}
    for record in failed if isinstance(failed, list) else ():
        if isinstance(record, Mapping):
            messages = record.get("Messages")
            shape = "exceptions" if isinstance(messages, list) else "messages"
            told = refusal({shape: messages})
            refused[str(record.get(key, ""))] = told.text or "refused without a reason"
    if not isinstance(data, Mapping) or data.get("SuccessCount") != len(sent) - len(refused):
        raise Retry(0.0, "the bulk import's answer does not account for every record")
    if set(refused) - set(sent):
        raise Retry(0.0, "the bulk import's answer names records we did not send")
    return refused


def read_token(answer: Answer, who: str) -> Token:
    """A token from an OAuth answer. Retry when refused: an outage, never a rejection."""
    body = _json_object(answer) or {}
    value, lifetime = body.get("access_token"), body.get("expires_in", 3600)
    if not answer.ok or not isinstance(value, str) or not value:
        code = str(body.get("error", ""))[:64]
        raise Retry(AUTH_RETRY_SECONDS, f"{who} gives no token ({answer.status} {code})".rstrip())
    try:
        return Token(value, float(lifetime))
    except (TypeError, ValueError):
        return Token(value, 60.0)


def _json_object(answer: Answer) -> dict[str, Any] | None:
    try:
        body = answer.json()
    except (ValueError, RecursionError):
        return None
    return {str(name): value for name, value in body.items()} if isinstance(body, dict) else None
