"""The search verb of the simulated platform: query language, template, pages."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from .sandbox_records import WarehouseRefusal

MAX_QUERY_CHARACTERS = 8_000
MAX_PAGE_SIZE = 500

_TERM = re.compile(
    r"\s*(?P<path>[A-Za-z_][A-Za-z0-9_.]*)\s*"
    r"(?:(?P<operator>=|~)\s*(?P<value>'(?:[^']|'')*'|[A-Za-z0-9_.-]+)"
    r"|in\s*\((?P<values>\s*'(?:[^']|'')*'(?:\s*,\s*'(?:[^']|'')*')*\s*)\))\s*",
    re.IGNORECASE,
)
_AND = re.compile(r"and\b", re.IGNORECASE)
_QUOTED = re.compile(r"'((?:[^']|'')*)'")


def search(body: Any, records: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], int]:
    """One page of the records that match, and how many match. WarehouseRefusal on bad syntax."""
    if not isinstance(body, dict):
        raise WarehouseRefusal("REQUEST_INVALID", "the body is not an object")
    terms = _parse(str(body.get("Query") or ""))
    found = [record for record in records if all(_matches(record, term) for term in terms)]
    for key in reversed(body.get("Sort") or []):
        attribute = str(key.get("attribute", "")) if isinstance(key, dict) else ""
        descending = isinstance(key, dict) and key.get("direction") == "desc"
        found.sort(key=lambda record: str(record.get(attribute, "")), reverse=descending)
    size = min(max(1, int(body.get("Size") or 50)), MAX_PAGE_SIZE)
    start = max(0, int(body.get("Page") or 0)) * size
    page = [_trimmed(record, body.get("Template")) for record in found[start : start + size]]
    return page, len(found)


def _parse(query: str) -> list[tuple[str, str, list[str]]]:
    if len(query) > MAX_QUERY_CHARACTERS:
        raise WarehouseRefusal("QUERY_INVALID", "the query is too long")
    terms = []
    at = 0
    while at < len(query):
        match = _TERM.match(query, at)
        if match is None:
            raise WarehouseRefusal("QUERY_INVALID", f"cannot read {query[at : at + 30]!r}")
        if match["values"] is not None:
            values = [_unquoted(v) for v in _QUOTED.findall(match["values"])]
            terms.append((match["path"], "in", values))
        else:
            raw = match["value"]
            value = _unquoted(raw[1:-1]) if raw.startswith("'") else raw
            terms.append((match["path"], match["operator"], [value]))
        at = match.end()
        if at < len(query):
            glue = _AND.match(query, at)
            if glue is None:
                raise WarehouseRefusal("QUERY_INVALID", "terms are joined by and")
            at = glue.end()
    return terms


def _matches(record: Mapping[str, Any], term: tuple[str, str, list[str]]) -> bool:
    path, operator, wanted = term
    found = _values(record, path.split("."))
    if operator == "~":
        pattern = wanted[0].strip("%").lower()
        return any(pattern in value.lower() for value in found)
    return any(value in wanted for value in found)


def _values(record: Any, path: Sequence[str]) -> list[str]:
    if isinstance(record, list):
        return [value for entry in record for value in _values(entry, path)]
    if not path:
        return [str(record)] if record is not None else []
    if not isinstance(record, Mapping):
        return []
    return _values(record.get(path[0]), path[1:])


def _trimmed(record: Mapping[str, Any], template: Any) -> dict[str, Any]:
    if not isinstance(template, dict) or not template:
        return dict(record)
    trimmed: dict[str, Any] = {}
    for name, wanted in template.items():
        value = record.get(name)
        if isinstance(wanted, dict) and isinstance(value, list):
            trimmed[name] = [_trimmed(entry, wanted) for entry in value]
        elif isinstance(wanted, dict) and isinstance(value, Mapping):
            trimmed[name] = _trimmed(value, wanted)
        else:
            trimmed[name] = value
    return trimmed


def _unquoted(text: str) -> str:
    return text.replace("''", "'")
