"""The contract's methods as gRPC handlers: one generic handler per shape of method.

A writing method becomes a command for the committer, a reading one a query; nothing is written per
method but its decision.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import grpc
from crossdock.contracts import Method, digest
from crossdock.errors import from_message, to_message
from crossdock.telemetry import current_traceparent
from google.protobuf.message import DecodeError

from crossdock_hub.commands import Command, Decision, Unread, hinted_keys
from crossdock_hub.committer import Committer
from crossdock_hub.delivery import attempts, checking
from crossdock_hub.door.answered_together import answers_of
from crossdock_hub.door.calls import Door, abort, abort_stream, require_own
from crossdock_hub.door.forwarding import Forwarder
from crossdock_hub.door.intake import Intake
from crossdock_hub.door.led_methods import LED, NAMED_IN, endpoint_of, finding, is_of_the_office
from crossdock_hub.door.looking import Look, decided_on_sight
from crossdock_hub.door.pace_elsewhere import paced
from crossdock_hub.door.refusing import STOPPING, refusal_of
from crossdock_hub.door.turns import Turns, prepared
from crossdock_hub.identity import Caller
from crossdock_hub.objects import held
from crossdock_hub.refusals import too_much
from crossdock_hub.stepping import Steps, at_once
from crossdock_hub.unit import Key, NotYet, Refused, Unit
from crossdock_hub.verbs import DECISIONS, PREPARATIONS
from crossdock_hub.verbs.master_data import UPSERTS, entries_refused, upsert_entry
from crossdock_hub.verbs.registering import Decide

Answer = Callable[[Caller, Any, Any], Awaitable[Any]]

DELIVERY = "/crossdock.delivery.v1.DeliveryService/"
STREAM_SCANS = "/crossdock.tracking.v1.TrackingService/StreamTrackingEvents"
TAIL = "/crossdock.lineage.v1.LineageService/Tail"
# What no item of a call is to blame for, and no item alone would get over.
TRY_AGAIN = frozenset({"HUB_OVERLOADED", "STORE_FULL", "HUB_UNAVAILABLE"})


class Tied(Protocol):
    """What lets a vendor be called is answered when the bus knows of it."""

    def require_bus(self) -> None:
        """Raises Refused while the bus can't be told of anything."""

    async def told(self) -> None:
        """Return when the bus knows of all that is stored. Raises Refused."""


class Services:
    """Builds the handlers. queries, looks: by method; see `Answer` and `Look`.

    tie: of the calls of an endpoint, at the hub that leads its system; raises Refused where this
    one does not. forwarder: the way to that hub; None: no other can be.
    """

    def __init__(
        self,
        door: Door,
        intake: Intake,
        committer: Committer,
        queries: dict[str, Answer],
        looks: dict[str, Look],
        tail: Callable[[Caller, Any], AsyncIterator[Any]] | None,
        after_register: Callable[[str], Awaitable[None]],
        tie: Callable[[str], Tied],
        forwarder: Forwarder | None = None,
    ) -> None:
        self._forwarder = forwarder
        self._tie = tie
        self._door = door
        self._intake = intake
        self._contract = door.contract
        self._committer = committer
        self._queries = queries if forwarder is None else paced(queries, forwarder.ask)
        self._looks = looks
        self._tail = tail
        self._after_register = after_register
        self._foresee = partial(committer.foresights.answered, submit=committer.submit)
        self._turns = Turns(intake, committer.lanes, door.limits)
        self._batches: dict[str, Answer] = {
            f"{DELIVERY}BeginAttempts": self._begin,
            f"{DELIVERY}RenewLeases": self._renew,
            f"{DELIVERY}CompleteAttempts": self._complete,
        }

    def unserved(self) -> list[str]:
        """Methods of the contract that nothing answers; a hub with any does not start."""
        served = {*DECISIONS, *UPSERTS, *self._queries, *self._batches, STREAM_SCANS, TAIL}
        return sorted(set(self._contract.methods) - served)

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        """One generic handler per service."""
        by_service: dict[str, dict[str, Any]] = {}
        for method in self._contract.methods.values():
            by_service.setdefault(method.service, {})[method.name] = self._handler(method)
        return [
            grpc.method_handlers_generic_handler(service, handlers)
            for service, handlers in by_service.items()
        ]

    def _handler(self, method: Method) -> Any:
        # Bytes in, bytes out: parsing is ours, so that malformed bytes get a clear answer.
        if method.full_name == STREAM_SCANS:
            return grpc.stream_stream_rpc_method_handler(self._stream_scans(method))
        if method.full_name == TAIL:
            return grpc.unary_stream_rpc_method_handler(self._stream_tail(method))
        plain = method.full_name in DECISIONS and method.full_name not in self._looks
        one_write = plain and method.mutating and not _is_read_first(method)
        handle = self._one_write(method) if one_write else self._unary(method)
        if self._forwarder is not None and method.full_name in LED:
            find = finding(method, self._door.identities, self._intake)
            handle = self._forwarder.around(method.full_name, handle, find)
        return grpc.unary_unary_rpc_method_handler(handle)

    def _answer(self, method: Method) -> Answer:
        name = method.full_name
        if name in self._batches:
            return self._batches[name]
        if name in UPSERTS:
            return self._upsert(method)
        if name in DECISIONS:
            return self._write(method)
        return self._queries[name]

    def _unary(self, method: Method) -> Callable[[bytes, Any], Awaitable[bytes]]:
        answer = self._answer(method)

        async def handle(raw: bytes, context: Any) -> bytes:
            try:
                caller = self._door.admit(method, context)
                request = await self._turns.parse(method, raw)
                response = await answer(caller, request, context)
                encoded: bytes = response.SerializeToString()
            except Exception as error:
                await abort(context, refusal_of(method.full_name, error))
            return encoded

        return handle

    def _one_write(self, method: Method) -> Callable[[bytes, Any], Awaitable[bytes]]:
        """A write of one object: its batch reads the request, and encodes the response."""
        name = method.full_name
        decide = DECISIONS[name]
        response_type = self._contract.generated_class(method.response_type)
        registers = method.name == "RegisterEndpoint"
        leads = is_of_the_office(name)

        async def handle(raw: bytes, context: Any) -> bytes:
            try:
                caller = self._door.admit(method, context)
                what = Unread(method, raw)
                command = Command(
                    name,
                    caller,
                    lambda unit: decide(unit, what.request),
                    asyncio.get_running_loop().create_future(),
                    unread=what,
                    response_type=response_type,
                    encoded=True,
                    traceparent=current_traceparent(),
                    leads=leads,
                    of_endpoint=endpoint_of(name, caller.endpoint),
                )
                if method.fact:
                    command.on_hold = lambda unit, why: _hold(
                        unit, why, name, what.request, response_type
                    )
                encoded: bytes = await self._committer.submit(command)
                if registers:
                    await self._after_register(caller.endpoint)
            except Exception as error:
                await abort(context, refusal_of(name, error))
            return encoded

        return handle

    def command(
        self,
        name: str,
        caller: Caller,
        request: Any,
        decide: Decision,
        *,
        response_type: type[Any],
        resource_field: str = "",
        fact: bool = False,
        bulk: bool = False,
        weight: int = 1,
    ) -> Command:
        """A command for a request that has a request id."""

        def on_hold(unit: Unit, why: NotYet) -> Any:
            return _hold(unit, why, name, request, response_type)

        return Command(
            name,
            caller,
            decide,
            asyncio.get_running_loop().create_future(),
            request_id=request.request_id,
            digest=digest(request),
            response_type=response_type,
            on_hold=on_hold if fact else None,
            traceparent=current_traceparent(),
            weight=weight,
            bulk=bulk,
            leads=is_of_the_office(name),
            of_endpoint=endpoint_of(name, caller.endpoint, request),
            keys=hinted_keys(self._contract, resource_field, request, caller.role),
        )

    def _write(self, method: Method) -> Answer:
        decide: Any = DECISIONS[method.full_name]
        prepare = PREPARATIONS.get(method.full_name)
        look = self._looks.get(method.full_name)
        response_type = self._contract.generated_class(method.response_type)

        async def answer(caller: Caller, request: Any, _context: Any) -> Any:
            scans, submit = getattr(request, "tracking_events", ()), self._committer.submit

            def make(decide: Decision, keys: frozenset[Key] = frozenset()) -> Command:
                command = self.command(
                    method.full_name,
                    caller,
                    request,
                    decide,
                    response_type=response_type,
                    resource_field=method.resource_field,
                    fact=method.fact,
                    bulk=len(scans) > 1,
                    weight=max(1, len(scans)),
                )
                command.keys |= keys
                return command

            if not method.mutating:
                fenced = self._fenced(method.full_name, caller, lambda u: decide(u, request))
                return await submit(fenced)
            if look is not None:
                most = self._door.limits.dead_letter_looks_max
                return await decided_on_sight(
                    look, request, lambda was: submit(make(lambda u: decide(u, request, was))), most
                )
            if prepare is not None:
                steps = prepared(prepare, request, make)
                if len(scans) < 2 or method.client_streaming:
                    # Frames of a stream keep their order.
                    return await submit(at_once(steps))
                made = await self._turns.take(steps, bulk=True)
                return await self._foresee(made, self._turns.beside_callers)
            return await submit(make(lambda unit: decide(unit, request)))

        return answer

    def _upsert(self, method: Method) -> Answer:
        spec = UPSERTS[method.full_name]
        response_type: Any = self._contract.generated_class(method.response_type)
        results = response_type.DESCRIPTOR.fields_by_name["results"].message_type
        result_type: Any = self._contract.generated_class(results.full_name)

        def submit(
            decide: Decide, caller: Caller, entry: Any, *, bulk: bool
        ) -> asyncio.Future[Any]:
            return self._committer.submit(
                self.command(
                    method.full_name,
                    caller,
                    entry,
                    partial(_decide_item, decide, entry),
                    response_type=result_type,
                    resource_field=spec.kind,
                    fact=True,
                    bulk=bulk,
                )
            )

        async def answer(caller: Caller, request: Any, _context: Any) -> Any:
            refused = entries_refused(request, spec.kind)
            decide = upsert_entry(spec.kind, result_type, request.entries)
            futures: dict[int, asyncio.Future[Any]] = {}

            def submitted() -> Steps[None]:
                for index, entry in enumerate(request.entries):
                    if index not in refused:
                        futures[index] = submit(
                            decide, caller, entry, bulk=len(request.entries) > 1
                        )
                        yield

            try:
                await self._turns.take(submitted(), bulk=len(request.entries) > 1)
            except BaseException:
                # Refused, or given up by its caller: nobody waits for what is in line already.
                for future in futures.values():
                    future.cancel()
                raise
            found = await asyncio.gather(*futures.values(), return_exceptions=True)
            answers = dict(zip(futures, found, strict=True)) | refused
            return response_type(results=_in_order(result_type, answers))

        return answer

    def _fenced(
        self, name: str, caller: Caller, decide: Decision, keys: frozenset[Key] = frozenset()
    ) -> Command:
        """A command without request id: tokens and compare-and-set make it repeatable."""
        return Command(
            name,
            caller,
            decide,
            asyncio.get_running_loop().create_future(),
            traceparent=current_traceparent(),
            leads=is_of_the_office(name),
            of_endpoint=endpoint_of(name, caller.endpoint),
            keys=keys,
        )

    async def _each(
        self,
        name: str,
        caller: Caller,
        result_type: type[Any],
        items: Any,
        decide: Any,
        facts_of: Callable[[Any], Sequence[checking.CheckedFact]] = lambda _item: (),
    ) -> list[Any]:
        """One command per item; a refused item, or one we have a fault with, refuses no other."""
        commands = [
            self._fenced(
                name,
                caller,
                partial(_decide_item, decide, item),
                checking.foreseen(self._contract, caller.endpoint, item, facts_of(item)),
            )
            for item in items
        ]
        answers = await answers_of(commands, self._committer.submit)
        results = []
        for item, found in zip(items, answers, strict=True):
            if isinstance(found, Exception):
                found = _refused(result_type, found)
                if found.refusal.reason in TRY_AGAIN:
                    # The whole call fails, and its repeat is harmless.
                    raise Refused(from_message(found.refusal))
                found.delivery_id = item.delivery_id
            results.append(found)
        return results

    async def _begin(self, caller: Caller, request: Any, _context: Any) -> Any:
        require_own(caller, request.endpoint)
        response_type, result_type = self._batch_types("BeginAttempts")
        self._tie(caller.endpoint).require_bus()
        results = await self._each(
            f"{DELIVERY}BeginAttempts",
            caller,
            result_type,
            request.begins,
            lambda unit, item: attempts.begin(unit, item, request.instance),
        )
        await self._tie(caller.endpoint).told()
        return response_type(results=results)

    async def _renew(self, caller: Caller, request: Any, _context: Any) -> Any:
        require_own(caller, request.endpoint)
        response_type, result_type = self._batch_types("RenewLeases")
        name = f"{DELIVERY}RenewLeases"
        results = await self._each(name, caller, result_type, request.renewals, attempts.renew)
        if any(renewal.draft for renewal in request.renewals):
            await self._tie(caller.endpoint).told()
        return response_type(results=results)

    async def _complete(self, caller: Caller, request: Any, _context: Any) -> Any:
        require_own(caller, request.endpoint)
        response_type, result_type = self._batch_types("CompleteAttempts")
        # By object, not by token: one batch may say the same attempt's word twice.
        items = list(request.completions)
        limits = self._door.limits
        checked = {
            id(item): checking.check_facts(self._contract, item.facts, limits) for item in items
        }
        return response_type(
            results=await self._each(
                f"{DELIVERY}CompleteAttempts",
                caller,
                result_type,
                items,
                lambda unit, item: attempts.complete(unit, item, checked[id(item)]),
                lambda item: checked[id(item)],
            )
        )

    def _batch_types(self, name: str) -> tuple[Any, Any]:
        method = self._contract.methods[f"{DELIVERY}{name}"]
        response_type: Any = self._contract.generated_class(method.response_type)
        results = response_type.DESCRIPTOR.fields_by_name["results"].message_type
        return response_type, self._contract.generated_class(results.full_name)

    def _stream_scans(self, method: Method) -> Any:
        """Frames in, receipts out in the same order, a few frames in flight."""
        write = self._write(method)
        response_type: Any = self._contract.generated_class(method.response_type)

        async def one(caller: Caller, raw: bytes, context: Any) -> Any:
            try:
                request = self._intake.parse(method.request_type, raw)
                return await write(caller, request, context)
            except Exception as error:
                refusal = to_message(refusal_of(method.full_name, error))
                return response_type(
                    request_id=self._request_id(method.request_type, raw), refusal=refusal
                )

        async def handle(frames: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
            try:
                caller = self._door.admit(method, context)
            except Exception as error:
                await abort_stream(context, frames, refusal_of(method.full_name, error))
            flying: asyncio.Queue[asyncio.Task[Any] | None]
            flying = asyncio.Queue(self._door.limits.stream_frames_in_flight_max)

            async def read() -> None:
                async for raw in frames:
                    await flying.put(asyncio.create_task(one(caller, raw, context)))
                await flying.put(None)

            # Read apart: a caller may wait for a frame's receipts before it sends the next.
            reader = asyncio.create_task(read())
            try:
                while (answer := await flying.get()) is not None:
                    yield (await answer).SerializeToString()
            finally:
                reader.cancel()

        return handle

    def _request_id(self, message_name: str, raw: bytes) -> str:
        """The request id of a frame that was refused, where its bytes say so much."""
        if too_much(self._contract, message_name, raw, self._door.limits) is not None:
            return ""
        request_type: Any = self._contract.generated_class(message_name)
        try:
            found: str = request_type.FromString(raw).request_id
        except (DecodeError, RecursionError):
            return ""
        return found

    def _stream_tail(self, method: Method) -> Any:
        async def handle(raw: bytes, context: Any) -> AsyncIterator[bytes]:
            try:
                caller = self._door.admit(method, context)
                request = self._intake.parse(method.request_type, raw)
                if self._tail is None:
                    raise Refused(STOPPING)
                async for entry in self._tail(caller, request):
                    yield entry.SerializeToString()
            except Exception as error:
                await abort(context, refusal_of(method.full_name, error))

        return handle


def _is_read_first(method: Method) -> bool:
    """Whether a request is read before its batch: that of many facts says how much of one it takes,
    that which names an endpoint who decides it."""
    return method.name == "ReportTrackingEvents" or method.full_name in NAMED_IN


def _hold(unit: Unit, why: NotYet, name: str, request: Any, response_type: type[Any]) -> Any:
    """Keep a fact that does not fit yet: the response of its method, with the receipt."""
    receipt = held.hold(unit, name, request, why)
    return held.receipt_response(response_type, receipt, request.request_id)


def _decide_item(decide: Callable[[Unit, Any], Any], item: Any, unit: Unit) -> Any:
    return decide(unit, item)


def _in_order(result_type: type[Any], answers: Mapping[int, Any]) -> list[Any]:
    """The results of entries by their place; of those that were refused, why."""
    return [
        each if not isinstance(each, BaseException) else _refused(result_type, each)
        for _, each in sorted(answers.items())
    ]


def _refused(result_type: type[Any], error: BaseException) -> Any:
    if isinstance(error, Exception):
        return result_type(refusal=to_message(refusal_of("", error)))
    raise error
