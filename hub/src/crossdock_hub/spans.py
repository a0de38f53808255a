"""Spans of the hub's own work for sampled requests: the commit, and each message it sends.

What is not sampled costs one look at the flag of its traceparent and nothing else. Times are the
machine's, as those of every other span, not those of the hub's clock.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Final, Self

from crossdock.bus import subject_template
from crossdock.telemetry import (
    BATCH_COMMANDS,
    REFUSED,
    context_of,
    messaging_attributes,
    traceparent_of,
)
from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from crossdock_hub.bus.publishing import Message, PublishResult
from crossdock_hub.commands import Command

COMMIT: Final = "commit"
PUBLISH: Final = "publish"
TRACEPARENT: Final = "traceparent"
# The last hexadecimal digit of a traceparent holds the flag as its lowest bit.
_SAMPLED_DIGITS: Final = frozenset("13579bdf")
_TRACER: Final = trace.get_tracer("crossdock_hub")


def is_sampled(traceparent: str) -> bool:
    """Whether somebody records the trace of a W3C traceparent; "" is no trace."""
    return traceparent[-1:] in _SAMPLED_DIGITS


class CommitSpans:
    """Around one transaction: a span for each sampled RPC that has commands in it.

    `answers` is to be set inside; left unset, the transaction has failed.
    """

    __slots__ = ("_batch", "_begun", "_sampled", "answers")

    def __init__(self, batch: Sequence[Command]) -> None:
        self._batch = batch
        self._sampled = {c.traceparent for c in batch if is_sampled(c.traceparent)}
        self._begun = time.time_ns() if self._sampled else 0
        self.answers: Sequence[tuple[Command, Any]] = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._sampled:
            return
        ended = time.time_ns()
        refused = {c.traceparent for c, a in self.answers if isinstance(a, Exception)}
        for traceparent in self._sampled:
            span = _TRACER.start_span(
                COMMIT,
                context=context_of({TRACEPARENT: traceparent}),
                start_time=self._begun,
                attributes={
                    BATCH_COMMANDS: len(self._batch),
                    REFUSED: traceparent in refused,
                },
            )
            if error is not None:
                _fail(span, type(error).__name__)
            span.end(ended)


class PublishSpans:
    """Around one publish: a span for each sampled message, which the message then names as its
    parent, so that whoever consumes it goes on below.

    `messages` is what to send; `results` is to be set inside, left unset nobody knows.
    """

    __slots__ = ("_spans", "messages", "results")

    def __init__(self, messages: Sequence[Message]) -> None:
        self.messages = messages
        self.results: Sequence[PublishResult] = ()
        self._spans: list[tuple[int, Span]] = []
        places = [
            place
            for place, message in enumerate(messages)
            if is_sampled(message.headers.get(TRACEPARENT, ""))
        ]
        if places:
            sent = list(messages)
            for place in places:
                sent[place] = self._begin(place, messages[place])
            self.messages = sent

    def _begin(self, place: int, message: Message) -> Message:
        template = subject_template(message.subject)
        span = _TRACER.start_span(
            f"{PUBLISH} {template}",
            context=context_of(message.headers),
            kind=SpanKind.PRODUCER,
            attributes=messaging_attributes(
                PUBLISH, "send", message.subject, template, message.message_id
            ),
        )
        self._spans.append((place, span))
        headers = {**message.headers, TRACEPARENT: traceparent_of(span)}
        return replace(message, headers=headers)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for place, span in self._spans:
            if error is not None:
                _fail(span, type(error).__name__)
            elif not self.results[place].is_stored:
                _fail(span, self.results[place].outcome.value)
            span.end()


def _fail(span: Span, why: str) -> None:
    span.set_attribute("error.type", why)
    span.set_status(Status(StatusCode.ERROR, why))
