"""What must not be done with nats-py, grpc.aio and asyncio, looked for in every source file.

Each has a row in docs/reliability.md. What a run can show is in hub/test_pitfalls.py and its
neighbours; here stands what can only be shown to be nowhere.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest
from source_files import functions, imports, parsed, source_modules

MODULES = source_modules()
# The only two that speak with nats-py (test_imports.py).
NATS_DOORS = ("crossdock_hub.bus.jetstream", "crossdock_adapters.sdk.consumer")
# What nats-py calls back; anything but a coroutine function is refused when it connects.
CALLBACKS = {"cb", "error_cb", "disconnected_cb", "reconnected_cb", "closed_cb", "discovered_cb"}
# Each begins a process, or a command that is one, and gives it its only loop at a time.
LOOP_MAKERS = {
    "crossdock_hub.__main__",
    "crossdock_hub.archive.command",
    "crossdock_hub.moving",
    "crossdock_hub.store.vacuuming",
    "crossdock_adapters.__main__",
    "crossdock_adapters.sdk.conformance.process",
}
COMMANDS = "crossdock.cli."
GROUPS = {"priority_groups", "priority_policy", "group", "deliver_group", "queue"}
FORKING = {"fork", "forkpty", "ProcessPoolExecutor"}


def calls(module: str, method: str) -> Iterator[ast.Call]:
    """Every `something.method(...)` of a module."""
    for node in ast.walk(parsed(MODULES[module])):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        if node.func.attr == method:
            yield node


def holders(module: str, method: str) -> set[str]:
    """The innermost functions of a module in which `something.method(...)` stands."""
    found: set[str] = set()
    for call in calls(module, method):
        around = [f for f in functions(MODULES[module]) if call in ast.walk(f)]
        found.add(max(around, key=lambda f: f.lineno).name if around else "")
    return found


def handed_callbacks(module: str) -> dict[str, ast.expr]:
    """What is given to nats-py to be called, by keyword or as an entry of its options."""
    found: dict[str, ast.expr] = {}
    for node in ast.walk(parsed(MODULES[module])):
        if isinstance(node, ast.Call):
            found |= {
                f"{k.arg} in line {node.lineno}": k.value
                for k in node.keywords
                if k.arg in CALLBACKS
            }
        elif isinstance(node, ast.Dict):
            found |= {
                f"{key.value} in line {key.lineno}": value
                for key, value in zip(node.keys, node.values, strict=True)
                if isinstance(key, ast.Constant) and key.value in CALLBACKS
            }
    return found


def keys_of(node: ast.AST) -> list[ast.expr | None]:
    """The keys that a dictionary is made with, or the one that it is asked for."""
    if isinstance(node, ast.Dict):
        return node.keys
    return [node.slice] if isinstance(node, ast.Subscript) else []


def is_coroutine(module: str, value: ast.expr) -> bool:
    """Whether it names an async function of the module, or a function that makes one."""
    target = value.func if isinstance(value, ast.Call) else value
    name = target.attr if isinstance(target, ast.Attribute) else getattr(target, "id", "")
    defined = [f for f in functions(MODULES[module]) if f.name == name]
    if not isinstance(value, ast.Call):
        return bool(defined) and all(isinstance(f, ast.AsyncFunctionDef) for f in defined)
    made = [node for f in defined for node in f.body if isinstance(node, ast.Return)]
    inner = {f.name for f in functions(MODULES[module]) if isinstance(f, ast.AsyncFunctionDef)}
    return bool(made) and all(getattr(r.value, "id", "") in inner for r in made)


@pytest.mark.parametrize("module", NATS_DOORS)
def test_a_flush_may_hang_only_where_it_has_a_limit(module: str) -> None:
    """Proves that nats-py's flush, which waits for the server without an end, is called when we
    close and nowhere else; test_close_never_hangs proves that its limit holds there."""
    assert holders(module, "flush") == {"close"}


@pytest.mark.parametrize("module", NATS_DOORS)
def test_no_connection_is_drained(module: str) -> None:
    """Proves that nats-py's drain of a connection, which hangs for 30 s after a time-out, is never
    called: of a subscription only, with a limit, where the adapter stops."""
    drained = [ast.unparse(call.func) for call in calls(module, "drain")]
    assert drained in ([], ["self._subscription.drain"])


@pytest.mark.parametrize("module", NATS_DOORS)
def test_a_connection_is_tried_for_ever_and_keeps_nothing(module: str) -> None:
    """Proves that both who connect say what nats-py shall do while the server is away: go on
    trying, where it gives up after 60 attempts, and keep nothing to be sent later."""
    told = {
        key.value: ast.unparse(value)
        for node in ast.walk(parsed(MODULES[module]))
        if isinstance(node, ast.Dict)
        for key, value in zip(node.keys, node.values, strict=True)
        if isinstance(key, ast.Constant)
    }
    assert (told["max_reconnect_attempts"], told["pending_size"]) == ("-1", "0")
    assert told["allow_reconnect"] == "True"


def test_nothing_is_thrown_away_on_the_bus() -> None:
    """Proves that no message is ended with term(), which can't say why: what nobody can do is told
    to the ledger, with a reason, and acknowledged."""
    assert [name for name in MODULES for _ in calls(name, "term")] == []


@pytest.mark.parametrize("module", NATS_DOORS)
def test_callbacks_are_coroutines(module: str) -> None:
    """Proves that all that nats-py is given to call back is a coroutine function, so that it can
    wait its turn, and is not refused when it connects."""
    handed = handed_callbacks(module)
    assert len(handed) >= 4
    plain = [name for name, value in handed.items() if not is_coroutine(module, value)]
    assert not plain


def test_nobody_joins_a_queue_group() -> None:
    """Proves that no subscription and no pull names a group: in one, work goes to whoever answers
    first, past its order, and a denied subject is let in by its group's name. A consumer that has
    one is refused at the start (streams.py)."""
    joined = [
        f"{module}, line {call.lineno}"
        for module in NATS_DOORS
        for call in calls(module, "subscribe")
        if len(call.args) > 1 or any(k.arg in ("queue", None) for k in call.keywords)
    ]
    named = [
        f"{name}, line {key.lineno}"
        for name, path in MODULES.items()
        if name.startswith(("crossdock_hub.bus", "crossdock_adapters.sdk.consumer"))
        for node in ast.walk(parsed(path))
        for key in keys_of(node)
        if isinstance(key, ast.Constant) and key.value in GROUPS
    ]
    assert [*joined, *named] == []


def test_no_limit_of_bytes_drops_messages() -> None:
    """Proves that the adapter's subscription has no limit of bytes in nats-py, which throws away
    what comes beyond it, and that its pulls name none: what bounds a buffer is the prefetch."""
    consumer = "crossdock_adapters.sdk.consumer"
    limits = [
        {k.arg: ast.unparse(k.value) for k in call.keywords}.get("pending_bytes_limit")
        for call in calls(consumer, "subscribe")
    ]
    assert limits == ["0"]
    asked = [
        key.value
        for node in ast.walk(parsed(MODULES[consumer]))
        for key in keys_of(node)
        if isinstance(key, ast.Constant)
    ]
    assert "batch" in asked and "max_bytes" not in asked


def test_what_waits_at_the_hub_has_limits_of_ours() -> None:
    """Proves that each subscription of the hub names how many messages and bytes may wait on it:
    what nats-py drops beyond its own limits is no secret of nats-py's."""
    limits = ("pending_msgs_limit", "pending_bytes_limit")
    named = [
        {k.arg: ast.unparse(k.value) for k in call.keywords if k.arg in limits}
        for call in calls("crossdock_hub.bus.jetstream", "subscribe")
    ]
    ours = dict(zip(limits, ("MAX_PENDING_MESSAGES", "MAX_PENDING_BYTES"), strict=True))
    assert named == [ours] * 2


@pytest.mark.parametrize("module", NATS_DOORS)
def test_nobody_fetches(module: str) -> None:
    """Proves that nats-py's fetch, which sleeps out its time-out across a restart of the server and
    says "empty" where it is lost, is never called, and no subscription that it would need."""
    for name in ("fetch", "pull_subscribe", "pull_subscribe_bind"):
        assert not list(calls(module, name)), name


def test_nobody_forks() -> None:
    """Proves that no process of ours forks: grpc's threads and locks do not survive it. A child is
    a fresh interpreter or another program."""
    found = [
        f"{name} imports {imported}"
        for name, path in MODULES.items()
        for imported in imports(path)
        if imported.split(".")[0] == "multiprocessing" or imported.split(".")[-1] in FORKING
    ]
    for name, path in MODULES.items():
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Attribute) and node.attr in FORKING:
                found.append(f"{name}, line {node.lineno}: {ast.unparse(node)}")
            if isinstance(node, ast.keyword) and node.arg == "preexec_fn":
                found.append(f"{name}, line {node.value.lineno}: code between fork and exec")
    assert not found, "\n".join(found)


def test_a_process_has_one_loop_at_a_time() -> None:
    """Proves that loops are made where a process or a command begins, and nowhere below: grpc.aio
    serves one loop of a process."""
    makers: set[str] = set()
    for name in MODULES:
        made = [*calls(name, "new_event_loop"), *calls(name, "run_until_complete")]
        assert not made, f"{name} makes a loop by hand"
        runs = [c for c in calls(name, "run") if ast.unparse(c.func) == "asyncio.run"]
        if runs:
            makers.add(name)
    assert {name for name in makers if not name.startswith(COMMANDS)} == LOOP_MAKERS


def test_nobody_misses_a_cancellation() -> None:
    """Proves that no module calls asyncio.wait_for, which in Python 3.11 takes no notice of a
    cancellation that comes with its answer, and that whoever cancels tasks and waits for their end
    does so with end_tasks, which asks again: nats-py waits with it."""
    found = [
        f"{name}, line {call.lineno}: {ast.unparse(call.func)}"
        for name in MODULES
        for call in calls(name, "wait_for")
        if ast.unparse(call.func) == "asyncio.wait_for"
    ]
    found += [
        f"{name}: {function.name} cancels and gathers"
        for name in MODULES
        if name != "crossdock.ending"
        for function in functions(MODULES[name])
        if "cancel" in called(function) and "asyncio.gather" in awaited_for_nothing(function)
    ]
    assert not found, "\n".join(found)


def called(function: ast.AST) -> set[str]:
    """The methods that a function calls."""
    nodes = ast.walk(function)
    return {
        node.func.attr
        for node in nodes
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }


def awaited_for_nothing(function: ast.AST) -> set[str]:
    """What a function awaits without a look at the result."""
    return {
        ast.unparse(node.value.value.func)
        for node in ast.walk(function)
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Await)
        and isinstance(node.value.value, ast.Call)
    }
