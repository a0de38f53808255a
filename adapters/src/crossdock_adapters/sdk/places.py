"""Where in a payload something cannot be read, in the words of its medium.

    with inside("/lines/0"):
        raise Unreadable("is no number", "/quantity")     # /lines/0/quantity: is no number

JSON has pointers (RFC 6901), XML paths of elements, EDI segments and elements: whoever reads a
reason finds the place without the payload's author.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Unreadable(ValueError):
    """The payload cannot be put into the contract's words. place: "" means all of it."""

    def __init__(self, problem: str, place: str = "") -> None:
        super().__init__(f"{place}: {problem}" if place else problem)
        self.problem = problem
        self.place = place


@contextmanager
def inside(place: str) -> Iterator[None]:
    """What is unreadable in here is so at this place."""
    try:
        yield
    except Unreadable as error:
        raise type(error)(error.problem, place + error.place) from error


def pointer(*parts: str | int) -> str:
    """A JSON pointer of names and positions."""
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in parts)
