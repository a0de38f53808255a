"""The conformance kit: what a machine can check of any adapter, and what its author answers.

    for finding in testing.static_findings("ups", payloads): print(finding)
    for finding in await testing.sandbox_findings("ups"): print(finding)
    print(testing.report("ups"))

A third party's adapter runs the same functions in its own tests; nothing here knows a name.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import get_type_hints
from urllib.parse import urlsplit

import aiohttp
from crossdock import contracts

from crossdock_adapters.sdk import registry, vendor_json
from crossdock_adapters.sdk.adapter import Adapter
from crossdock_adapters.sdk.manifest import GRADES, ManifestError
from crossdock_adapters.sdk.sandbox import Sandbox, SandboxConfig

REQUIRED_FILES = ("adapter.toml", "adapter.py", "translate.py", "client.py", "sandbox.py")
# What code that decides nothing by itself has no use for.
EFFECTS = frozenset({
    "aiohttp", "asyncio", "grpc", "httpx", "logging", "nats", "os", "pathlib", "random",
    "requests", "secrets", "shutil", "socket", "sqlite3", "subprocess", "tempfile", "threading",
    "time", "urllib.request",
})  # fmt: skip
EFFECTFUL_CALLS = frozenset({"now", "today", "utcnow", "uuid4", "uuid1", "open", "print"})
FORBIDDEN_ANYWHERE = ("crossdock_hub", "nats", "sqlalchemy", "aiosqlite")
SDK = "crossdock_adapters.sdk"
# What the package of an adapter is called that is a distribution of its own.
OUTSIDE_PREFIX = "crossdock_adapter_"
SECRET_NAME = re.compile(r"(^|_)(secret|password|passwd|private_key|api_key|credential)$")
MACHINE_CHECKED = frozenset(
    {"manifest", "pure_translation", "connection_test", "begin_attempt", "secrets"}
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule that an adapter breaks, in words that say what to change."""

    adapter: str
    rule: str
    problem: str

    def __str__(self) -> str:
        return f"{self.adapter}: {self.rule}: {self.problem}"


def static_findings(name: str, payloads: Path | None = None) -> list[Finding]:
    """Everything that can be seen without running the adapter.

    `payloads` is the folder of recorded payloads of this adapter, where there is one.
    """
    try:
        adapter = registry.adapter(name)
        adapter.check()
    except (ManifestError, registry.UnknownAdapter) as error:
        return [Finding(name, "manifest", str(error))]
    checks = (
        _manifest(adapter, name),
        _files(adapter),
        _translation(adapter, payloads),
        _vendor_client(adapter),
        _imports(adapter),
        _secrets(adapter),
    )
    return [Finding(name, rule, problem) for check in checks for rule, problem in check]


async def sandbox_findings(name: str, folder: Path) -> list[Finding]:
    """Starts the adapter's sandbox and checks what every sandbox owes to proofs and faults.

    `folder` is an empty one, for files that the sandbox needs.
    """
    try:
        kind = registry.sandbox(name)
    except (registry.UnknownAdapter, ImportError) as error:
        return [Finding(name, "sandbox", str(error))]
    config = SandboxConfig(name=name, seed=1, settings=kind.example_settings(folder))
    async with kind(config) as sandbox, aiohttp.ClientSession() as session:
        problems = [*_route_problems(sandbox)]
        problems += await _control_problems(session, sandbox)
        problems += await _outage_problems(session, sandbox)
    return [Finding(name, "sandbox", problem) for problem in problems]


def report(name: str) -> str:
    """The adapter's answers to each rule of each grade, and which a machine checks."""
    manifest = registry.adapter(name).manifest
    lines = [f"{manifest.title} {manifest.version} ({manifest.role}, {manifest.owner})"]
    lines.append(f"  grade: {manifest.grade() or 'none'}")
    for grade, rules in GRADES.items():
        for rule, meaning in rules.items():
            answer = manifest.grades.get(grade, {}).get(rule, "todo")
            checked = "  [checked]" if rule in MACHINE_CHECKED else ""
            lines.append(f"  {grade:5} {answer:8} {meaning}{checked}")
    excused = {**dict.fromkeys(unspoken(name), "nobody says why"), **manifest.not_offered}
    lines += [f"  not offered: {operation}, {why}" for operation, why in sorted(excused.items())]
    return "\n".join(lines)


def unspoken(name: str) -> list[str]:
    """Operations that the contract asks endpoints of the adapter's role for, and that its manifest
    neither offers nor says of why not."""
    manifest = registry.adapter(name).manifest
    return sorted(asked_of(manifest.role) - {*manifest.operations, *manifest.not_offered})


def asked_of(role: str) -> set[str]:
    """Every operation that some event of the contract asks endpoints of a role for."""
    targets = (target for event in contracts.load().events.values() for target in event.targets)
    return {target.operation for target in targets if target.role == role}


def open_dock_rules(name: str) -> list[str]:
    """Rules of the lowest grade still answered "todo": below it nothing merges."""
    answers = registry.adapter(name).manifest.grades.get("dock", {})
    return [rule for rule in GRADES["dock"] if answers.get(rule, "todo") == "todo"]


Problems = Iterator[tuple[str, str]]


def _manifest(adapter: Adapter, name: str) -> Problems:
    if adapter.manifest.name != name:
        yield "manifest", f"adapter.toml says {adapter.manifest.name}, the entry point {name}"
    word = name.replace("-", "_")
    if adapter.package.rpartition(".")[2] not in (word, f"{OUTSIDE_PREFIX}{word}"):
        yield "manifest", f"the folder of {name} is called {adapter.package}"
    if not (adapter.manifest.operations or adapter.polls or adapter.webhooks):
        yield "manifest", "there is neither an operation nor a poll nor a webhook"
    for problem in adapter.manifest.early():
        yield "manifest", problem


def _files(adapter: Adapter) -> Problems:
    folder = _folder(adapter)
    for file in REQUIRED_FILES:
        if not (folder / file).is_file():
            yield "manifest", f"{file} is missing"


def _translation(adapter: Adapter, payloads: Path | None) -> Problems:
    for path in sorted(_folder(adapter).glob("translate*.py")):
        for problem in impurities(path.read_text("utf-8")):
            yield "pure_translation", f"{path.name}: {problem}"
    if payloads is not None and not any(payloads.glob("*")):
        yield "pure_translation", f"no recorded payloads in {payloads}"


def impurities(source: str) -> list[str]:
    """What keeps a module from being a pure function of its arguments."""
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.AsyncFunctionDef, ast.Await)):
            found.append(f"line {node.lineno}: waits for something")
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Call):
            called = node.func
            word = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            if word in EFFECTFUL_CALLS:
                found.append(f"line {node.lineno}: calls {word}()")
        for module in _imported(node):
            if module in EFFECTS or module.partition(".")[0] in EFFECTS:
                found.append(f"line {line}: imports {module}")
            if module in (f"{SDK}.http", f"{SDK}.auth"):
                found.append(f"line {line}: imports {module}")
    return found


def _vendor_client(adapter: Adapter) -> Problems:
    """A connection test and an end must exist; the runner calls both."""
    assert adapter.connect_function is not None
    client = get_type_hints(adapter.connect_function).get("return")
    if not isinstance(client, type):
        yield "connection_test", "connect() does not say which client class it returns"
        return
    if not inspect.iscoroutinefunction(getattr(client, "close", None)):
        yield "connection_test", f"{client.__name__} has no `async def close(self)`"
    if adapter.test_function is None and not inspect.iscoroutinefunction(
        getattr(client, "test", None)
    ):
        yield "connection_test", f"{client.__name__} has no `async def test(self)`"


def _imports(adapter: Adapter) -> Problems:
    """An endpoint knows the contract, the SDK, itself and its vendor; no hub, no neighbour."""
    for path in sorted(_folder(adapter).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            for module in _imported(node):
                inside = module.startswith((f"{SDK}.", adapter.package)) or module == SDK
                if module.startswith("crossdock_adapters") and not inside:
                    yield "begin_attempt", f"{path.name} imports its neighbour {module}"
                if module.partition(".")[0] in FORBIDDEN_ANYWHERE:
                    yield "begin_attempt", f"{path.name} imports {module}"


def _secrets(adapter: Adapter) -> Problems:
    for name, declaration in adapter.manifest.settings.items():
        if SECRET_NAME.search(name) and declaration.kind != "secret":
            yield "secrets", f"setting {name} must be of kind secret"


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        return [node.module]
    return []


def _folder(adapter: Adapter) -> Path:
    module = sys.modules.get(adapter.package) or import_module(adapter.package)
    return Path(str(module.__file__)).parent


def _route_problems(sandbox: Sandbox) -> Iterator[str]:
    routes = sandbox.routes()
    if sandbox.scheme != "http":
        # Its calls are not paths; they are logged and struck by `played`.
        if not sandbox.other_operations:
            yield "name its calls in other_operations, so that faults can be for one of them"
        return
    if not routes:
        yield "it has no routes"
    if not any(route.effect for route in routes):
        yield "no route is declared with an effect"
    for route in routes:
        if not route.operation:
            yield f"{route.method} {route.path} has no operation name"


async def _control_problems(session: aiohttp.ClientSession, sandbox: Sandbox) -> list[str]:
    problems: list[str] = []
    for path in ("/health", "/books", "/calls", "/webhooks", "/faults"):
        async with session.get(sandbox.control_url + path) as answer:
            body = await answer.read()
            if answer.status != 200:
                problems.append(f"GET {path} answers {answer.status}")
                continue
        if not isinstance(vendor_json.loads(body), dict):
            problems.append(f"GET {path} is not a JSON object")
    return problems


async def _outage_problems(session: aiohttp.ClientSession, sandbox: Sandbox) -> list[str]:
    problems: list[str] = []
    sandbox.faults.add({"kind": "down"})
    await sandbox.apply_outage()
    if await _listens(sandbox.vendor_url):
        problems.append("while down it still answers")
    sandbox.faults.clear()
    await sandbox.apply_outage()
    if not await _listens(sandbox.vendor_url):
        problems.append("after an outage it is not there again")
    if sandbox.scheme != "http":
        return problems
    async with session.get(f"{sandbox.vendor_url}/nobody/knows/this") as answer:
        if answer.status < 400:
            problems.append("it answers a path that does not exist")
    return problems


async def _listens(url: str) -> bool:
    """Whether somebody takes connections there."""
    place = urlsplit(url)
    try:
        _, writer = await asyncio.open_connection(place.hostname, place.port)
    except ConnectionRefusedError:
        return False
    writer.close()
    await writer.wait_closed()
    return True
