"""Pulling from Google Cloud Pub/Sub over REST, with a service account's own tokens."""

from __future__ import annotations

import asyncio
import base64
import binascii
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

from crossdock.ending import end_tasks

from crossdock_adapters.sdk import vendor_json
from crossdock_adapters.sdk.auth import Token, TokenCache, client_assertion
from crossdock_adapters.sdk.http import Answer, VendorHttp
from crossdock_adapters.sdk.outcomes import NeedsPerson, Retry
from crossdock_adapters.sdk.plaintext import plaintext_problem
from crossdock_adapters.sdk.settings import Secrets, Settings, SettingsError

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
SCOPE = "https://www.googleapis.com/auth/pubsub"
ASSERTION_SECONDS = 3600
MAX_ACK_IDS = 500
AUTH_RETRY_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Received:
    """One leased message: `data` as published, decoded from base64."""

    ack_id: str
    message_id: str
    ordering_key: str
    data: bytes = field(repr=False)
    attributes: Mapping[str, str] = field(repr=False)
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class KeyFile:
    """What is used of a service-account key file."""

    email: str
    key_id: str
    token_uri: str
    private_key: str = field(repr=False)


class SubscriptionClient:
    """The subscriptions of one project. The key file is read anew for each token: it may rotate."""

    def __init__(self, settings: Settings, secrets: Secrets) -> None:
        self._project = settings.text("project")
        self._secrets = secrets
        self._allow_plaintext = settings.allow_plaintext
        self._timeout_seconds = settings.seconds("pull_timeout_seconds")
        self._http = VendorHttp(settings.text("pubsub_url"))
        self._tokens = TokenCache(self._fetch_token)
        self._asked: dict[str, asyncio.Task[list[Received]]] = {}

    async def test(self) -> None:
        """Prove that the service account gets a token."""
        await self._tokens.get()

    async def close(self) -> None:
        """End the pulls that nobody hears any more, and close the connection pool."""
        await end_tasks(self._asked.values())
        self._asked.clear()
        await self._http.close()

    async def pull_within(
        self, subscription: str, maximum: int, until: float, over: asyncio.Event
    ) -> list[Received] | None:
        """As `pull`; None: at `until` (monotonic), or with `over` later, there was no answer yet.

        The question then stands, and who pulls this subscription next hears its answer: the server
        may wait a minute or more, and what it leased meanwhile would be lost until the lease ends.
        """
        asked = self._asked.get(subscription)
        if asked is None:
            asked = asyncio.create_task(self.pull(subscription, maximum))
            self._asked[subscription] = asked
        ended = asyncio.create_task(over.wait())
        try:
            await asyncio.wait({asked}, timeout=max(0.0, until - time.monotonic()))
            await asyncio.wait({asked, ended}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            # Whoever asked ends. What is leased from now on, nobody would take.
            del self._asked[subscription]
            asked.cancel()
            raise
        finally:
            ended.cancel()
        if not asked.done():
            return None
        del self._asked[subscription]
        return asked.result()

    async def pull(self, subscription: str, maximum: int) -> list[Received]:
        """Lease up to `maximum` messages; waits as long as the server likes when there is none."""
        answer = await self._post(
            subscription, "pull", {"maxMessages": maximum}, self._timeout_seconds
        )
        try:
            entries = answer.json().get("receivedMessages") or []
            return [_received(entry) for entry in entries]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            # The leases run out and the messages come again.
            raise Retry(0.0, f"pull: the answer cannot be read ({type(error).__name__})") from error

    async def acknowledge(self, subscription: str, ack_ids: Sequence[str]) -> None:
        """Tell the service that these never have to come again."""
        for start in range(0, len(ack_ids), MAX_ACK_IDS):
            part = list(ack_ids[start : start + MAX_ACK_IDS])
            await self._post(subscription, "acknowledge", {"ackIds": part})

    async def give_back(self, subscription: str, ack_ids: Sequence[str], seconds: int) -> None:
        """Let these come again in so many seconds."""
        for start in range(0, len(ack_ids), MAX_ACK_IDS):
            part = list(ack_ids[start : start + MAX_ACK_IDS])
            body = {"ackIds": part, "ackDeadlineSeconds": seconds}
            await self._post(subscription, "modifyAckDeadline", body)

    async def _post(
        self,
        subscription: str,
        verb: str,
        body: Mapping[str, Any],
        timeout_seconds: float | None = None,
    ) -> Answer:
        name = quote(subscription, safe="")
        path = f"/v1/projects/{quote(self._project, safe='')}/subscriptions/{name}:{verb}"
        # Nothing here changes the warehouse's books; a lost acknowledgement means a duplicate.
        answer = await self._http.post(
            path, json=dict(body), auth=self._tokens, effect=False, timeout_seconds=timeout_seconds
        )
        if answer.ok:
            return answer
        if answer.status in (403, 404):
            raise NeedsPerson(
                f"subscription {subscription}: {answer.status}; check project, rights"
            )
        raise Retry(answer.retry_after_seconds(), f"{subscription} {verb}: {answer.status}")

    async def _fetch_token(self) -> Token:
        key = read_key_file(self._secrets.text("service_account"), self._allow_plaintext)
        try:
            assertion = client_assertion(
                key.private_key,
                key_id=key.key_id,
                issuer=key.email,
                audience=key.token_uri,
                algorithm="RS256",
                lifetime_seconds=ASSERTION_SECONDS,
                claims={"scope": SCOPE},
            )
        except ValueError:
            raise SettingsError("service_account: its private_key is not an RSA key") from None
        parts = urlsplit(key.token_uri)
        http = VendorHttp(f"{parts.scheme}://{parts.netloc}")
        try:
            form = {"grant_type": JWT_BEARER, "assertion": assertion}
            answer = await http.post(parts.path, form=form, effect=False)
        finally:
            await http.close()
        return _token(answer)


def read_key_file(text: str, allow_plaintext: bool = False) -> KeyFile:
    """A service-account key file. SettingsError names what is missing, never a value.

    Its token server has to be encrypted or loopback, unless `allow_plaintext`.
    """
    try:
        content = vendor_json.loads(text)
        fields = ("client_email", "private_key_id", "token_uri", "private_key")
        email, key_id, token_uri, private_key = (str(content[name]) for name in fields)
    except (ValueError, KeyError, TypeError):
        raise SettingsError(
            "service_account must be the JSON key file with client_email, private_key_id, "
            "token_uri and private_key"
        ) from None
    if urlsplit(token_uri).scheme not in ("https", "http"):
        raise SettingsError("service_account: token_uri is not an http address")
    problem = plaintext_problem("service_account: token_uri", token_uri)
    if problem and not allow_plaintext:
        raise SettingsError(problem)
    return KeyFile(email, key_id, token_uri, private_key)


def _received(entry: Mapping[str, Any]) -> Received:
    message = entry["message"]
    try:
        data = base64.b64decode(message.get("data") or "", validate=True)
    except (binascii.Error, ValueError):
        # Not ours to lose: what came is kept as it is and fails in translation.
        data = str(message.get("data")).encode()
    return Received(
        str(entry["ackId"]),
        str(message.get("messageId", "")),
        str(message.get("orderingKey", "")),
        data,
        {str(name): str(value) for name, value in (message.get("attributes") or {}).items()},
        int(entry.get("deliveryAttempt", 1)),
    )


def _token(answer: Answer) -> Token:
    try:
        body = answer.json() if answer.ok else {}
        return Token(str(body["access_token"]), float(body.get("expires_in", 3600)))
    except (ValueError, KeyError, TypeError, AttributeError):
        reason = f"Pub/Sub gives no token ({answer.status})"
        raise Retry(AUTH_RETRY_SECONDS, reason) from None
