"""An attempt's excerpts show how it began and how it ended, however many calls it made."""

from __future__ import annotations

import json
import re

import pytest
from crossdock.delivery.v1 import delivery_pb2
from crossdock_adapters.sdk.completion import completion
from crossdock_adapters.sdk.exchange import (
    FIRST_EXCERPTS,
    LAST_EXCERPTS,
    MAX_BODY_CHARACTERS,
    MAX_EXCERPT_CHARACTERS,
    Exchange,
    redacted,
)
from crossdock_adapters.sdk.outcomes import Reject
from hypothesis import given, settings
from hypothesis import strategies as st

KEPT = FIRST_EXCERPTS + LAST_EXCERPTS
LEFT_OUT = re.compile(r"^… (\d+) exchanges? left out …$", re.MULTILINE)


def told(exchange: Exchange) -> tuple[str, str]:
    """Both excerpts as the hub is told them."""
    ended = Reject("400", "the last call was refused")
    answer = completion("d", 1, delivery_pb2.ATTEMPT_KIND_CALL, ended, exchange)
    return answer.request_excerpt, answer.response_excerpt


def of(count: int, characters: int = 0) -> Exchange:
    """An attempt that called so often, with bodies of a length."""
    exchange = Exchange()
    for number in range(1, count + 1):
        body = "z" * characters
        exchange.note(f"POST /call-{number}. {body}", f"200 answer-{number}. {body}")
    return exchange


@pytest.mark.parametrize("count", [KEPT + 1, KEPT + 2, 40])
def test_the_call_that_ended_an_attempt_is_always_shown(count: int) -> None:
    """Proves that of many calls the first and the last ones are kept, with the number of those
    between them that are not."""
    requests, responses = told(of(count))
    shown = [*range(1, FIRST_EXCERPTS + 1), *range(count - LAST_EXCERPTS + 1, count + 1)]
    for text, name in ((requests, "call"), (responses, "answer")):
        assert [int(n) for n in re.findall(rf"{name}-(\d+)\.", text)] == shown
        assert LEFT_OUT.findall(text) == [str(count - KEPT)]
        lines = text.splitlines()
        assert LEFT_OUT.match(lines[FIRST_EXCERPTS])


def test_what_fits_is_shown_whole() -> None:
    """Proves that as many exchanges as are kept are told without a word more."""
    requests, _ = told(of(KEPT))
    assert requests.splitlines() == [f"POST /call-{number}. " for number in range(1, KEPT + 1)]


def test_long_bodies_leave_no_room_but_for_the_last() -> None:
    """Proves that calls with the longest bodies show the first and the last one whole, and that the
    limit of all together holds."""
    requests, responses = told(of(5, MAX_BODY_CHARACTERS))
    for text, name in ((requests, "call"), (responses, "answer")):
        assert len(text) <= MAX_EXCERPT_CHARACTERS
        assert re.findall(rf"{name}-(\d)\.", text) == ["1", "5"]
        assert LEFT_OUT.findall(text) == ["3"]
        assert text.count("z") == 2 * MAX_BODY_CHARACTERS


@settings(deadline=None)
@given(st.lists(st.integers(0, 3 * MAX_EXCERPT_CHARACTERS), min_size=1, max_size=20))
def test_every_exchange_is_shown_or_counted(lengths: list[int]) -> None:
    """Proves for any lengths that the limit holds, that the newest exchange is there, and that
    those shown and those counted are all there were."""
    exchange = Exchange()
    for number, characters in enumerate(lengths, 1):
        exchange.note(f"call-{number}.{'z' * characters}", "")
    text = exchange.request_excerpt()
    assert len(text) <= MAX_EXCERPT_CHARACTERS
    shown = [int(number) for number in re.findall(r"call-(\d+)\.", text)]
    assert shown[-1] == len(lengths)
    assert len(shown) + sum(map(int, LEFT_OUT.findall(text))) == len(lengths)


def test_what_follows_an_attribute_is_no_document_inside() -> None:
    """Proves that an excerpt of XML shows what stands between two attributes, however long it is,
    as the words of a fault do, and that a document in a string of JSON is still only counted."""
    words = "the customer is not known " * 20
    body = f'<a x="1" y="2"><?b c="3"?><d e="4"/><fault f="5">{words}</fault><g h="6"/></a>'
    assert redacted(body.encode()) == body
    inner = json.dumps({"inner": "<a><b>" + "c" * 9 + " " + "d " * 200 + "</b></a>", "x": 1})
    assert redacted(inner.encode()).startswith('{"inner": "(')
