"""The manifest of an adapter, adapter.toml: read, checked, and every error explained at once."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from crossdock_adapters.sdk.settings import KINDS, Declaration, Settings, convert

NAME = re.compile(r"^[a-z][a-z0-9-]{1,30}$")
OPERATION = re.compile(r"^[a-z][a-z0-9_]{1,60}$")
ROLES = (
    "OMS", "ERP", "WMS", "TMS", "CARRIER", "MARKETPLACE", "CRM", "BILLING", "NOTIFICATION",
    "SUPPORT",
)  # fmt: skip
DEFAULT_TIMEOUT_SECONDS = 30.0
DEFAULT_MAX_ATTEMPTS = 30
MAX_TIMEOUT_SECONDS = 300.0
MAX_CONCURRENCY = 256

DOCK_RULES = {
    "manifest": "manifest with owner, role, and a class per operation",
    "pure_translation": "pure translate.py with recorded payloads",
    "connection_test": "connection test before subscribing",
    "redelivery": "redelivery changes nothing",
    "begin_attempt": "no vendor call without BeginAttempt",
    "poison_parked": "a poison delivery is parked with its reason",
    "drains": "drains on SIGTERM",
    "owned_fields": "writes only fields its role owns",
    "secrets": "secrets never logged",
}
YARD_RULES = {
    "limits": "vendor limits known and respected (429, Retry-After)",
    "log_once": "log once gone, once back",
    "unknown_values": "unknown enum values tolerated",
    "late_facts": "late and out-of-order facts handled by revision",
    "trace": "trace continues into the vendor call",
    "gaps": "known gaps written down",
}
FLEET_RULES = {
    "rotation": "credentials rotate without restart",
    "replay": "replay of one day tested",
    "throughput": "measured throughput recorded",
    "owners": "two named owners",
    "sandbox_weekly": "vendor sandbox run weekly",
}
GRADES = {"dock": DOCK_RULES, "yard": YARD_RULES, "fleet": FLEET_RULES}


class OperationClass(StrEnum):
    """What follows an unknown outcome; adapters/README.md explains each."""

    KEYED = "keyed"
    SEARCHABLE = "searchable"
    TWO_STEP = "two_step"
    NATURAL = "natural"
    NONE = "none"


# What the hub looks for or asks for again once settle_after_seconds are over. A draft, or a key of
# the vendor's, makes a call that comes late harmless; a full state that comes late undoes a newer.
SETTLING = frozenset({OperationClass.SEARCHABLE, OperationClass.NATURAL})


class ManifestError(ValueError):
    """adapter.toml is wrong; `problems` lists everything, the text shows all of it."""

    def __init__(self, name: str, problems: list[str]) -> None:
        super().__init__(f"{name}: " + "; ".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Operation:
    """One `[operations.<name>]` table.

    `timeout_seconds`: how long one attempt may take; its lease follows it.
    `settle_after_seconds`: how long after an unknown outcome the vendor's books are
    trustworthy. `key_life_seconds`: how long the vendor remembers an idempotency key.
    `max_attempts`: calls before a person has to look. `prerequisite_limit_seconds`: how long
    earlier work it needs may be missing; 0 leaves it to the hub. `max_per_order`: how often it may
    be asked for one order before the spending guard stops it; 0: no guard. `retry_first_seconds`,
    `retry_max_seconds`: pauses between calls that were proven unprocessed; 0: the hub's.
    """

    name: str
    operation_class: OperationClass
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    settle_after_seconds: float = 0.0
    key_life_seconds: float = 0.0
    max_attempts: int = DEFAULT_MAX_ATTEMPTS
    prerequisite_limit_seconds: float = 0.0
    max_per_order: int = 0
    retry_first_seconds: float = 0.0
    retry_max_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything the hub and the runner must know about an adapter.

    `not_applicable`: by check of the conformance kit, and by operation or way in ("*": all), why
    the endpoint cannot show it. `not_offered`: why it does not do what the contract asks endpoints
    of its role for, by operation.
    """

    name: str
    title: str
    version: str
    owner: str
    role: str
    system: str
    concurrency: int
    rate_per_second: float
    operations: Mapping[str, Operation]
    settings: Mapping[str, Declaration]
    grades: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    not_applicable: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    not_offered: Mapping[str, str] = field(default_factory=dict)

    def grade(self) -> str:
        """The highest grade whose rules, and those below, are all done or exempt."""
        reached = ""
        for grade, rules in GRADES.items():
            answers = self.grades.get(grade, {})
            if any(answers.get(rule, "todo") == "todo" for rule in rules):
                return reached
            reached = grade
        return reached

    def call_seconds(self, operation: Operation) -> float:
        """How long a call may take unless a deployment says otherwise: the longest of the settings
        that are `below_settle`, or the operation's whole attempt where the manifest names none."""
        told = [float(each.default) for each in self.settings.values() if each.below_settle]
        return max(told, default=operation.timeout_seconds)

    def early(self) -> list[str]:
        """What is wrong by the manifest alone: operations that the hub would ask for again while a
        call of theirs may still run."""
        return [
            f"operations.{each.name}.settle_after_seconds is {each.settle_after_seconds:g}, and a "
            f"call may take {self.call_seconds(each):g} s: make it longer, or say by below_settle "
            "which setting is how long a call may take"
            for each in self.operations.values()
            if each.operation_class in SETTLING
            and each.settle_after_seconds <= self.call_seconds(each)
        ]

    def outlasting(self, settings: Settings) -> list[str]:
        """What is wrong where a call may still run when its outcome is looked for: it looks like
        one that was never made, and is made again."""
        settling = [each for each in self.operations.values() if each.settle_after_seconds]
        soonest = min(settling, key=lambda each: each.settle_after_seconds, default=None)
        if soonest is None:
            return []
        return [
            f"{name} must be below {soonest.settle_after_seconds:g}, settle_after_seconds of "
            f"{soonest.name}: a call that still runs looks like one that was never made"
            for name, declared in self.settings.items()
            if declared.below_settle and settings.seconds(name) >= soonest.settle_after_seconds
        ]


def parse(text: str, source: str = "adapter.toml") -> Manifest:
    """A checked manifest; ManifestError lists every problem found."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ManifestError(source, [f"not TOML: {error}"]) from None
    reader = _Reader(data)
    manifest = reader.manifest()
    if reader.problems:
        raise ManifestError(source, reader.problems)
    return manifest


class _Reader:
    """Reads a table, collecting problems instead of stopping at the first."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self._data = data
        self.problems: list[str] = []

    def manifest(self) -> Manifest:
        data = self._data
        self._only("", data, {
            "name", "title", "version", "owner", "role", "system", "limits",
            "operations", "settings", "grades", "not_applicable", "not_offered",
        })  # fmt: skip
        name = self._text("name", data)
        if name and not NAME.match(name):
            self.problems.append("name must be lower case letters, digits and dashes")
        role = self._text("role", data)
        if role and role not in ROLES:
            self.problems.append(f"role must be one of {', '.join(ROLES)}")
        limits = self._table("limits", data)
        self._only("limits", limits, {"concurrency", "rate_per_second"})
        concurrency = self._number("limits.concurrency", limits, 8, 1, MAX_CONCURRENCY)
        return Manifest(
            name=name,
            title=str(data.get("title", name)),
            version=self._text("version", data),
            owner=self._text("owner", data),
            role=role,
            system=str(data.get("system", name)),
            concurrency=int(concurrency),
            rate_per_second=self._number("limits.rate_per_second", limits, 0, 0, 100_000),
            operations=self._operations(self._table("operations", data)),
            settings=self._settings(self._table("settings", data)),
            grades=self._grades(self._table("grades", data)),
            not_applicable=self._reasons(self._table("not_applicable", data)),
            not_offered=self._not_offered(self._table("not_offered", data)),
        )

    def _operations(self, tables: Mapping[str, Any]) -> dict[str, Operation]:
        found = {}
        for name in tables:
            where = f"operations.{name}"
            table = self._table(name, tables, where)
            if not OPERATION.match(name):
                self.problems.append(f"{where}: lower case letters, digits and underscores")
            self._only(where, table, {
                "class", "timeout_seconds", "settle_after_seconds", "key_life_seconds",
                "max_attempts", "prerequisite_limit_seconds", "max_per_order",
                "retry_first_seconds", "retry_max_seconds",
            })  # fmt: skip
            try:
                operation_class = OperationClass(str(table.get("class", "")))
            except ValueError:
                classes = ", ".join(c.value for c in OperationClass)
                self.problems.append(f"{where}.class must be one of {classes}")
                continue
            operation = Operation(
                name,
                operation_class,
                self._number(f"{where}.timeout_seconds", table, 30, 0.1, MAX_TIMEOUT_SECONDS),
                self._number(f"{where}.settle_after_seconds", table, 0, 0, 86_400),
                self._number(f"{where}.key_life_seconds", table, 0, 0, 31_536_000),
                int(self._number(f"{where}.max_attempts", table, DEFAULT_MAX_ATTEMPTS, 1, 1000)),
                self._number(f"{where}.prerequisite_limit_seconds", table, 0, 0, 2_592_000),
                int(self._number(f"{where}.max_per_order", table, 0, 0, 100_000)),
                self._number(f"{where}.retry_first_seconds", table, 0, 0, 3_600),
                self._number(f"{where}.retry_max_seconds", table, 0, 0, 86_400),
            )
            if operation_class is OperationClass.SEARCHABLE and not operation.settle_after_seconds:
                self.problems.append(f"{where}.settle_after_seconds is required when searchable")
            if operation_class is OperationClass.KEYED and not operation.key_life_seconds:
                self.problems.append(f"{where}.key_life_seconds is required when keyed")
            found[name] = operation
        return found

    def _not_offered(self, table: Mapping[str, Any]) -> dict[str, str]:
        found = {}
        for name, reason in table.items():
            if name in self._table("operations", self._data):
                self.problems.append(f"not_offered.{name} is among the operations")
            elif isinstance(reason, str) and reason.strip():
                found[name] = reason
            else:
                self.problems.append(f"not_offered.{name} must be a reason in words")
        return found

    def _settings(self, tables: Mapping[str, Any]) -> dict[str, Declaration]:
        found = {}
        for name in tables:
            where = f"settings.{name}"
            table = self._table(name, tables, where)
            self._only(where, table, {"kind", "description", "default", "required", "below_settle"})
            kind = str(table.get("kind", ""))
            default = table.get("default")
            if kind not in KINDS:
                self.problems.append(f"{where}.kind must be one of {', '.join(sorted(KINDS))}")
                continue
            if not table.get("description"):
                self.problems.append(f"{where}.description is missing")
            if kind == "secret" and default is not None:
                self.problems.append(f"{where}: a secret has no default")
            elif default is not None:
                try:
                    convert(kind, default)
                except ValueError as error:
                    self.problems.append(f"{where}.default {error}")
            required = bool(table.get("required", default is None))
            below_settle = table.get("below_settle", False)
            if below_settle is not False and (below_settle is not True or kind != "seconds"):
                self.problems.append(f"{where}.below_settle is true or left out, of seconds alone")
            elif below_settle and default is None:
                self.problems.append(f"{where}.below_settle needs a default")
            found[name] = Declaration(
                name, kind, str(table.get("description", "")), default, required, bool(below_settle)
            )
        return found

    def _grades(self, tables: Mapping[str, Any]) -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = {}
        self._only("grades", tables, set(GRADES))
        for grade, rules in GRADES.items():
            answers = self._table(grade, tables, f"grades.{grade}")
            self._only(f"grades.{grade}", answers, set(rules))
            found[grade] = {}
            for rule in rules:
                answer = _answer(answers.get(rule, "todo" if grade != "dock" else None))
                if answer is None:
                    self.problems.append(
                        f'grades.{grade}.{rule} must be "done", "todo" or {{ exempt = "reason" }}'
                    )
                else:
                    found[grade][rule] = answer
        return found

    def _reasons(self, tables: Mapping[str, Any]) -> dict[str, dict[str, str]]:
        """Each check's reasons: one text for all, or a table of them."""
        found: dict[str, dict[str, str]] = {}
        for name, given in tables.items():
            reasons = given if isinstance(given, dict) else {"*": given}
            for what, reason in reasons.items():
                if isinstance(reason, str) and reason.strip():
                    found.setdefault(name, {})[what] = reason
                else:
                    self.problems.append(f"not_applicable.{name}.{what} must be a reason in words")
        return found

    def _only(self, where: str, table: Mapping[str, Any], known: set[str]) -> None:
        for key in table:
            if key not in known:
                self.problems.append(f"{where + '.' if where else ''}{key} is not known here")

    def _text(self, key: str, table: Mapping[str, Any]) -> str:
        value = table.get(key)
        if not isinstance(value, str) or not value.strip():
            self.problems.append(f"{key} is missing")
            return ""
        return value

    def _table(self, key: str, table: Mapping[str, Any], where: str = "") -> Mapping[str, Any]:
        value = table.get(key, {})
        if not isinstance(value, dict):
            self.problems.append(f"{where or key} must be a table")
            return {}
        return value

    def _number(
        self, where: str, table: Mapping[str, Any], default: float, low: float, high: float
    ) -> float:
        value = table.get(where.rpartition(".")[2], default)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self.problems.append(f"{where} must be a number")
            return default
        if not low <= value <= high:
            self.problems.append(f"{where} must be between {low:g} and {high:g}")
            return default
        return float(value)


def _answer(raw: Any) -> str | None:
    """done, todo or "exempt: reason"; None when it is none of these."""
    if raw in ("done", "todo"):
        return str(raw)
    if isinstance(raw, dict) and set(raw) == {"exempt"} and str(raw["exempt"]).strip():
        return f"exempt: {raw['exempt']}"
    return None
