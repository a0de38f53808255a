"""Lists that may be longer than what a command prints, and how people and programs get the rest.

A list as JSON is one object: the entries under their name, and `next_page_token`, "" when there are
no more. Given back with `--page-token` and the same filters, it goes on there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import typer

from crossdock.cli.output import message_json, print_json

PageToken = Annotated[
    str,
    typer.Option("--page-token", help="Go on where a list ended: what it printed, same filters."),
]


def print_page(name: str, found: Iterable[Any], next_page_token: str, **more: Any) -> None:
    """A list for programs. more: what else the hub says about all of it."""
    entries = [message_json(each) for each in found]
    print_json({**more, name: entries, "next_page_token": next_page_token})


def say_more(next_page_token: str, *options: str) -> None:
    """Tell a person that there are more, and how to see them. options: that the token needs."""
    if next_page_token:
        words = " ".join((f"--page-token {next_page_token}", *options))
        typer.echo(f"… and more: the same command with {words}")
