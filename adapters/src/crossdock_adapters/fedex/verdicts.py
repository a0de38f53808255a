"""What FedEx's errors mean for a call: the rows of `errors.toml`, and the words made of them."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib import resources

from crossdock_adapters.sdk.http import Answer

ANY_CODE = "*"
NO_ERROR_OBJECT = ""
MAX_REASON_CHARACTERS = 300


class Verdict(StrEnum):
    """What an error says about the call that it answers."""

    REJECTED = "rejected"
    CREDENTIALS = "credentials"
    BLOCKED = "blocked"
    THROTTLED = "throttled"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Problem:
    """FedEx's words for an error. `code` is empty when the body is not its error object."""

    status: int
    code: str
    message: str

    def __str__(self) -> str:
        return f"HTTP {self.status} {self.code} {self.message}".strip()[:MAX_REASON_CHARACTERS]


def problem_of(answer: Answer) -> Problem:
    """The first error of an answer that is no success."""
    try:
        body = answer.json()
    except ValueError:
        body = None
    listed = body.get("errors") if isinstance(body, dict) else None
    for entry in listed if isinstance(listed, list) else []:
        if isinstance(entry, dict) and isinstance(entry.get("code"), str) and entry["code"]:
            return Problem(answer.status, entry["code"], _filled(entry))
    return Problem(answer.status, NO_ERROR_OBJECT, "")


def verdict_of(problem: Problem) -> Verdict:
    """The verdict of the table; what no row names is unknown."""
    rows = _rows()
    found = rows.get((problem.status, problem.code))
    if found is None and problem.code:
        found = rows.get((problem.status, ANY_CODE))
    return Verdict.UNKNOWN if found is None else found


@cache
def _rows() -> Mapping[tuple[int, str], Verdict]:
    text = resources.files(__package__ or "").joinpath("errors.toml").read_text("utf-8")
    rows: dict[tuple[int, str], Verdict] = {}
    for row in tomllib.loads(text)["errors"]:
        key = (int(row["status"]), str(row.get("code", NO_ERROR_OBJECT)))
        if key in rows or not row["source"]:
            raise ValueError(f"errors.toml: {key} is said twice, or has no source")
        rows[key] = Verdict(row["means"])
    return rows


def _filled(entry: Mapping[str, object]) -> str:
    """The message with its {placeholders} filled in."""
    message = str(entry.get("message", ""))
    listed = entry.get("parameterList")
    for parameter in listed if isinstance(listed, list) else []:
        if isinstance(parameter, dict):
            key, value = str(parameter.get("key", "")), str(parameter.get("value", ""))
            message = message.replace(f"{{{key}}}", value)
    return message
