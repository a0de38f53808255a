"""Payloads that could not be translated when they came, given to their adapter again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Sequence

from crossdock.errors import CallError

from crossdock_adapters.sdk import facts_apart
from crossdock_adapters.sdk.attempts import HubAway, HubRefused
from crossdock_adapters.sdk.carrying import COMPLETION_SOURCE
from crossdock_adapters.sdk.hub_link import HELD_AT_ONCE
from crossdock_adapters.sdk.inbound import POLL_SOURCE, Inbound, described, hub_away
from crossdock_adapters.sdk.mappings import UnreadCodes
from crossdock_adapters.sdk.outcomes import OutcomeUnknown, Retry
from crossdock_adapters.sdk.places import unread_codes
from crossdock_adapters.sdk.presence import Presence
from crossdock_adapters.sdk.work import HeldPayload, HoldPayload

log = logging.getLogger(__name__)

# How often it is asked for what an operator wants tried again, and a round that broke off begins
# again.
HELD_ROUND_SECONDS = 30.0
HELD_PAYLOAD_SECONDS = 15.0
MAX_PAGES_PER_ROUND = 10_000
# What one payload meets at the vendor is its own trouble; so many in a row are the vendor's.
VENDOR_FAILURES_IN_A_ROW = 5


class LeftOut(Exception):
    """The adapter can do nothing with this held payload, which stays as it is; who asked for it is
    told why, and what to do."""


class Overtaken(Exception):
    """Nothing of this held payload is to be told any more, since something newer is, or will be.
    It is closed as a translated one is, and the log says by what it was overtaken."""


class Away(Exception):
    """The hub, or the vendor at all, can't be reached: the round is over."""


class NotNow(Exception):
    """The vendor did not serve what this payload needs: it is tried again, after the others."""


class Failures:
    """How many payloads in a row the vendor did not serve."""

    def __init__(self) -> None:
        self._in_a_row = 0

    def none(self) -> None:
        self._in_a_row = 0

    def one_more(self, why: NotNow) -> None:
        """Raises Away once it is the vendor that fails, not the payloads."""
        self._in_a_row += 1
        if self._in_a_row >= VENDOR_FAILURES_IN_A_ROW:
            raise Away(str(why)) from why


class HeldPayloads:
    """One endpoint's held payloads: all of them at start, later those that operators ask for, and
    what this process had no room for in a completion.

    Oldest first and one after another. Another process of the endpoint may do the same at the same
    time: the hub takes each fact once, and closes each payload once.
    """

    def __init__(self, inbound: Inbound) -> None:
        self._inbound = inbound
        # Says once that rounds break off, and once that they do no longer.
        self._presence = Presence(f"endpoint {inbound.endpoint}: translating held payloads")
        # Of what operators ask for: what the vendor did not serve; it comes after those behind it.
        self._later: set[str] = set()
        # Of all at start: where reading them stands, what has an answer, and
        # what the vendor did not serve, in the order in which it is tried again. Payloads are
        # large: once all were read, only those that are left are asked for.
        self._page_token = ""
        self._all_read = False
        self._answered: set[str] = set()
        self._left: dict[str, str] = {}
        # What this process had held since, in order.
        self._fresh: dict[str, None] = {}
        self._added = asyncio.Event()

    def look_again(self) -> None:
        """Ask soon for what is to be tried again: codes have other rows than before."""
        self._added.set()

    def add(self, held_ids: Sequence[str]) -> None:
        """Try these too, soon: this process has just had them held, and can write them."""
        self._fresh |= dict.fromkeys(held_ids)
        self._added.set()

    async def run(self) -> None:
        """Until cancelled. What was held at start is gone through once, and what is left of it
        until each payload has an answer, as are those that were added; what operators ask for
        comes before them."""
        while True:
            self._added.clear()
            why = await self.one_round(asked=True)
            if self._left or self._fresh or not self._all_read:
                left = await self.one_round(asked=False)
                why = why or left
            if why:
                self._presence.gone(why)
            else:
                self._presence.back()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HELD_ROUND_SECONDS):
                    await self._added.wait()

    async def one_round(self, *, asked: bool) -> str:
        """Why some have no answer yet; "" when all have. asked: only what operators asked for."""
        try:
            if asked:
                left = await self._go_through_asked()
                self._later.clear()
                return left
            if self._all_read:
                return await self._go_through_left()
            return await self._go_through_all()
        except (Away, HubAway, HubRefused) as why:
            return str(why)
        except Exception as error:
            return described(error)

    async def _go_through_asked(self) -> str:
        """Why the last that is left has no answer; "" when each has one. Raises Away."""
        token, left, failures = "", "", Failures()
        for _ in range(MAX_PAGES_PER_ROUND):
            page, token = await self._inbound.link.held_payloads(asked=True, page_token=token)
            for held in page:
                if held.id in self._later:
                    left = left or f"held payload {held.id} waits for the vendor"
                    continue
                try:
                    await self._again(held)
                except NotNow as why:
                    self._later.add(held.id)
                    left = f"held payload {held.id}: {why}"
                    failures.one_more(why)
                else:
                    failures.none()
            if not token:
                break
        return left

    async def _go_through_all(self) -> str:
        """The first pass, from where it broke off. Raises Away."""
        failures = Failures()
        while not self._all_read:
            try:
                page, token = await self._inbound.link.held_payloads(
                    asked=False, page_token=self._page_token
                )
            except HubRefused:
                # Perhaps it is this position that the hub does not take: the next pass begins anew.
                self._page_token = ""
                raise
            for held in page:
                if held.id not in self._answered and held.id not in self._left:
                    await self._try(held, failures)
            self._page_token, self._all_read = token, not token
        self._answered.clear()
        return await self._go_through_left() if self._fresh else self._what_is_left()

    async def _go_through_left(self) -> str:
        """What the first pass left, and nothing else of what is held. Raises Away."""
        failures = Failures()
        for held_id in self._fresh:
            self._left.setdefault(held_id, "not tried yet")
        self._fresh.clear()
        waiting = list(self._left)
        for start in range(0, len(waiting), HELD_AT_ONCE):
            ids = waiting[start : start + HELD_AT_ONCE]
            token, told = "", set[str]()
            for _ in range(MAX_PAGES_PER_ROUND):
                page, token = await self._inbound.link.held_payloads(
                    asked=False, page_token=token, ids=ids
                )
                for held in page:
                    if held.id in ids and held.id not in told:
                        told.add(held.id)
                        await self._try(held, failures)
                if not token:
                    break
            for gone in set(ids) - told:
                # An operator, or another process of this endpoint, closed it.
                self._left.pop(gone, None)
        return self._what_is_left()

    async def _try(self, held: HeldPayload, failures: Failures) -> None:
        """One payload of those at start; what the vendor does not serve goes behind the others."""
        try:
            await self._again(held)
        except NotNow as why:
            self._left.pop(held.id, None)
            self._left[held.id] = str(why)
            failures.one_more(why)
            return
        failures.none()
        self._left.pop(held.id, None)
        if not self._all_read:
            self._answered.add(held.id)

    def _what_is_left(self) -> str:
        if not self._left:
            return ""
        last, why = next(reversed(self._left.items()))
        return f"held payload {last}: {why}"

    async def _again(self, held: HeldPayload) -> None:
        closed = "translated"
        try:
            reason, codes = await self._reason(held)
        except Overtaken as overtaken:
            reason, codes, closed = "", None, f"overtaken: {overtaken}"
        except LeftOut as left_out:
            if not held.asked:
                return
            reason, codes = str(left_out), None
        try:
            await self._inbound.link.report_held(held.id, reason, codes)
        except HubRefused as refused:
            # Another process of this endpoint, or an operator, closed it meanwhile.
            log.info("held payload %s: %s", held.id, refused)
            return
        end = f"still held: {reason}" if reason else closed
        log.info("endpoint %s: held payload %s: %s", self._inbound.endpoint, held.id, end)

    async def _reason(self, held: HeldPayload) -> tuple[str, UnreadCodes | None]:
        """Why it still can't be translated, and for which codes; "" when its facts are in the hub.

        Raises Away, NotNow, LeftOut, Overtaken.
        """
        reasons: list[str] = []
        unread: list[UnreadCodes] = []

        async def hold(
            payload: bytes, content_type: str, reason: str, key: str, codes: UnreadCodes | None
        ) -> None:
            reasons.append(reason or "cannot be translated")
            if codes is not None:
                unread.append(codes)

        try:
            async with asyncio.timeout(HELD_PAYLOAD_SECONDS):
                await self._inbound.catch_up()
                await self._translate(held, hold)
        except (LeftOut, Overtaken):
            raise
        except TimeoutError:
            return f"not translated within {HELD_PAYLOAD_SECONDS:g} s", None
        except (Retry, OutcomeUnknown) as error:
            # Nothing about the payload is wrong, and what was told is told once.
            raise NotNow(described(error)) from error
        except (HubAway, HubRefused, CallError) as error:
            if hub_away(error):
                raise Away(described(error)) from error
            return described(error), None
        except Exception as error:
            return described(error), unread_codes(error)
        return "; ".join(reasons), unread[0] if unread else None

    def _translate(self, held: HeldPayload, hold: HoldPayload) -> Awaitable[None]:
        inbound = self._inbound
        if held.source.startswith(POLL_SOURCE):
            return self._translate_polled(held, hold)
        if held.source == COMPLETION_SOURCE:
            return self._write_fact(held, hold)
        webhook = inbound.adapter.webhooks.get(held.source)
        if webhook is None:
            raise LeftOut(f"this adapter has no webhook {held.source}")
        headers = {"content-type": held.content_type}
        hook = inbound.webhook_of(webhook, held.payload, headers, {}, hold)
        return webhook.receive(hook, inbound.vendor)

    async def _write_fact(self, held: HeldPayload, hold: HoldPayload) -> None:
        """What a completion had no room for; references and duplicates are for people."""
        try:
            reason = await facts_apart.write(self._inbound.link, held)
        except facts_apart.ByHand as by_hand:
            raise LeftOut(str(by_hand)) from None
        if reason:
            await hold(held.payload, held.content_type, reason, "", None)

    async def _translate_polled(self, held: HeldPayload, hold: HoldPayload) -> None:
        name = held.source.removeprefix(POLL_SOURCE)
        spec = self._inbound.adapter.polls.get(name)
        if spec is None or spec.translate_held is None:
            raise LeftOut(
                f"poll {name} of this adapter does not translate held payloads: have the vendor "
                "show or send it again, then discard this one"
            )
        poll = await self._inbound.poll_of(spec, hold)
        await spec.translate_held(poll, held, self._inbound.vendor)
