"""The Manhattan Active REST protocol: tokens, site headers, save, search, bulk import; no orders.

What an answer means is a row of `errors.toml`. A time-out or an unreadable answer to a call with an
effect is an unknown outcome. A bulk import answers 200 whatever happened to single records: it is
read by business key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
WARNING, ERROR = "WARNING", "ERROR"
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
        codes = (*settings.texts("too_late_codes"), *settings.texts("not_found_codes"))
        self._refusal_codes = frozenset(codes)
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
        told, success = refusal(body), body.get("success")
        if success is False or (success is not True and told.code and not told.is_warning):
            raise self._meaning(answer, told, effect=effect)
        return body

    def _body(self, answer: Answer, *, effect: bool) -> dict[str, Any]:
        body = _json_object(answer)
        if not answer.ok:
            raise self._meaning(answer, refusal(body or {}), effect=effect)
        if body is None:
            raise answer.unclear("the answer is not a JSON object", effect=effect)
        return body

    def _meaning(self, answer: Answer, told: Refusal, *, effect: bool) -> VendorOutcome:
        code, text = told.code, told.text or NO_EXCEPTION
        if told.is_warning and code not in self._refusal_codes:
            code, text = WARNING, f"{code} {text}"
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


@dataclass(frozen=True, slots=True)
class Refusal:
    """Code and words of what the platform refused; empty: it names nothing."""

    code: str = ""
    text: str = ""
    is_warning: bool = False


def refusal(body: Mapping[str, Any]) -> Refusal:
    """The first exception or error of an envelope, else of its messages, where errors go first."""
    for name in ("exceptions", "errors"):
        entries = body.get(name)
        if isinstance(entries, list) and entries:
            return _refusal_of(entries[0])
    messages = body.get("messages")
    entries = messages.get("Message") if isinstance(messages, Mapping) else None
    found = [_refusal_of(each) for each in (entries if isinstance(entries, list) else [entries])]
    return next((each for each in found if not each.is_warning), found[0] if found else Refusal())


def _refusal_of(entry: Any) -> Refusal:
    if entry is None:
        return Refusal()
    if not isinstance(entry, Mapping):
        return Refusal("REFUSED", str(entry)[:MAX_REASON_CHARACTERS])
    code = next((str(entry[name]) for name in CODES if entry.get(name)), "REFUSED")
    text = next((str(entry[name]) for name in WORDS if entry.get(name)), code)
    kind = str(entry.get("Type") or entry.get("Category") or ERROR)
    return Refusal(code[:64], text[:MAX_REASON_CHARACTERS], kind.upper() != ERROR)


def read_bulk(body: Mapping[str, Any], key: str, sent: Sequence[str]) -> dict[str, str]:
    """What a bulk import refused, by business key. Retry when the answer does not add up."""
    data = body.get("data")
    failed = data.get("FailedRecords") if isinstance(data, Mapping) else None
    refused: dict[str, str] = {}
    for record in failed if isinstance(failed, list) else ():
        if isinstance(record, Mapping):
            messages = record.get("Messages")
            told = refusal({"exceptions": messages, "messages": messages})
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
