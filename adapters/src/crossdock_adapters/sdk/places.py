"""Where in a payload something cannot be read, in the words of its medium.

    with inside("/lines/0"):
        raise Unreadable("is no number", "/quantity")     # /lines/0/quantity: is no number

JSON has pointers (RFC 6901), XML paths of elements, EDI segments and elements: whoever reads a
reason finds the place without the payload's author.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from crossdock_adapters.sdk.mappings import UnreadCodes

# How far back the causes of an error are followed.
MAX_CAUSES = 8


class Unreadable(ValueError):
    """The payload cannot be put into the contract's words. place: "" means all of it; codes: set
    where that is for want of a row, as `Mappings.unread` tells them."""

    def __init__(self, problem: str, place: str = "", codes: UnreadCodes | None = None) -> None:
        super().__init__(f"{place}: {problem}" if place else problem)
        self.problem = problem
        self.place = place
        self.codes = codes


def unread_codes(error: BaseException | None) -> UnreadCodes | None:
    """The codes without a row that an error, or what caused it, is about; None: it is another."""
    for _ in range(MAX_CAUSES):
        if error is None or (isinstance(error, Unreadable) and error.codes is not None):
            break
        error = error.__cause__
    return error.codes if isinstance(error, Unreadable) else None


@contextmanager
def inside(place: str) -> Iterator[None]:
    """What is unreadable in here is so at this place."""
    try:
        yield
    except Unreadable as error:
        moved = type(error)(error.problem, place + error.place)
        moved.codes = error.codes
        raise moved from error


def pointer(*parts: str | int) -> str:
    """A JSON pointer of names and positions."""
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in parts)
