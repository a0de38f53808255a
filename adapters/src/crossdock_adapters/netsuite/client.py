"""NetSuite's protocol: OAuth 2.0 by signed assertion, the record API, SuiteQL, and its errors.

Knows nothing about orders. What an error means is a row of `errors.toml`. Two answers are neither
good nor bad in themselves and are raised for the caller to judge: RecordMissing, DuplicateRecord.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NoReturn
from urllib.parse import quote, urlsplit

from crossdock_adapters.netsuite.error_words import Said, row_of
from crossdock_adapters.sdk import exchange
from crossdock_adapters.sdk.auth import Token, TokenCache, client_assertion
from crossdock_adapters.sdk.error_table import ErrorTable, Word
from crossdock_adapters.sdk.http import Answer, VendorHttp
from crossdock_adapters.sdk.outcomes import OutcomeUnknown, Reject, Retry

TOKEN_PATH = "/services/rest/auth/oauth2/v1/token"
RECORD_PATH = "/services/rest/record/v1"
SUITEQL_PATH = "/services/rest/query/v1/suiteql"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
SCOPE = "rest_webservices"
ASSERTION_SECONDS = 300
DEFAULT_TOKEN_SECONDS = 3600
NOT_FOUND = 404
# NetSuite help, REST API error handling: the code of a record that is not there, or not to be seen.
NONEXISTENT_ID = "NONEXISTENT_ID"
SUITEQL_PAGE_LIMIT = 1000
LOGIN_RETRY_SECONDS = 60.0

MAX_DETAILS = 20
# What an error is about: a place in the body, in the address, in the query, or a header.
_PLACES = ("o:errorPath", "o:urlPath", "o:errorQueryParam", "o:errorHeader")
# Without Error, a misspelt field is dropped in silence.
_WRITE_HEADERS = {"X-NetSuite-PropertyNameValidation": "Error"}

ERRORS = ErrorTable.load(__package__)


@dataclass(frozen=True, slots=True)
class Login:
    """How the integration identifies itself. `private_key` is asked each time, so it can rotate."""

    client_id: str
    certificate_id: str
    algorithm: str
    audience: str
    private_key: Callable[[], str]


@dataclass(frozen=True, slots=True)
class Problem:
    """NetSuite's own words for an error: each of its details, and the first one's JSON path, where
    it gave them. rest: of a body without details, such as a gateway's page."""

    status: int
    details: tuple[Said, ...] = ()
    path: str = ""
    rest: str = ""

    def __str__(self) -> str:
        return f"{self.status} {self.code or 'no code'} {self.said}"[:500]

    @property
    def said(self) -> str:
        """Its text, with the place that it is about."""
        text = "; ".join(dict.fromkeys(each.text for each in self.details)) or self.rest
        return f"at {self.path}: {text}" if self.path else text

    @property
    def code(self) -> str:
        """Of the first detail; empty where there is none."""
        return self.details[0].code if self.details else ""

    @property
    def row(self) -> tuple[int, str]:
        """Status and code of its row; without one, its own."""
        # Another interface's answer has the code, and not in the details of the record API.
        said = self.details or (Said("", self.rest),)
        return row_of(self.status, said, ERRORS.rows) or (self.status, self.code)


class RecordMissing(Exception):
    """The record is not there, or the role may not see it; NetSuite does not say which."""


class DuplicateRecord(Exception):
    """A create or transform met an external id that exists; look the record up."""


class NetSuiteClient:
    """One account. `concurrency` requests at most are open at once: the account's limit is shared
    with every other integration, and passing it breaks theirs."""

    def __init__(self, http: VendorHttp, login: Login, *, concurrency: int) -> None:
        self._http = http
        self._login = login
        self._tokens = TokenCache(self._new_token)
        self._slots = asyncio.Semaphore(concurrency)
        # Held while rows are read and told: an older reading never comes after a newer one.
        self.telling = asyncio.Lock()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    async def test(self) -> None:
        """Prove that login, role and SuiteQL work; raises what the first failing call raises."""
        await self.query("SELECT id FROM location ORDER BY id", limit=1)

    async def upsert(
        self, record_type: str, external_id: str, body: Mapping[str, Any], replace: str = ""
    ) -> str:
        """Create or update by external id; internal id. `replace` names a sublist sent in full.
        Raises DuplicateRecord."""
        path = _record(record_type, eid(external_id))
        answer = await self._write("PUT", path, body, {"replace": replace} if replace else None)
        return _created_id(answer)

    async def update(
        self, record_type: str, key: str, body: Mapping[str, Any], replace: str = ""
    ) -> None:
        """Change some fields. Raises RecordMissing."""
        path = _record(record_type, key)
        try:
            await self._write("PATCH", path, body, {"replace": replace} if replace else None)
        except DuplicateRecord as refused:
            # It makes no record: what is there already is what the change says, not the change.
            raise Reject("DUPLICATE", str(refused)) from refused

    async def delete(self, record_type: str, key: str) -> None:
        """Delete a record. Raises RecordMissing."""
        await self._write("DELETE", _record(record_type, key), None, None)

    async def transform(
        self, record_type: str, key: str, target: str, body: Mapping[str, Any]
    ) -> str:
        """Make a new record from one; internal id. Raises RecordMissing, DuplicateRecord."""
        path = f"{_record(record_type, key)}/!transform/{target}"
        return _created_id(await self._write("POST", path, body, None))

    async def read(
        self, record_type: str, key: str, fields: Sequence[str] = (), *, expand: bool = False
    ) -> Mapping[str, Any]:
        """A record by internal id or `eid(...)`; numbers are exact. Raises RecordMissing."""
        params = {"fields": ",".join(fields)} if fields else {}
        if expand:
            params["expandSubResources"] = "true"
        answer = await self._ask("GET", _record(record_type, key), effect=False, params=params)
        return _object(answer)

    async def query(
        self, statement: str, *, limit: int = SUITEQL_PAGE_LIMIT
    ) -> list[dict[str, str]]:
        """The first `limit` rows of a SuiteQL statement. It must have a unique ORDER BY and page
        by key: rows move between offsets otherwise."""
        answer = await self._ask(
            "POST",
            SUITEQL_PATH,
            effect=False,
            params={"limit": str(limit), "offset": "0"},
            headers={"Prefer": "transient"},
            json={"q": statement},
        )
        items = _object(answer).get("items")
        if not isinstance(items, list):
            raise OutcomeUnknown("SuiteQL answered without items")
        return [
            {
                name: _cell(value)
                for name, value in item.items()
                if name != "links" and value is not None
            }
            for item in items
        ]

    async def _write(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        params: Mapping[str, str] | None,
    ) -> Answer:
        return await self._ask(
            method, path, effect=True, params=params, headers=_WRITE_HEADERS, json=body
        )

    async def _ask(self, method: str, path: str, *, effect: bool, **options: Any) -> Answer:
        record = exchange.current()
        earlier_effect = record is not None and record.effect_left
        async with self._slots:
            answer = await self._http.request(
                method, path, effect=effect, auth=self._tokens, **options
            )
        if answer.ok:
            return answer
        try:
            judge(answer, effect=effect, earlier_effect=earlier_effect)
        except DuplicateRecord:
            # Refused: whoever made what is there, this call did not.
            if record is not None:
                record.effect_left = earlier_effect
            raise

    async def _new_token(self) -> Token:
        login = self._login
        assertion = client_assertion(
            login.private_key(),
            key_id=login.certificate_id,
            issuer=login.client_id,
            audience=login.audience,
            algorithm=login.algorithm,
            lifetime_seconds=ASSERTION_SECONDS,
            claims={"scope": [SCOPE]},
        )
        answer = await self._http.request(
            "POST",
            TOKEN_PATH,
            effect=False,
            form={
                "grant_type": "client_credentials",
                "client_assertion_type": ASSERTION_TYPE,
                "client_assertion": assertion,
            },
        )
        return _token(answer)


def eid(external_id: str) -> str:
    """The key that addresses a record by external id."""
    return f"eid:{quote(external_id, safe='')}"


def problem_of(answer: Answer) -> Problem:
    """NetSuite's explanation, whatever shape came back."""
    try:
        body = answer.json()
        # One error may stand for itself, in no list.
        listed = body.get("o:errorDetails", body if "o:errorCode" in body else None)
        details = ([listed] if isinstance(listed, dict) else listed)[:MAX_DETAILS]
        said = tuple(
            Said(str(each.get("o:errorCode") or ""), str(each.get("detail") or ""))
            for each in details
        )
        places = [details[0].get(name) for name in _PLACES]
        place = next((str(each) for each in places if each), "")
        return Problem(answer.status, said, place)
    except (ValueError, LookupError, TypeError, AttributeError):
        return Problem(answer.status, rest=answer.text()[:200])


def judge(answer: Answer, *, effect: bool, earlier_effect: bool) -> NoReturn:
    """Raise what an answer outside 2xx means.

    `effect`: the call may change books. `earlier_effect`: a call before it in the same attempt may
    have changed them, so whatever this one says, the attempt as a whole is unknown; but of several
    deletions one may find nothing.
    """
    problem = problem_of(answer)
    codes = {each.code for each in problem.details}
    nothing_proven = earlier_effect and not effect
    if answer.status == NOT_FOUND and NONEXISTENT_ID in codes and not nothing_proven:
        # Any other 404, as a gateway's page, does not say that there is no such record.
        raise RecordMissing(str(problem))
    if earlier_effect:
        raise answer.unclear(f"after a request was accepted: {problem}", effect=True)
    row = ERRORS.row(*problem.row)
    if row.word is Word.KNOWN and effect:
        raise DuplicateRecord(str(problem))
    wish = answer.wish_seconds()
    if row.word is Word.THROTTLED and wish is None:
        # Not all at once again.
        wish = row.pause_seconds * random.uniform(0.5, 1.5)
    raise ERRORS.meaning(*problem.row, problem.said, effect=effect, wish_seconds=wish)


def _token(answer: Answer) -> Token:
    try:
        body = answer.json() if answer.ok else {}
        life = float(Decimal(str(body.get("expires_in", DEFAULT_TOKEN_SECONDS))))
        return Token(str(body["access_token"]), life)
    except (ValueError, ArithmeticError, LookupError, AttributeError):
        # The body may hold a token, so only the OAuth error code is repeated.
        reason = f"NetSuite gives no token ({answer.status}{_oauth_error(answer)})"
        raise Retry(LOGIN_RETRY_SECONDS if answer.status < 500 else 0.0, reason) from None


def _oauth_error(answer: Answer) -> str:
    try:
        return f" {str(answer.json()['error'])[:40]}"
    except (ValueError, LookupError, TypeError):
        return ""


def _record(record_type: str, key: str) -> str:
    return f"{RECORD_PATH}/{record_type}/{key}"


def _created_id(answer: Answer) -> str:
    internal_id = urlsplit(answer.headers.get("Location", "")).path.rsplit("/", 1)[-1]
    if not internal_id.isdigit():
        raise OutcomeUnknown("NetSuite saved something and did not say under which id")
    return internal_id


def _object(answer: Answer) -> Mapping[str, Any]:
    try:
        body = answer.json()
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise OutcomeUnknown("NetSuite answered something that is not a JSON object")
    return body


def _cell(value: Any) -> str:
    """A value as SuiteQL's texts have it: T and F of what is true or not, decimals in full."""
    if isinstance(value, bool):
        return "T" if value else "F"
    return format(value, "f") if isinstance(value, Decimal) else str(value)
